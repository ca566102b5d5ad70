"""Models without one fold of the shots, which their weights are chosen and their confidence is judged on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.means import Means, class_means
from sktip._maths.text_prior.statistics import Statistics


@dataclass(frozen=True)
class FoldModel:
    """Class means of all shots but those of one fold.

    Parameters
    ----------
    out : ndarray of shape (m,), bool
        The shots of the fold.

    means : Means
        Of the others.

    shots : float
        Others per class.
    """

    out: NDArray[Any]
    means: Means
    shots: float


def fold_models(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    *,
    statistics: Statistics,
    text: NDArray[Any] | None,
) -> list[FoldModel]:
    """Fit the means again without each fold, by subtraction from the `statistics` of all.

    The only shots of all classes leave nothing; there is no model then.
    """
    models = []
    for fold in range(folds.max(initial=-1) + 1):
        out = folds == fold
        left = statistics - Statistics.of(
            shots[out], codes[out], weights[out], len(statistics.counts)
        )
        if left.counts.any():
            models.append(FoldModel(out, class_means(left, text), left.shots))
    return models


def enough(folds: NDArray[Any], n_shots: int) -> NDArray[Any]:
    """Mask (m,) of as many whole folds as hold so many shots, at least one."""
    result: NDArray[Any] = folds <= np.searchsorted(np.cumsum(np.bincount(folds)), n_shots)
    return result


def even_weights(codes: NDArray[Any], weights: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Weights (m,) after which all classes that have shots count the same, as they do in queries.

    In total they weigh what an even sample as informative as this one does.
    """
    present = counts[counts > 0]
    # A class of less than one shot counts by that part.
    there = np.minimum(present, 1)
    information = there.sum() / (there**2 / present).sum() if len(present) else 1.0
    shares = np.minimum(counts, 1) / np.where(counts > 0, counts, 1)
    result: NDArray[Any] = weights * information * shares[codes]
    return result
