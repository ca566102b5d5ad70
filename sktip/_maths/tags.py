"""Several tags per image: one logistic regression for each tag, with a prior from its name.

The logit of tag c for a unit feature x, with centre m and shrunk covariance S of all shots:

    a z_c(x) + B_c'(x - m) + b_c     B_c ~ N(0, v inv(S))     b_c ~ N(mean log-odds, 1)

z_c is the cosine with the text feature of the tag, centred and scaled. The weight a of the text, the
variance v and the shrinkage are the same for all tags, and are chosen on held-out shots.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from sktip._maths.folds import ENOUGH_SHOTS, balanced_folds

#: Values that are tried, one choice after another: weights of the text, as the standard deviation of its
#: logits over the shots, prior variances, and parts of the covariance that its mean variance replaces. The
#: first of each is used where no shot can be held out.
CHOICES = ((0.6, 0.3, 1.2, 2.4), (0.1, 0.03, 0.3, 1.0), (0.8, 0.4, 0.1))
#: Log-loss by which a choice must be better than the one before it, since labels of a shot are not independent.
BELIEF = 4.0
#: Number of folds, of which no further one is held out when `ENOUGH_SHOTS` shots are.
N_FOLDS = 4
#: Floor of the summed variances of unit features, for shots that are nearly equal. Photos of many things have
#: about 0.4, and those of one class 0.15 to 0.25. Where true variances are a tenth of the floor, it does no harm.
LEAST_VARIANCE = 0.1
#: Weight of the counts of all tags, in positives, in the choice of a threshold.
POOLED = 2.0


class TagModel(NamedTuple):
    """Linear logits ``x @ coef.T + intercept`` of the tags, (C, d) and (C,), and their thresholds, (C,)."""

    coef: NDArray[Any]
    intercept: NDArray[Any]
    thresholds: NDArray[Any]
    text_weight: float


def fit_tags(
    features: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
    *,
    groups: NDArray[Any] | None,
    text: NDArray[Any] | None,
) -> TagModel:
    """Fit the logits of all tags.

    Unit features are (n, d), weights and groups (n,), and unit features of the names (C, d). `targets`, (n, C),
    are 1 where a shot has the tag, 0 where it does not, and NaN where that is not known.
    """
    features = features.astype(np.float64)
    shares = weights / weights.sum()
    centre = shares @ features
    centred = features - centre
    variances, axes = np.linalg.eigh((centred * shares[:, None]).T @ centred)
    projected, width = centred @ axes, features.shape[1]
    mean_variance = max(variances.mean(), LEAST_VARIANCE / width)
    directions = np.zeros((targets.shape[1], features.shape[1]))
    if text is not None:
        directions = text.astype(np.float64) - text.mean(axis=0)
    prior = centred @ directions.T
    least = np.linalg.norm(directions, axis=1).mean() * np.sqrt(LEAST_VARIANCE / width)
    spread = max(np.sqrt(shares @ prior**2).mean(), least) or 1.0
    prior /= spread
    cells = np.where(np.isnan(targets), 0, weights[:, None])
    targets = np.where(np.isnan(targets), 0, targets)
    base = float(logit(((cells * targets).sum() + 1) / (cells.sum() + 2)))

    def regressions(values: tuple[float, ...], rows: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Coefficients in the axes, (C, d), and intercepts, (C,), of some shots."""
        text_weight, variance, shrinkage = values
        lengths = np.sqrt((1 - shrinkage) * np.maximum(variances, 0) + shrinkage * mean_variance)
        coef, intercept = _regressions(
            projected[rows] / lengths,
            targets[rows],
            cells[rows],
            text_weight * prior[rows],
            variance=variance,
            base=base,
        )
        return coef / lengths, intercept

    codes = np.zeros(len(features), np.intp)
    folds = balanced_folds(features, codes, weights, groups, max_folds=N_FOLDS)
    before = np.cumsum(np.bincount(folds, weights)) - np.bincount(folds, weights)
    n_tested = int((before < ENOUGH_SHOTS).sum()) if len(before) > 1 else 0
    tested = folds < n_tested

    def held_out_logits(values: tuple[float, ...]) -> NDArray[Any]:
        logits: NDArray[Any] = values[0] * prior
        for fold in range(n_tested):
            coef, intercept = regressions(values, folds != fold)
            logits[folds == fold] += projected[folds == fold] @ coef.T + intercept
        return logits[tested]

    # Without the only shots of a tag, its logits say nothing about those of a model that has seen them.
    enough = (targets * (cells > 0)).sum(axis=0) >= N_FOLDS

    def loss(logits: NDArray[Any]) -> float:
        z, y, w = logits[:, enough], targets[tested][:, enough], cells[tested][:, enough]
        return float((w * (np.logaddexp(0, z) - y * z)).sum())

    values = (
        tuple(first for first, *_ in CHOICES)
        if text is not None
        else (0.0, *(c[0] for c in CHOICES[1:]))
    )
    thresholds = np.full(targets.shape[1], 0.5)
    if n_tested:
        logits = held_out_logits(values)
        for place, choices in enumerate(CHOICES):
            for value in choices[1:] if place or text is not None else ():
                other = (*values[:place], value, *values[place + 1 :])
                others = held_out_logits(other)
                if loss(others) + BELIEF < loss(logits):
                    values, logits = other, others
        thresholds = _thresholds(logits, targets[tested], cells[tested])
    coef, intercept = regressions(values, slice(None))
    coef = coef @ axes.T + values[0] / spread * directions
    return TagModel(coef, intercept - coef @ centre, thresholds, values[0])


