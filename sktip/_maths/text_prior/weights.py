"""Weights of the text and of the discriminants, chosen on held-out shots with a prior."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.held_out import FoldModel, enough, even_weights
from sktip._maths.text_prior.means import Means
from sktip._maths.text_prior.softmax import most_probable_weights
from sktip._maths.text_prior.statistics import Statistics

#: Shrinkages that are tried. The first is the default.
SHRINKAGES = (0.85, 0.7, 0.5, 0.35, 0.2)
#: Prior weight of the discriminants at one shot per class: the ratio of their spread to that of the
#: text logits. It grows with the square root of the shots.
SPREAD_OF_ONE_SHOT = 0.45
#: Usual spread of CLIP's text logits, divided by the logit scale; used where there is no text.
SPREAD_OF_TEXT = 0.03
#: Standard deviations of the logarithms of the temperature and of the discriminants' weight.
DEVIATION_OF_TEMPERATURE, DEVIATION_OF_WEIGHT = 0.5, 1.0
#: Text and discriminants are partly redundant, so their sum is overconfident. Held-out shots show by
#: how much; where none can be held out, the sum is multiplied by this.
SHARED = 0.8
#: Costs of shrinkages with a smaller relative difference are equal.
INDIFFERENCE = 1e-6
#: Spreads up to this fraction of the length of whitened features are rounding.
ROUNDING = 1e-9
#: Held-out shots on which two weights and a shrinkage are chosen.
ENOUGH = 4000


@dataclass(frozen=True)
class Choice:
    """The chosen weights and shrinkage.

    Parameters
    ----------
    shrinkage : float
        Shrinkage of the covariance.

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
    models: list[FoldModel],
    means: Means,
    statistics: Statistics,
) -> Choice:
    """Choose shrinkage and weights by the log-loss of each fold under models without it.

    Only classes that have shots compete. Queries may show the others just as often.

    Parameters
    ----------
    shots, codes, weights, folds : ndarray of shape (m, d), (m,), (m,) and (m,)
        The shots.

    text : ndarray of shape (C, d) or None
        Unit text features.

    logit_scale : float
        Scale of the text logits.

    models : list of FoldModel
        The means without each fold.

    means : Means
        Means of all shots.

    statistics : Statistics
        Counts, sums and moment of all shots.
    """
    present = np.flatnonzero(statistics.counts)
    targets = np.searchsorted(present, codes)
    # This many shots are enough for two weights and a shrinkage.
    asked = enough(folds, ENOUGH)
    block: Any = np.float64 if asked.all() else np.float32
    rows = np.flatnonzero(asked)
    told = even_weights(codes, weights, statistics.counts)[rows]
    texts = None if text is None else logit_scale * text[present].T.astype(block)
    spreads = [text_spread(model.means, text, logit_scale) for model in models]

    def held_out(shrinkage: float, rows: NDArray[Any]) -> tuple[list[NDArray[Any]], list[float]]:
        """Parts of the logits of some shots, and the prior weights of the discriminants."""
        logits, units = np.zeros((len(shots), len(present)), block), []
        wanted = np.zeros(len(shots), bool)
        wanted[rows] = True
        for model, spread in zip(models, spreads, strict=True):
            out = np.flatnonzero(model.out & wanted)
            unit = believed_weight(model.means, shrinkage, spread, model.shots)
            units.append(unit)
            if len(out):
                coef, intercept = discriminants(model.means, shrinkage)
                features = shots[out].astype(block, copy=False)
                columns = (unit * coef[present].T).astype(block)
                logits[out] = features @ columns + (unit * intercept[present]).astype(block)
        logits = logits[rows]
        if texts is None:
            return [logits], units
        return [shots[rows].astype(block, copy=False) @ texts, logits], units

    deviations = [DEVIATION_OF_WEIGHT]
    if text is not None:
        deviations.insert(0, DEVIATION_OF_TEMPERATURE)
    precision = np.diag(np.power(deviations, -2.0))
    start = np.ones(len(deviations))
    best_cost, shrinkage, found = np.inf, SHRINKAGES[0], start
    # Without held-out shots, the default shrinkage is used.
    for candidate in SHRINKAGES if models else SHRINKAGES[:1]:
        parts, _ = held_out(candidate, rows)
        start, cost = most_probable_weights(parts, targets[rows], told, precision, start)
        if cost < best_cost - INDIFFERENCE * abs(cost):
            best_cost, shrinkage, found = cost, candidate, start
    parts, units = held_out(shrinkage, np.arange(len(shots)))
    together = 1.0
    if not models:
        spread = text_spread(means, text, logit_scale)
        units = [believed_weight(means, shrinkage, spread, statistics.shots)]
        together = 1.0 if text is None else SHARED
    logits = float(found[-1]) * parts[-1]
    if text is not None:
        logits += float(found[0]) * parts[0]
    speaking = [unit for unit in units if unit > 0]
    return Choice(
        shrinkage,
        together * float(found[0]) if text is not None else 1.0,
        together * float(found[-1] * np.mean(speaking)) if speaking else 0.0,
        logits,
    )


