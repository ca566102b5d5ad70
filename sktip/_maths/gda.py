"""Gaussian discriminant analysis from sums over the samples, and the choice of its weight. NumPy only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from sktip._maths.blocks import SPREAD_OF_TEXT
from sktip._maths.discriminants import KAPPA
from sktip._maths.folds import MAX_FOLDS, class_balanced_weights, scored_folds
from sktip._maths.log_loss import most_probable_weights
from sktip._maths.statistics import Statistics
from sktip._maths.unit import unit_norm

#: Prior of alpha: the ratio of the spread of the discriminants over the wrong classes to that of the text
#: logits, with many shots. It is smaller with few.
SPREAD = 0.3


class GaussianModel(NamedTuple):
    """The weight of the discriminants, and coefficients (C, d) and intercepts (C,) of the logits."""

    alpha: float
    coef: NDArray[Any]
    intercept: NDArray[Any]


def fit_discriminants(
    statistics: Statistics,
    shots: tuple[Any, Any, Any, Any],
    *,
    alpha: float | None,
    text: NDArray[Any] | None,
    logit_scale: float,
) -> GaussianModel:
    """Compute the logits from the statistics of all shots.

    If alpha is None, it is chosen on the shots: features, codes, weights and groups, as for
    `most_probable_alpha`.
    """
    scores, intercepts = discriminants(statistics)
    if alpha is None:
        alpha = most_probable_alpha(statistics, *shots, text=text, logit_scale=logit_scale)
    coef = alpha * scores
    if text is not None:
        coef += logit_scale * text
    return GaussianModel(alpha, coef, alpha * intercepts)


def joined_statistics(
    counts: NDArray[Any],
    means: NDArray[Any],
    scatter: NDArray[Any],
    codes: NDArray[Any],
    new: Statistics,
) -> Statistics:
    """Statistics of earlier samples, whose classes have these codes now, and of new ones."""
    sums = counts[:, None] * means
    all_counts, all_sums = new.counts.copy(), new.sums.copy()
    all_counts[codes] += counts
    all_sums[codes] += sums
    return Statistics(all_counts, all_sums, new.moment + scatter + sums.T @ means)


def discriminants(statistics: Statistics) -> tuple[NDArray[Any], NDArray[Any]]:
    """Weights (C, d) and intercepts (C,) of ``f P mu_c - mu_c P mu_c / 2 - log C``.

    The mean of a class without samples is that of the other class means.
    """
    means, present = statistics.means, statistics.counts > 0
    means[~present] = means[present].mean(axis=0)
    weights = times_precision(statistics, means)
    return weights, -np.log(len(means)) - (means * weights).sum(axis=1) / 2


def times_precision(statistics: Statistics, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (n, d) times the precision ``P = d inv((N - 1) Sigma + trace(Sigma) I)``.

    P is the identity if no class has two samples that differ by more than rounding.
    """
    n, scatter = statistics.counts.sum(), statistics.scatter
    variance = np.trace(scatter) / n
    if variance < 1e-12:
        return rows
    shrunken = max(n - 1, 0) / n * scatter
    shrunken[np.diag_indices_from(shrunken)] += variance
    return len(scatter) * cho_solve(cho_factor(shrunken, lower=True), rows.T).T


def contributions(
    queries: NDArray[Any],
    targets: NDArray[Any],
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    *,
    n_classes: int,
) -> NDArray[Any]:
    """Contribution of each shot to the discriminant of one class for each query: (n, m).

    They add up to the discriminant, except for a term that is the same for all classes of a query.
    P and the centre of the class means are held fixed, and means are taken relative to the centre. Queries are
    (n, d) with one class code each, (n,); shots are (m, n_views, d), their codes and weights (m,).
    """
    statistics = Statistics.of_views(shots, codes, weights, n_classes)
    means, present = statistics.means, statistics.counts > 0
    centre = means[present].mean(axis=0)
    sharp_means = times_precision(statistics, means - centre)
    placed = shots.mean(axis=1, dtype=np.float64) - centre
    result: NDArray[Any] = times_precision(statistics, queries - centre) @ placed.T
    result -= np.einsum("ij,ij->i", sharp_means[codes], placed) / 2
    result *= targets[:, None] == codes
    result *= shots.shape[1] * (1 if weights is None else weights) / statistics.counts[codes]
    return result


def most_probable_alpha(
    statistics: Statistics,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    groups: NDArray[Any] | None,
    *,
    text: NDArray[Any] | None,
    logit_scale: float,
) -> float:
    """Weight of the discriminants relative to the text logits, chosen on unit shots (m, n_views, d).

    `statistics` are those of the views of all shots. Codes, weights and groups are (m,), and text is (C, d) or None.
    """
    (m, n_views, width), n_classes = shots.shape, len(statistics.counts)
    weights = np.ones(m) if weights is None else weights
    folds = scored_folds(unit_norm(shots.mean(axis=1)), codes, weights, groups, max_folds=MAX_FOLDS)
    coef = None if text is None else logit_scale * text.astype(np.float64)

    def believed(part: Statistics, scores: tuple[NDArray[Any], NDArray[Any]]) -> float:
        # The usual logit scale of CLIP is 100.
        usual = SPREAD_OF_TEXT * logit_scale / 100 if coef is None else _spread(part, coef)
        per_class = part.counts.sum() / n_views / np.count_nonzero(part.counts)
        share = per_class / (per_class + KAPPA)
        return float(SPREAD * share * usual / _spread(part, *scores))

    votes = np.empty((m, n_views, n_classes))
    for fold in range(folds.max() + 1):
        out = folds == fold
        rest = statistics.without(
            Statistics.of_views(shots[out], codes[out], weights[out], n_classes)
        )
        scores = discriminants(rest)
        votes[out] = believed(rest, scores) * (shots[out] @ scores[0].T + scores[1])
    alpha, scored = believed(statistics, discriminants(statistics)), folds >= 0
    if not scored.any():
        return alpha
    own = codes[scored].repeat(n_views)
    even = class_balanced_weights(codes[scored], weights[scored]).repeat(n_views) / n_views
    parts = [votes[scored].reshape(len(own), n_classes)]
    if coef is not None:
        parts.append(shots[scored].reshape(len(own), width) @ coef.T)
    found, _ = most_probable_weights(parts, own, even)
    return float(alpha * found[0] / (1.0 if coef is None else found[1]))


def _spread(
    statistics: Statistics, coef: NDArray[Any], intercept: NDArray[Any] | float = 0.0
) -> float:
    """Deviation of logits over the wrong classes, root mean square over the class means.

    The right class is included with two classes, where only the difference matters. 1 if logits are equal.
    """
    present = np.flatnonzero(statistics.counts)
    logits = statistics.means[present] @ coef.T + intercept
    if len(coef) > 2:
        wrong = present[:, None] != np.arange(len(coef))
        logits = logits[wrong].reshape(len(present), -1)
    return float(np.sqrt(logits.var(axis=1).mean())) or 1.0
