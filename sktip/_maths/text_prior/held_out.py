"""Models without one fold of the shots: weights and calibration are chosen on the held-out fold."""

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
    """Fit the means again without each fold, by subtraction from the `statistics` of all shots.

    A fold that holds all shots has no model.
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
    """Mask (m,) of the first folds that together hold `n_shots` shots; at least one fold."""
    result: NDArray[Any] = folds <= np.searchsorted(np.cumsum(np.bincount(folds)), n_shots)
    return result


def even_weights(codes: NDArray[Any], weights: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Weights (m,) that give all classes with shots the same total, as queries are assumed to have.

    Their sum is the size of a balanced sample with the same information.
    """
    present = counts[counts > 0]
    # A class with a count below one counts in proportion.
    there = np.minimum(present, 1)
    information = there.sum() / (there**2 / present).sum() if len(present) else 1.0
    shares = np.minimum(counts, 1) / np.where(counts > 0, counts, 1)
    result: NDArray[Any] = weights * information * shares[codes]
    return result
