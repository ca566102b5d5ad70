"""Several tags per image: one logistic regression for each tag, with a prior from its name.

The logit of tag c for a unit feature x, with centre and covariance S of all shots:

    a z_c(x) + B_c'(x - centre) + b_c     B_c ~ N(0, v inv(S))     b_c ~ N(mean log-odds, 1)

z_c is the cosine with the text feature of the tag, centred and scaled. The weight a of the text and the
variance v are the same for all tags, and are chosen on held-out shots. NumPy arrays only.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit, logit

from sktip._maths.folds import balanced_folds

#: Weights of the text, as the standard deviation of its logits over the shots, and prior variances that are
#: tried; the first of each is used where no shot can be held out.
TEXT_WEIGHTS, VARIANCES = (0.6, 0.3, 1.2, 2.4), (0.1, 0.03, 0.3, 1.0)
#: Part of the covariance that is replaced by its mean variance.
SHRINKAGE = 0.5
#: Log-loss by which other weights than the first ones must be better, since labels of a shot are not independent.
BELIEF = 4.0
#: Number of folds; labels that are enough to choose the weights: no further fold is held out then.
N_FOLDS, ENOUGH = 4, 20_000
#: Weight of the counts of all tags, relative to those of one positive, in the choice of a threshold.
POOLED = 2.0


class TagModel(NamedTuple):
    """Linear logits ``x @ coef.T + intercept``, and a threshold of the probability of each tag.

    `held_out` are logits of the shots from models without them, (n, C); rows of NaN were not held out.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    thresholds: NDArray[Any]
    text_weight: float
    variance: float
    held_out: NDArray[Any]


def fit_tags(
    features: NDArray[Any],
    targets: NDArray[Any],
    weights: NDArray[Any],
    *,
    groups: NDArray[Any] | None,
    text: NDArray[Any] | None,
) -> TagModel:
    """Fit the logits of all tags.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Unit features of the shots.

    targets : ndarray of shape (n, C)
        1 where a shot has the tag, 0 where it does not, NaN where that is not known.

    weights : ndarray of shape (n,)
        Weights of the shots.

    groups : ndarray of shape (n,) or None
        Shots of a group are held out together.

    text : ndarray of shape (C, d) or None
        Unit features of the names of the tags.
    """
    features = features.astype(np.float64)
    shares = weights / weights.sum()
    centre = shares @ features
    centred = features - centre
    covariance = (centred * shares[:, None]).T @ centred
    variance = np.trace(covariance) / len(covariance) or 1.0
    covariance *= 1 - SHRINKAGE
    covariance.flat[:: len(covariance) + 1] += SHRINKAGE * variance
    root = cholesky(covariance, lower=True)
    white = solve_triangular(root, centred.T, lower=True).T
    directions = np.zeros((targets.shape[1], features.shape[1]))
    if text is not None:
        directions = text.astype(np.float64) - text.mean(axis=0)
    prior = centred @ directions.T
    spread = np.sqrt(shares @ prior**2).mean() or 1.0
    prior /= spread

    cells = np.where(np.isnan(targets), 0, weights[:, None])
    targets = np.where(np.isnan(targets), 0, targets)
    total = cells.sum()
    base = float(
        logit(np.clip((cells * targets).sum() / total, 1 / (total + 2), 1 - 1 / (total + 2)))
    )
    folds = balanced_folds(
        features, np.zeros(len(features), np.intp), groups=groups, max_folds=N_FOLDS
    )

    def held_out_logits(text_weight: float, variance: float) -> NDArray[Any]:
        logits = np.full(targets.shape, np.nan)
        for fold in range(folds.max() + 1):
            if (~np.isnan(logits[:, 0])).sum() * targets.shape[1] > ENOUGH:
                break
            out, rest = folds == fold, folds != fold
            coef, intercept = _regressions(
                white[rest],
                targets[rest],
                cells[rest],
                text_weight * prior[rest],
                variance=variance,
                base=base,
            )
            logits[out] = text_weight * prior[out] + white[out] @ coef.T + intercept
        return logits

    # Without the only shots of a tag, its logits say nothing about those of a model that has seen them.
    enough = (targets * (cells > 0)).sum(axis=0) >= N_FOLDS

    def loss(logits: NDArray[Any]) -> float:
        tested = ~np.isnan(logits[:, 0])
        z, y, w = (part[tested][:, enough] for part in (logits, targets, cells))
        return float((w * (np.logaddexp(0, z) - y * z)).sum())

    text_weight, variance = TEXT_WEIGHTS[0] if text is not None else 0.0, VARIANCES[0]
    held_out = np.full(targets.shape, np.nan)
    if folds.max() > 0:
        held_out = held_out_logits(text_weight, variance)
        least = loss(held_out)
        for name, values in (("text", TEXT_WEIGHTS[1:]), ("variance", VARIANCES[1:])):
            for value in values if text is not None or name == "variance" else ():
                one = (value, variance) if name == "text" else (text_weight, value)
                logits = held_out_logits(*one)
                if loss(logits) + BELIEF < least:
                    held_out, least = logits, loss(logits) + BELIEF
                    text_weight, variance = one
    coef, intercept = _regressions(
        white, targets, cells, text_weight * prior, variance=variance, base=base
    )
    coef = solve_triangular(root, coef.T, lower=True, trans="T").T
    coef += text_weight / spread * directions
    return TagModel(
        coef,
        intercept - coef @ centre,
        _thresholds(held_out, targets, cells),
        text_weight,
        variance,
        held_out,
    )


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
    tested = ~np.isnan(logits[:, 0])
    if not tested.any():
        return np.full(logits.shape[1], 0.5)
    probabilities, y, w = expit(logits[tested]), targets[tested], cells[tested]
    tries = np.unique(np.quantile(probabilities, np.linspace(0, 1, 201)))
    above = probabilities[:, :, None] >= tries
    hits = np.einsum("nc,nct->ct", w * y, above)
    alarms = np.einsum("nc,nct->ct", w * (1 - y), above)
    positives = (w * y).sum(axis=0)[:, None]
    share = POOLED / max(positives.sum(), 1e-300)
    hits, alarms = hits + share * hits.sum(axis=0), alarms + share * alarms.sum(axis=0)
    positives = positives + POOLED
    scores = 2 * hits / (hits + alarms + positives)
    best: NDArray[np.float64] = tries[scores.argmax(axis=1)]
    return best
