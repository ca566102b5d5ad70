"""Weights of the text and of the discriminants, chosen on held-out shots with a belief."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.means import Means, class_means
from sktip._maths.text_prior.softmax import most_probable_weights
from sktip._maths.text_prior.statistics import Statistics

#: Shrinkages that are tried, the one that is believed in first.
SHRINKAGES = (0.85, 0.7, 0.5, 0.35, 0.2)
#: Belief in the discriminants of one shot per class: their spread in that of the text logits. It
#: grows with the square root of the shots.
SPREAD_OF_ONE_SHOT = 0.45
#: Spread of CLIP's text logits, in parts of the logit scale. It stands in where there is no text.
SPREAD_OF_TEXT = 0.03
#: Standard deviations of the logarithms of the temperature and of the discriminants' weight.
DEVIATION_OF_TEMPERATURE, DEVIATION_OF_WEIGHT = 0.5, 1.0
#: Text and discriminants tell partly the same. Where no shot can be held out that has both, their sum
#: is taken for so much less sure than the text's temperature makes it.
SHARED = 0.8
#: Shrinkages whose costs differ by less than this part of them are equally good.
INDIFFERENCE = 1e-6
#: Spreads up to this part of the whitened features' length are rounding.
ROUNDING = 1e-9
#: Logits of so many shots and classes are computed in single precision.
MANY = 2**22


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Parameters
    ----------
    shrinkage : float
        Of the covariance.

    text_weight, means_weight : float
        Factors of the text logits and of the discriminants.

    logits : ndarray of shape (m, p)
        Their sum for each shot, from models without its fold.
    """

    shrinkage: float
    text_weight: float
    means_weight: float
    logits: NDArray[Any]


def choose_weights(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    *,
    text: NDArray[Any] | None,
    logit_scale: float,
    means: Means,
    statistics: Statistics,
) -> Choice:
    """Choose shrinkage and weights by the log-loss of each fold, asked of models without it.

    Only the classes that have shots compete: that a class has none says nothing about queries.

    Parameters
    ----------
    shots, codes, weights, folds : ndarray of shape (m, d), (m,), (m,) and (m,)
        The shots.

    text : ndarray of shape (C, d) or None
        Unit text features.

    logit_scale : float
        Scale of the text logits.

    means : Means
        Of all shots.

    statistics : Statistics
        Of the shots.
    """
    present = np.flatnonzero(statistics.counts)
    targets = np.searchsorted(present, codes)
    models = []
    for fold in range(folds.max(initial=-1) + 1):
        out = folds == fold
        left = statistics - Statistics.of(
            shots[out], codes[out], weights[out], len(statistics.counts)
        )
        # The only shots of all classes leave nothing: there the text is alone.
        if left.counts.any():
            model = class_means(left, text)
            models.append((out, model, left.shots))
    block = np.float32 if len(shots) * len(present) > MANY else np.float64
    parts = []
    if text is not None:
        parts.append((logit_scale * (shots @ text[present].T)).astype(block))

    deviations = [*(DEVIATION_OF_TEMPERATURE for _ in parts), DEVIATION_OF_WEIGHT]
    precision = np.diag(np.power(deviations, -2.0))
    found = np.ones(len(parts) + 1)
    best_cost, best = np.inf, Choice(SHRINKAGES[0], 1.0, 0.0, np.zeros((len(shots), 0)))
    for shrinkage in SHRINKAGES:
        held_out, units = np.zeros((len(shots), len(present)), block), []
        for out, model, n_shots in models:
            coef, intercept = discriminants(model, shrinkage)
            units.append(_believed_weight(model, shrinkage, text, logit_scale, n_shots))
            held_out[out] = units[-1] * (shots[out] @ coef[present].T + intercept[present])
        together = 1.0
        if not models:
            n_shots = statistics.shots
            units = [_believed_weight(means, shrinkage, text, logit_scale, n_shots)]
            together = 1.0 if text is None else SHARED
        both = [*parts, held_out]
        found, cost = most_probable_weights(both, targets, weights, precision, found)
        if cost < best_cost - INDIFFERENCE * abs(cost):
            logits = float(found[-1]) * held_out
            if parts:
                logits += float(found[0]) * parts[0]
            text_weight = together * float(found[0]) if parts else 1.0
            told = [unit for unit in units if unit > 0]
            means_weight = together * float(found[-1] * np.mean(told)) if told else 0.0
            best_cost, best = cost, Choice(shrinkage, text_weight, means_weight, logits)
    return best


def discriminants(means: Means, shrinkage: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coefficients and intercepts of ``(x - centre) P (mu_c - centre) - |mu_c - centre|_P^2 / 2``."""
    whitening = means.whitening(shrinkage)
    white = (means.posterior - means.centre) @ whitening
    coef = white @ whitening.T
    return coef, -coef @ means.centre - (white**2).sum(axis=1) / 2


def _believed_weight(
    means: Means, shrinkage: float, text: NDArray[Any] | None, logit_scale: float, shots: float
) -> float:
    """Weight at which the discriminants spread as is believed of so many shots per class.

    The spread is that between the wrong classes of a sample drawn from the model.
    """
    values = means.values / means.shrunken(shrinkage)
    whitening = means.whitening(shrinkage)
    white = (means.posterior - means.centre) @ whitening
    own = _spread(white @ white.T - (white**2).sum(axis=1) / 2, white * np.sqrt(values))
    spread = SPREAD_OF_TEXT
    if text is not None:
        noise = text @ (means.vectors * np.sqrt(means.values))
        spread = _spread(means.posterior @ text.T, noise)
    # Means that differ by rounding alone, as without text those of a single class do, say nothing.
    if own <= ROUNDING * max(1.0, float(np.linalg.norm(means.centre @ whitening))):
        return 0.0
    return float(SPREAD_OF_ONE_SHOT * np.sqrt(shots) * logit_scale * spread / own)


def _spread(logits: NDArray[Any], noise: NDArray[Any]) -> float:
    """Compute the standard deviation between wrong classes, from logits (C, C) of means and of noise."""
    n_classes = len(logits)
    if n_classes == 1:
        return 0.0
    if n_classes == 2:
        difference = noise[0] - noise[1]
        return float(np.sqrt(difference @ difference / 2))
    wrong = ~np.eye(n_classes, dtype=bool)
    competing = logits[wrong].reshape(n_classes, -1)
    return float(np.sqrt(competing.var(axis=1).mean() + noise.var(axis=0).sum()))
