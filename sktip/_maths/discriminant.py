"""Gaussian discriminant analysis: class means and one covariance, from sums over the shots.

All functions take and return NumPy arrays. They compute in double precision, because sums are merged
later, and because the covariance of few shots is nearly singular.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: Covariances of unit rows with a smaller trace than this are rounding errors.
NO_SPREAD = 1e-12
#: With more samples, the shrinkage, which counts as one sample, is lost in rounding.
MOST_SAMPLES = 1e12


def views_as_samples(
    shots: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return the views of the shots, (m, n_views, d), as samples with codes and weights."""
    n_views = shots.shape[1]
    samples = shots.reshape(-1, shots.shape[2])
    return samples, codes.repeat(n_views), None if weights is None else weights.repeat(n_views)


@dataclass(frozen=True)
class ClassStatistics:
    """Sums over the samples from which the discriminants are computed.

    Parameters
    ----------
    counts : ndarray of shape (C,)
        Number of samples of each class, or the sum of their weights.

    means : ndarray of shape (C, d)
        Means of the samples of each class. Zeros for a class without samples.

    scatter : ndarray of shape (d, d)
        Sum over all samples of the outer products of their differences from the class means.
    """

    counts: NDArray[Any]
    means: NDArray[Any]
    scatter: NDArray[Any]

    @classmethod
    def of(
        cls,
        samples: NDArray[Any],
        codes: NDArray[Any],
        n_classes: int,
        weights: NDArray[Any] | None = None,
    ) -> "ClassStatistics":
        """Compute the statistics of samples, (n, d), with class codes."""
        weights = np.ones(len(samples)) if weights is None else weights
        samples = samples.astype(np.float64, copy=False)
        counts = np.bincount(codes, weights, minlength=n_classes)
        means = np.zeros((n_classes, samples.shape[1]))
        np.add.at(means, codes, weights[:, None] * samples)
        means /= np.where(counts > 0, counts, 1)[:, None]
        residuals = np.sqrt(weights)[:, None] * (samples - means[codes])
        return cls(counts, means, residuals.T @ residuals)

    def __add__(self, other: "ClassStatistics") -> "ClassStatistics":
        """Statistics of the samples of both, for the same classes (Chan's formula)."""
        counts = self.counts + other.counts
        share = other.counts / np.where(counts > 0, counts, 1)
        shift = other.means - self.means
        between = np.sqrt(self.counts * share)[:, None] * shift
        return ClassStatistics(
            counts,
            self.means + share[:, None] * shift,
            self.scatter + other.scatter + between.T @ between,
        )

    def spread_to(self, n_classes: int, codes: NDArray[Any]) -> "ClassStatistics":
        """Statistics with more classes, in which the present classes have the given codes."""
        counts, means = np.zeros(n_classes), np.zeros((n_classes, self.means.shape[1]))
        counts[codes], means[codes] = self.counts, self.means
        return ClassStatistics(counts, means, self.scatter)

    @property
    def has_spread(self) -> bool:
        """Whether some class has different samples."""
        return bool(np.trace(self.scatter) > NO_SPREAD * self.counts.sum())

    def discriminants(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights (C, d) and intercepts (C,) of ``f P mu_c - mu_c P mu_c / 2 - log C``.

        P is the shrunken precision ``d inv((N - 1) Sigma + trace(Sigma) I)``, or the identity if no
        class has two different samples. A class without samples gets the mean discriminant of the
        other classes.

        Raises
        ------
        ValueError
            If the sum of the weights is so large that P cannot be computed.
        """
        present = self.counts > 0
        means = self.means[present]
        n = self.counts.sum()
        if not n < MOST_SAMPLES:
            raise ValueError(
                f"the sum of sample_weight is {n:g}. A weight is the number of times that a shot counts, and "
                f"above {MOST_SAMPLES:g} in all, the covariance is singular. Divide sample_weight by a constant."
            )
        weights = self._times_precision(means)
        own = (means * weights).sum(axis=1) / 2
        all_weights = np.tile(weights.mean(axis=0), (len(present), 1))
        all_own = np.full(len(present), own.mean())
        all_weights[present], all_own[present] = weights, own
        return all_weights, -np.log(len(present)) - all_own

    def contributions(
        self,
        queries: NDArray[Any],
        targets: NDArray[Any],
        shots: NDArray[Any],
        codes: NDArray[Any],
        weights: NDArray[Any] | None,
    ) -> NDArray[Any]:
        """Contribution of each shot to the discriminant of one class for each query: (n, m).

        They add up to the discriminant, except for a term that is the same for all classes of a query.
        P and the centre of the class means are held fixed, and means are taken relative to the centre.

        Parameters
        ----------
        queries, targets : ndarray of shape (n, d) and (n,)
            Unit features of the queries, and one class code per query.

        shots, codes, weights : ndarray of shape (m, n_views, d), (m,) and (m,) or None
            The shots. Their views are the samples of these statistics.
        """
        present = self.counts > 0
        centre = self.means[present].mean(axis=0)
        sharp_means = self._times_precision(self.means - centre)
        placed = shots.mean(axis=1, dtype=np.float64) - centre
        through_means = self._times_precision(queries - centre) @ placed.T
        through_means -= np.einsum("ij,ij->i", sharp_means[codes], placed) / 2
        # A class without samples has the mean discriminant of the others.
        parts = np.eye(len(present))
        parts[~present] = present / present.sum()
        result: NDArray[Any] = through_means * parts[targets][:, codes]
        result *= shots.shape[1] * (1 if weights is None else weights) / self.counts[codes]
        return result

    def _times_precision(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows times P: (n, d)."""
        if not self.has_spread:
            return rows
        n, d = self.counts.sum(), rows.shape[1]
        covariance = self.scatter / n
        ridge = np.trace(covariance) * np.eye(d)
        shrunken = torch.from_numpy(max(n - 1, 0) * covariance + ridge)
        # Waiting threads of SciPy keep the CPU busy, which is much slower than torch if other programs
        # run.
        factor = torch.linalg.cholesky(shrunken)
        sharp: NDArray[Any] = d * torch.cholesky_solve(torch.from_numpy(rows.T), factor).numpy()
        return sharp.T
