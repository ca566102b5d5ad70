"""Sums over samples, from which a fold can be subtracted."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

#: Features that are copied at once.
ROWS = 8192


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of class means and covariance, in double precision.

    Parameters
    ----------
    counts : ndarray of shape (C,)
        Sum of the weights of each class.

    sums : ndarray of shape (C, d)
        Weighted sum of the features of each class.

    moment : ndarray of shape (d, d)
        Weighted sum of the outer products of the features of all classes.
    """

    counts: NDArray[Any]
    sums: NDArray[Any]
    moment: NDArray[Any]

    @classmethod
    def of(
        cls, features: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any], n_classes: int
    ) -> Self:
        """Sum up labelled features (m, d) with weights (m,)."""
        counts = np.bincount(codes, weights, minlength=n_classes)
        sums = np.zeros((n_classes, features.shape[1]))
        order = np.argsort(codes, kind="stable")
        if len(order):
            present, starts = np.unique(codes[order], return_index=True)
            weighted = features[order] * weights[order, None]
            sums[present] = np.add.reduceat(weighted, starts, axis=0, dtype=np.float64)
        # Double precision, since the scatter within classes is a small difference of large moments.
        return cls(counts, sums, second_moment(features.astype(np.float64, copy=False), weights))

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(
            self.counts + other.counts, self.sums + other.sums, self.moment + other.moment
        )

    def __sub__(self, other: "Statistics") -> "Statistics":
        counts = self.counts - other.counts
        # A class whose shots are all subtracted may keep a count that is only rounding.
        gone = counts <= 1e-9 * self.counts
        sums = self.sums - other.sums
        sums[gone] = 0
        return Statistics(np.where(gone, 0, counts), sums, self.moment - other.moment)

    @property
    def presence(self) -> NDArray[Any]:
        """Count of each class, limited to 1, (C,)."""
        result: NDArray[Any] = np.minimum(self.counts, 1)
        return result

    @property
    def shots(self) -> float:
        """Mean count of the classes that have shots."""
        return float(self.counts.sum() / max(self.presence.sum(), 1e-12))


def second_moment(features: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Weighted sum (d, d) of the outer products of features (m, d), a block of rows at a time."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for start in range(0, len(features), ROWS):
        rows = slice(start, start + ROWS)
        rooted = features[rows] * np.sqrt(weights[rows]).astype(features.dtype)[:, None]
        total += rooted.T @ rooted
    return total