def discriminants(means: Means, shrinkage: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coefficients and intercepts of ``(x - centre) P (mu_c - centre) - |mu_c - centre|_P^2 / 2``."""
    whitening = means.whitening(shrinkage)
    white = (means.posterior - means.centre) @ whitening
    coef = white @ whitening.T
    return coef, -coef @ means.centre - (white**2).sum(axis=1) / 2


def text_spread(means: Means, text: NDArray[Any] | None, logit_scale: float) -> float:
    """Compute the deviation of the text logits over the wrong classes, for a sample of the model."""
    if text is None:
        return logit_scale * SPREAD_OF_TEXT
    noise = text @ (means.vectors * np.sqrt(means.values))
    n_classes = len(text)
    if n_classes == 1:
        return 0.0
    if n_classes == 2:
        return logit_scale * float(np.linalg.norm(noise[0] - noise[1]) / np.sqrt(2))
    wrong = ~np.eye(n_classes, dtype=bool)
    competing = (means.posterior @ text.T)[wrong].reshape(n_classes, -1)
    variance = competing.var(axis=1).mean() + noise.var(axis=0).sum()
    return logit_scale * float(np.sqrt(variance))


def believed_weight(means: Means, shrinkage: float, spread: float, shots: float) -> float:
    """Prior weight of the discriminants, given the spread of the text logits and the shots per class."""
    precisions = 1 / means.shrunken(shrinkage)
    own = _spread(means, precisions)
    length = np.linalg.norm((means.centre @ means.vectors) * np.sqrt(precisions))
    # Means that differ only by rounding, such as those of a single class without text, get weight 0.
    if own <= ROUNDING * max(1.0, float(length)):
        return 0.0
    return float(SPREAD_OF_ONE_SHOT * np.sqrt(shots) * spread / own)


def _spread(means: Means, precisions: NDArray[Any]) -> float:
    """Compute the deviation of the discriminants over the wrong classes, for a sample of the model.

    It is computed from second moments, without the logits of all class means.
    """
    axes, n_classes = means.coordinates, len(means.counts)
    if n_classes == 1:
        return 0.0
    if n_classes == 2:
        return float(np.sqrt(precisions**2 * means.values @ (axes[0] - axes[1]) ** 2 / 2))
    norms = axes**2 @ precisions / 2
    # Sums over classes j of the logits of class j for the mean of class c, without c itself, whose
    # logit is |mu_c|^2 / 2.
    totals = axes @ (precisions * axes.sum(axis=0)) - norms.sum() - norms
    squares = (
        precisions @ means.gram**2 @ precisions
        - 2 * (norms @ axes) @ (precisions * axes.sum(axis=0))
        + (n_classes - 1) * (norms @ norms)
    )
    between = squares / (n_classes * (n_classes - 1)) - ((totals / (n_classes - 1)) ** 2).mean()
    within = axes.var(axis=0) @ (means.values * precisions**2)
    return float(np.sqrt(max(between, 0) + within))
