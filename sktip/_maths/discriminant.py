"""Gaussian discriminant analysis: class means and one covariance, from sums over the shots.

All functions take and return NumPy arrays. They compute in double precision, because sums are merged
later, and because the covariance of few shots is nearly singular.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sktip._maths.folds import class_balanced_weights, held_out_folds
from sktip._maths.log_loss import HeldOutShots, precision
from sktip._maths.unit import unit_norm

#: Covariances of unit rows with a smaller trace than this are rounding errors.
NO_SPREAD = 1e-12
#: Largest number of folds on which alpha is chosen.
MAX_FOLDS = 4
#: From this number of shots per class, the prior belief gives discriminants and text the same weight.
SHOTS_OF_FULL_BELIEF = 6
#: Number of standard deviations that the weight is below the most probable one.
DEVIATIONS = 2.0
#: Spread of calibrated text logits of CLIP between wrong classes.
SPREAD_OF_TEXT = 3.0
#: Lower bound of the trust in uninformative text.
LEAST_TRUST = 1e-2


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
        """
        present = self.counts > 0
        means = self.means[present]
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


def chosen_weight(
    statistics: ClassStatistics,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    *,
    groups: NDArray[Any] | None = None,
    text: NDArray[Any],
    logit_scale: float,
) -> float:
    """Weight of the discriminants relative to the text logits.

    It is two standard deviations, in the logarithm, below the most probable weight. The more shots are
    held out, the closer it is to that.

    Parameters
    ----------
    statistics : ClassStatistics
        Statistics of all samples, the views of the shots.

    shots : ndarray of shape (m, n_views, d)
        Unit features.

    codes, weights : ndarray of shape (m,)
        Class codes and weights of the shots. The weights may be None.

    groups : ndarray of shape (m,) or None
        Shots of a group are held out together.

    text : ndarray of shape (C, d)
        Unit text features.

    logit_scale : float
        Scale of the text logits.
    """
    folds, numbers = held_out_folds(
        unit_norm(shots.mean(axis=1)), codes, weights, groups, max_folds=MAX_FOLDS
    )
    n_shots = numbers.max() + 1
    belief = n_shots / len(np.unique(codes)) / SHOTS_OF_FULL_BELIEF
    # If no shot can be held out, the text logits of all shots still show how far to trust the text.
    has_folds = folds.max() >= 0
    scored = folds >= 0 if has_folds else np.ones(len(folds), bool)
    n_scored = len(np.unique(numbers[scored]))
    samples, codes, weights = views_as_samples(shots, codes, weights)
    folds, scored = folds.repeat(shots.shape[1]), scored.repeat(shots.shape[1])
    own, strength = codes[scored], precision(1.0, n_scored)
    prior = logit_scale * samples[scored].astype(np.float64) @ text.T.astype(np.float64)
    shares = class_balanced_weights(own, None if weights is None else weights[scored])
    held_out = HeldOutShots(
        torch.from_numpy(prior.T), torch.from_numpy(own), torch.from_numpy(shares)
    )
    confidence = held_out.inverse_temperature(held_out.prior, precision=strength)
    spread = spread_of_competing(prior, own, shares)
    # What calibrated logits tell grows with the square of their spread.
    trust = min(max(confidence * spread / SPREAD_OF_TEXT, LEAST_TRUST), 1.0)
    wanted = min(belief, 1.0) * spread / trust**2
    believed = float(wanted) / _spread_of_discriminants(statistics)
    if not has_folds:
        return believed
    votes, own_folds = np.empty_like(prior), folds[scored]
    for fold in np.unique(own_folds):
        kept = folds != fold
        kept_weights = None if weights is None else weights[kept]
        part = ClassStatistics.of(samples[kept], codes[kept], len(text), kept_weights)
        scores, intercepts = part.discriminants()
        votes[own_folds == fold] = samples[~kept] @ scores.T + intercepts
    # The belief in discriminants grows with the number of shots, which is smaller without a fold.
    share = 1 - n_scored / len(np.unique(own_folds)) / n_shots
    less = min(share * belief, 1.0) / min(belief, 1.0)
    votes *= less * wanted / spread_of_competing(votes, own, shares)
    best, _ = held_out.best_sum(torch.from_numpy(votes.T), precision=strength)
    # A weight that is too large does more harm beside strong text than one that is too small, so the
    # lower end of the interval around the most probable weight is used.
    deviation = 1 / math.sqrt(n_scored * best.curvature)
    return believed * best.factor * math.exp(-DEVIATIONS * deviation)


def weight_without_text(statistics: ClassStatistics, logit_scale: float) -> float:
    """Weight at which the discriminants have the usual spread of CLIP's text logits."""
    # The usual logit scale of CLIP is 100.
    return SPREAD_OF_TEXT * logit_scale / 100 / _spread_of_discriminants(statistics)


def spread_of_competing(
    logits: NDArray[Any], own: NDArray[Any], shares: NDArray[Any] | None = None
) -> float:
    """Root mean variance of the logits (q, C) of the classes other than each row's `own`.

    The own class is included with two classes, where only the difference matters. 1 if logits are equal.
    """
    if logits.shape[1] > 2:
        kept = np.ones_like(logits, dtype=bool)
        kept[np.arange(len(logits)), own] = False
        logits = logits[kept].reshape(len(logits), -1)
    return float(np.sqrt(np.average(logits.var(axis=1, ddof=1), weights=shares))) or 1.0


def _spread_of_discriminants(statistics: ClassStatistics) -> float:
    """Spread of the discriminants of the wrong classes at the class means."""
    present = np.flatnonzero(statistics.counts)
    scores, intercepts = statistics.discriminants()
    return spread_of_competing(statistics.means[present] @ scores.T + intercepts, present)
