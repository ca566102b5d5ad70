"""Which shots are left out together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: More folds leave more shots in, but the means and the covariance are computed once for each.
MAX_FOLDS = 8


def balanced_folds(
    features: NDArray[Any], codes: NDArray[Any], groups: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Fold of each shot, (m,): one shot of every class in each, so that no class is a shot short.

    The order of the shots within their class does not depend on the order of the rows, and equal
    rows share a fold: a shot given twice is left out as one. So do the shots of one group, which
    `groups` numbers: each is as one shot.
    """
    mix = np.random.RandomState(0).normal(size=features.shape[1])
    # Digits of a projection, which no property of the features decides. Later digits would differ
    # between computers, whose features differ by rounding.
    keys = np.round(features.astype(np.float64) @ mix * 4 % 1, 9)
    if groups is not None:
        keys = _smallest(keys, groups)
    order = np.lexsort((keys, codes))
    codes, keys = codes[order], keys[order]
    starts = np.append(True, codes[1:] != codes[:-1])
    distinct = np.cumsum(starts | np.append(True, keys[1:] != keys[:-1]))
    places = np.empty(len(order), np.intp)
    places[order] = distinct - np.maximum.accumulate(np.where(starts, distinct, 0))
    if groups is not None:
        # A group of several classes has one place, which may leave another one empty.
        places = np.unique(_smallest(places, groups), return_inverse=True)[1]
    result: NDArray[Any] = places % min(MAX_FOLDS, places.max(initial=0) + 1)
    return result


def _smallest(values: NDArray[Any], groups: NDArray[Any]) -> NDArray[Any]:
    """Smallest value of the group of each shot."""
    smallest = np.full(groups.max(initial=-1) + 1, values.max(initial=0))
    np.minimum.at(smallest, groups, values)
    result: NDArray[Any] = smallest[groups]
    return result