def _regressions(
    features: NDArray[Any],
    targets: NDArray[Any],
    cells: NDArray[Any],
    offsets: NDArray[Any],
    *,
    variance: float,
    base: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Most probable coefficients (C, d) and intercepts (C,) of ``offsets + features @ coef.T + intercept``."""
    n_tags, width = targets.shape[1], features.shape[1]

    def cost(parameters: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        table = parameters.reshape(n_tags, width + 1)
        coef, intercept = table[:, :-1], table[:, -1]
        logits = offsets + features @ coef.T + intercept
        value = (cells * (np.logaddexp(0, logits) - targets * logits)).sum()
        residuals = cells * (expit(logits) - targets)
        slope = np.column_stack([residuals.T @ features, residuals.sum(axis=0)])
        value += (coef**2).sum() / (2 * variance) + ((intercept - base) ** 2).sum() / 2
        slope += np.column_stack([coef / variance, intercept - base])
        return value, slope.ravel()

    start = np.zeros((n_tags, width + 1))
    start[:, -1] = base
    options = {"maxiter": 200, "ftol": 1e-9, "gtol": 1e-4}
    found = minimize(cost, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    table = found.x.reshape(n_tags, width + 1)
    return table[:, :-1], table[:, -1]


def _thresholds(
    logits: NDArray[Any], targets: NDArray[Any], cells: NDArray[Any]
) -> NDArray[np.float64]:
    """Probability of each tag from which it is predicted: the best F1 on held-out shots, (C,).

    Few positives show little, so the counts of all tags are added with a small weight.
    """
    probabilities, y, w = expit(logits), targets, cells
    tries = np.unique(np.quantile(probabilities, np.linspace(0, 1, 201)))
    above = probabilities[:, :, None] >= tries
    hits = np.einsum("nc,nct->ct", w * y, above)
    alarms = np.einsum("nc,nct->ct", w * (1 - y), above)
    positives = (w * y).sum(axis=0)[:, None]
    share = POOLED / max(positives.sum(), 1e-300)
    hits, alarms = hits + share * hits.sum(axis=0), alarms + share * alarms.sum(axis=0)
    positives = positives + POOLED
    scores = 2 * hits / (hits + alarms + positives)
    return tries[scores.argmax(axis=1)]
