"""Which shots are held out together."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: With more folds, models without one keep more shots, but each fold costs another model.
MAX_FOLDS = 8


def balanced_folds(
    features: NDArray[Any], codes: NDArray[Any], groups: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Fold of each shot, (m,): each fold has one shot of every class, so that all lose equally many.

    The folds do not depend on the order of the rows. Equal rows share a fold, so that a shot given
    twice is held out as one. The shots of one group, numbered in `groups`, share a fold too.
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
        # A group of several classes has one place, which may leave other places empty.
        places = np.unique(_smallest(places, groups), return_inverse=True)[1]
    result: NDArray[Any] = places % min(MAX_FOLDS, places.max(initial=0) + 1)
    return result


def _smallest(values: NDArray[Any], groups: NDArray[Any]) -> NDArray[Any]:
    """Smallest value of the group of each shot."""
    smallest = np.full(groups.max(initial=-1) + 1, values.max(initial=0))
    np.minimum.at(smallest, groups, values)
    result: NDArray[Any] = smallest[groups]
    return result
