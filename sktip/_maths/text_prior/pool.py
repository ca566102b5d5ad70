"""How unlabelled images enter a finished linear classifier: a few rounds of expectation-maximisation.

What they say is added to the logits without them, as far as they can be trusted: a pool in which
classes are missing, or that shows something else, leaves the logits as they were.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.means import KAPPA
from sktip._maths.text_prior.model import TextPriorModel

#: Shrinkage of the covariance towards its mean variance.
GAMMA = 0.6
#: Ridge of the map from text to means, in mean squared lengths of the text features.
RIDGE = 1.0
#: Spread of the discriminants per square root of a shot, in that of the logits without the pool.
SPREAD = 0.3
#: An unlabelled image is worth so many shots.
WORTH = 0.3
#: Unevenness that soft counts of evenly present classes may show, and the shots per class that halve it.
UNEVEN, FADE = 0.15, 4.0
#: Part of the sampling variance of soft counts that is forgiven.
NOISE = 0.5
#: A pool that is trusted less is not used at all.
LEAST_TRUST = 0.02
#: The most that a pool adds to a class, in median classes.
CAP = 2.0
#: Rounds, and steps towards even classes in each.
ROUNDS, STEPS, STEP = 2, 3, 0.9
#: Part of the offsets that stays in the intercept.
SHIFT = 0.5
#: Images with a cosine above this share one weight; so many are compared at once.
DUPLICATE, BLOCK = 0.98, 1024
#: Images that set the confidence, and the exponent of its correction where there are no shots.
SAMPLE, SHORT = 4096, 0.25
#: Probabilities, and rows, in memory at once.
CELLS, ROWS = 2**22, 8192


@dataclass(frozen=True)
class PoolAnswer:
    """The classifier with a pool of unlabelled images.

    Parameters
    ----------
    coef, intercept : ndarray of shape (C, d) and (C,)
        Of the logits.

    trust : float
        How far the pool is trusted, 0 to 1; at 0 the logits are those without it.

    scale : float
        Factor of the logits, at most 1, the same for all classes.

    n_iter : int
        Rounds done.
    """

    coef: NDArray
    intercept: NDArray
    trust: float
    scale: float
    n_iter: int


def add_pool(model: TextPriorModel, pool: NDArray, text: NDArray | None) -> PoolAnswer:
    """Add unlabelled images to a fitted model.

    Parameters
    ----------
    model : TextPriorModel
        The model without them; its logits are calibrated.

    pool : ndarray of shape (n, d), float32
        Unit features of the images.

    text : ndarray of shape (C, d) or None
        Unit text features.
    """
    statistics, coef, intercept = model.statistics, model.coef, model.intercept
    counts, n_classes = statistics.counts, len(intercept)
    top = np.concatenate([p.argmax(axis=1) for _, p in _probabilities(pool, coef, intercept)])
    weights = _duplicate_weights(pool, top)
    usual = UNEVEN / (1 + counts.mean() / FADE)
    trust = _trust(pool, weights, coef, intercept, usual)
    if trust < LEAST_TRUST:
        return PoolAnswer(coef, intercept, 0.0, 1.0, 0)
    total = float(weights.sum())
    weighted = pool * weights[:, None]
    moments = weighted.sum(axis=0) / total, pool.T @ weighted / total
    size = _spread(coef, intercept, *moments)
    # Offsets of classes with few images are noise.
    certainty = trust * total / (total + n_classes)
    predicted = _text_map(text)
    A, b = coef, intercept
    for _ in range(ROUNDS):
        offset = certainty * _even_offsets(pool, weights, A, b)
        n, sums, moment = _soft_statistics(pool, weights * np.float32(trust), A, b + offset)
        worth = WORTH * np.median(n)
        g, h = _discriminants(
            counts + n, statistics.sums + sums, statistics.moment + moment, predicted
        )
        unit = _spread(g, h, *moments)
        alpha = SPREAD * worth / np.sqrt(worth + counts.mean() + 1e-12) * size
        alpha = alpha / unit if unit > 1e-9 * max(1.0, np.abs(h).max()) else 0.0
        A, b = coef + alpha * g, intercept + alpha * h + SHIFT * offset
    scale = _confidence(pool, weights, (A, b), (coef, intercept))
    scale **= 1 if counts.any() else SHORT
    return PoolAnswer(scale * A, scale * b, trust, float(scale), ROUNDS)


def _probabilities(
    pool: NDArray, coef: NDArray, intercept: NDArray
) -> Iterator[tuple[slice, NDArray]]:
    """Probabilities of a block of rows after another, in single precision."""
    columns, shift = np.ascontiguousarray(coef.T, np.float32), intercept.astype(np.float32)
    step = max(1, CELLS // len(shift))
    for start in range(0, len(pool), step):
        rows = slice(start, start + step)
        p = pool[rows] @ columns
        p += shift
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        yield rows, p


def _duplicate_weights(pool: NDArray, top: NDArray) -> NDArray:
    """Let near duplicates share the weight of one image.

    Only images of one predicted class are compared, in blocks of neighbours along the direction of
    their mean, so that the work grows linearly with the pool.
    """
    weights = np.ones(len(pool), np.float32)
    order = np.argsort(top, kind="stable")
    for own in np.split(order, np.flatnonzero(np.diff(top[order])) + 1):
        along = own[np.argsort(pool[own] @ pool[own].mean(axis=0), kind="stable")]
        for start in range(0, len(along), BLOCK):
            part = along[start : start + BLOCK]
            alike = (pool[part] @ pool[part].T > DUPLICATE).sum(axis=1)
            weights[part] = 1 / np.maximum(alike, 1)
    return weights


def _trust(
    pool: NDArray, weights: NDArray, coef: NDArray, intercept: NDArray, usual: float
) -> float:
    """Squared ratio of the unevenness that a good pool may show to that of this one, at most 1."""
    n_classes = len(intercept)
    shares, squares = np.zeros(n_classes), 0.0
    for rows, p in _probabilities(pool, coef, intercept):
        shares += weights[rows] @ p
        squares += float((weights[rows] ** 2) @ np.einsum("ij,ij->i", p, p))
    total = float(weights.sum())
    shares /= total
    uneven = 2 * (np.log(n_classes) + shares @ np.log(shares + 1e-12))
    noise = n_classes * (squares - (weights @ weights) * (shares @ shares)) / total**2
    return float(min(1.0, usual / max(uneven - NOISE * noise, 1e-9)) ** 2)


def _even_offsets(pool: NDArray, weights: NDArray, coef: NDArray, intercept: NDArray) -> NDArray:
    """Offsets of the logits after which soft counts are nearly even."""
    offset, total = np.zeros(len(intercept)), weights.sum()
    for _ in range(STEPS):
        shares = np.zeros(len(intercept))
        for rows, p in _probabilities(pool, coef, intercept + offset):
            shares += weights[rows] @ p / total
        offset -= STEP * np.log(shares * len(intercept) + 1e-3)
    return offset


def _soft_statistics(
    pool: NDArray, weights: NDArray, coef: NDArray, intercept: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """Sum up soft labels: images count by their largest probability, classes up to a cap."""
    counts, sums = np.zeros(len(intercept)), np.zeros(coef.shape)
    for rows, p in _probabilities(pool, coef, intercept):
        soft = p * (weights[rows] * p.max(axis=1))[:, None]
        counts += soft.sum(axis=0)
        sums += soft.T @ pool[rows]
    factor = np.minimum(1, CAP * np.median(counts) / np.maximum(counts, 1e-12))
    weight = np.empty(len(pool), np.float32)
    for rows, p in _probabilities(pool, coef, intercept):
        weight[rows] = (p @ factor.astype(np.float32)) * weights[rows] * p.max(axis=1)
    moment = np.zeros((pool.shape[1], pool.shape[1]))
    for start in range(0, len(pool), ROWS):
        part = pool[start : start + ROWS]
        moment += part.T @ (part * weight[start : start + ROWS, None])
    return counts * factor, sums * factor[:, None], moment


def _discriminants(
    counts: NDArray, sums: NDArray, moment: NDArray, predicted: Callable
) -> tuple[NDArray, NDArray]:
    """Coefficients and intercepts of the discriminants of shots and pool together."""
    width = sums.shape[1]
    prior = predicted(sums / np.maximum(counts, 1e-12)[:, None], counts)
    means = (KAPPA * prior + sums) / (KAPPA + counts)[:, None]
    both = sums.T @ means
    within = moment - both - both.T + (means * counts[:, None]).T @ means
    values, vectors = np.linalg.eigh((within + np.eye(width) / width) / (counts.sum() + 1))
    values = np.maximum(values, 1e-12)
    values = (1 - GAMMA) * values + GAMMA * values.mean()
    coef = (means @ vectors / values) @ vectors.T
    return coef, -(coef * means).sum(axis=1) / 2


def _text_map(text: NDArray | None) -> Callable[[NDArray, NDArray], NDArray]:
    """Make the function from means and counts of classes to the means that the text predicts."""

    def predicted(means: NDArray, counts: NDArray) -> NDArray:
        known = counts / (counts + KAPPA)
        share = known / known.sum()
        if text is None:
            return np.broadcast_to(share @ means, means.shape)
        features = text - share @ text.astype(np.float64)
        images = means - share @ means
        scale = (share[:, None] * features * images).sum() / (share @ (features**2).sum(axis=1))
        gram = features @ features.T
        ridge = RIDGE * np.trace(gram) / len(text) * known.max() / np.maximum(known, 1e-3)
        rest = np.linalg.solve(gram + np.diag(ridge), images - scale * features)
        return share @ means + scale * features + gram @ rest

    return predicted


def _spread(coef: NDArray, intercept: NDArray, mean: NDArray, moment: NDArray) -> float:
    """Deviation of logits over classes, root mean square over a pool with these two moments."""
    A, b = coef - coef.mean(axis=0), intercept - intercept.mean()
    square = ((A @ moment) * A).sum() + 2 * b @ (A @ mean) + b @ b
    return float(np.sqrt(max(square, 0) / len(b)))


def _confidence(pool: NDArray, weights: NDArray, after: tuple, before: tuple) -> float:
    """Factor of the logits, at most 1, that brings the mean confidence down to that without the pool.

    Each image of the pool sits in the means that judge it, and looks more certain than others would.
    """
    rows = np.unique(np.linspace(0, len(pool) - 1, min(len(pool), SAMPLE)).astype(int))
    share = weights[rows] / weights[rows].sum()

    def below_largest(coef: NDArray, intercept: NDArray) -> NDArray:
        logits = pool[rows] @ coef.T.astype(np.float32) + intercept.astype(np.float32)
        return logits - logits.max(axis=1, keepdims=True)

    logits = below_largest(*after)
    target = share @ (1 / np.exp(below_largest(*before)).sum(axis=1))
    low, high = 0.1, 1.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        if share @ (1 / np.exp(middle * logits).sum(axis=1)) > target:
            high = middle
        else:
            low = middle
    return high
