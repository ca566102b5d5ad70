"""Sums over labelled samples, from which class means and covariances follow. NumPy only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Statistics(NamedTuple):
    """Sums over samples, from which those of a fold can be subtracted.

    Sum of the weights of each class, (C,); weighted sums of its features, (C, d), and of the outer products of
    all features, (d, d).
    """

    counts: NDArray[Any]
    sums: NDArray[Any]
    moment: NDArray[Any]

    @classmethod
    def of(
        cls, features: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any], n_classes: int
    ) -> "Statistics":
        """Sum up labelled features (m, d) with weights (m,)."""
        weighted = features * weights[:, None]
        sums = np.zeros((n_classes, features.shape[1]))
        np.add.at(sums, codes, weighted)
        # NumPy counts no samples in integers.
        counts = np.bincount(codes, weights, n_classes).astype(np.float64)
        return cls(counts, sums, weighted.T @ features)

    @classmethod
    def of_views(
        cls, views: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any] | None, n_classes: int
    ) -> "Statistics":
        """Sum up labelled shots, (m, n_views, d), whose views are samples."""
        n_views, weights = views.shape[1], np.ones(len(views)) if weights is None else weights
        samples = views.reshape(-1, views.shape[2]).astype(np.float64)
        return cls.of(samples, codes.repeat(n_views), weights.repeat(n_views), n_classes)

    def without(self, other: "Statistics") -> "Statistics":
        """Subtract the samples of a fold."""
        counts = self.counts - other.counts
        # A class whose samples are all in the fold may keep a count that is only rounding.
        counts[counts <= 1e-9 * self.counts] = 0
        sums = np.where(counts[:, None] > 0, self.sums - other.sums, 0)
        return Statistics(counts, sums, self.moment - other.moment)

    @property
    def means(self) -> NDArray[Any]:
        """Means of the samples of each class, (C, d). Zeros for a class without samples."""
        return self.sums / np.where(self.counts > 0, self.counts, 1)[:, None]

    @property
    def scatter(self) -> NDArray[Any]:
        """Sum of the outer products of the differences between samples and their class mean, (d, d)."""
        means = self.means
        return self.moment - (self.counts[:, None] * means).T @ means

    @property
    def present(self) -> float:
        """Number of classes with samples; one with a count below 1 counts in proportion."""
        return float(np.minimum(self.counts, 1).sum())

    @property
    def per_class(self) -> float:
        """Mean number of samples of the classes that have any."""
        return float(self.counts.sum() / self.present)
