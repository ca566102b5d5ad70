"""Unlabelled images in a fitted classifier: rounds of expectation-maximisation.

Discriminants learnt from the pool are added to the logits, in proportion to a trust in the pool. A
pool in which classes are missing, or that shows something else, changes nothing.

The constants were chosen on OpenAI ViT-B/32 features of Stanford Cars and ImageNet, with 0 to 16
shots per class: on images outside of the pool as well as on those in it, and on pools of few
classes, of foreign images and of repeated ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.means import Means, class_means
from sktip._maths.text_prior.model import TextPriorModel
from sktip._maths.text_prior.softmax import LEAST_LOGIT
from sktip._maths.text_prior.statistics import ROWS, Statistics, second_moment
from sktip._maths.text_prior.weights import discriminants

#: Weight of an unlabelled image in shots, for the weight of the discriminants.
WORTH = 0.3
#: Ratio of the discriminants' spread to that of the logits without the pool, per square root of a shot.
SPREAD = 0.3
#: Shrinkage of the covariance.
SHRINKAGE = 0.6
#: Largest unevenness of the soft counts of a pool that is fully trusted; this many shots per class halve it.
UNEVEN, UNEVEN_SHOTS = 0.15, 4.0
#: Fraction of the sampling variance of soft counts that is subtracted from their unevenness.
NOISE = 0.5
#: Images must vary more along the differences of the classes than noise does, by so many deviations.
CHANCE = 3.0
#: Variances of unit features up to this are rounding.
ROUNDING = 1e-9
#: A pool with a smaller trust is not used.
LEAST_TRUST = 0.02
#: Largest soft count of a class, relative to the median.
CAP = 2.0
#: Rounds, and steps towards even classes in each.
ROUNDS, STEPS, STEP = 2, 3, 0.9
#: Fraction of the offsets that stays in the intercept.
SHIFT = 0.5
#: Images with a cosine above this share the weight of one; the second number are compared at once.
DUPLICATE, BLOCK = 0.98, 1024
#: Number of images that set the confidence, and exponents of its correction without shots and with
#: them. The correction is partial, since the answers have become better.
SAMPLE, WITHOUT_SHOTS, WITH_SHOTS = 4096, 0.25, 0.5
#: Probabilities in memory at once.
CELLS = 2**22


@dataclass(frozen=True)
class PoolAnswer:
    """The classifier with a pool of unlabelled images.

    Parameters
    ----------
    coef, intercept : ndarray of shape (C, d) and (C,)
        Of the logits.

    trust : float
        Weight of the pool, 0 to 1; at 0 the logits are those without it.

    scale : float
        Factor of the logits, at most 1, the same for all classes.

    n_iter : int
        Rounds done.

    means : Means or None
        Class means of shots and pool together; None if the pool is not trusted.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    trust: float
    scale: float
    n_iter: int
    means: Means | None


@dataclass(frozen=True)
class _Pool:
    """Unit features (n, d) in single precision, and the weight of each image, (n,)."""

    features: NDArray[Any]
    weights: NDArray[Any]

    @property
    def total(self) -> float:
        return float(self.weights.sum(dtype=np.float64))

    def shares(self, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
        """Mean probability of each class."""
        sums = np.zeros(len(intercept))
        for rows, p in probabilities(self.features, coef, intercept):
            sums += self.weights[rows] @ p
        return sums / self.total


def add_pool(model: TextPriorModel, pool: NDArray[Any], text: NDArray[Any] | None) -> PoolAnswer:
    """Add unlabelled images to a fitted model.

    Parameters
    ----------
    model : TextPriorModel
        The model without the pool; its logits are calibrated.

    pool : ndarray of shape (n, d), float32
        Unit features of the images; n may be 0.

    text : ndarray of shape (C, d) or None
        Unit text features.
    """
    shots, before = model.statistics, (model.coef, model.intercept)
    per_class = float(shots.counts.mean())
    images = _Pool(pool, _duplicate_weights(pool, *before))
    untouched = PoolAnswer(*before, trust=0.0, scale=1.0, n_iter=0, means=None)
    if not len(pool):
        return untouched
    weighted_mean = images.weights @ pool / images.total
    moments = weighted_mean, second_moment(pool, images.weights) / images.total
    classes = text if text is not None or model.means is None else model.means.posterior
    if classes is not None and not _differ_along(
        *moments, classes.astype(np.float64), images.total
    ):
        return untouched
    trust = _trust(images, *before, UNEVEN / (1 + per_class / UNEVEN_SHOTS))
    if trust < LEAST_TRUST:
        return untouched
    # With few images per class, the offsets would be noise.
    certainty = trust * images.total / (images.total + len(before[1]))
    believed = _Pool(pool, images.weights * np.float32(trust))
    after, means = before, None
    for _ in range(ROUNDS):
        offset = certainty * _even_offsets(images, *after)
        soft = _soft_statistics(believed, after[0], after[1] + offset)
        means = class_means(shots + soft, text)
        coef, intercept = discriminants(means, SHRINKAGE)
        worth = WORTH * float(np.median(soft.counts))
        spread = SPREAD * worth / np.sqrt(worth + per_class + 1e-12) * _spread(*before, *moments)
        own = _spread(coef, intercept, *moments)
        # Equal means get weight 0.
        alpha = spread / own if own > 1e-9 * max(1.0, np.abs(intercept).max()) else 0.0
        after = before[0] + alpha * coef, before[1] + alpha * intercept + SHIFT * offset
    exponent = WITH_SHOTS if shots.counts.any() else WITHOUT_SHOTS
    scale = _confidence(images, after, before) ** exponent
    return PoolAnswer(scale * after[0], scale * after[1], trust, scale, ROUNDS, means)


def probabilities(
    features: NDArray[Any], coef: NDArray[Any], intercept: NDArray[Any]
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Probabilities, block of rows by block of rows, in single precision."""
    columns, shift = np.ascontiguousarray(coef.T, np.float32), intercept.astype(np.float32)
    step = max(1, min(ROWS, CELLS // len(shift)))
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        p = features[rows] @ columns
        p += shift
        p -= p.max(axis=1, keepdims=True)
        np.maximum(p, LEAST_LOGIT, out=p)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        yield rows, p


def _duplicate_weights(
    features: NDArray[Any], coef: NDArray[Any], intercept: NDArray[Any]
) -> NDArray[Any]:
    """Let near duplicates share the weight of one image.

    Only images of one predicted class are compared, in blocks of neighbours along its coefficients,
    so that the work grows linearly with the pool.
    """
    n = len(features)
    weights, predicted = np.ones(n, np.float32), np.zeros(n, np.intp)
    along = np.zeros(n, np.float32)
    for rows, p in probabilities(features, coef, intercept):
        predicted[rows] = p.argmax(axis=1)
        along[rows] = np.einsum("ij,ij->i", features[rows], coef[predicted[rows]])
    order = np.lexsort((along, predicted))
    for own in np.split(order, np.flatnonzero(np.diff(predicted[order])) + 1):
        for start in range(0, len(own), BLOCK):
            part = own[start : start + BLOCK]
            alike = (features[part] @ features[part].T > DUPLICATE).sum(axis=1)
            weights[part] = 1 / np.maximum(alike, 1)
    return weights


def _trust(images: _Pool, coef: NDArray[Any], intercept: NDArray[Any], usual: float) -> float:
    """Squared ratio of the unevenness that a good pool may show to that of this one, at most 1."""
    n_classes, total = len(intercept), images.total
    sums, squares = np.zeros(n_classes), 0.0
    for rows, p in probabilities(images.features, coef, intercept):
        weights = images.weights[rows]
        sums += weights @ p
        squares += float(weights**2 @ np.einsum("ij,ij->i", p, p))
    shares = sums / total
    uneven = 2 * (np.log(n_classes) + shares @ np.log(shares + 1e-12))
    noise = n_classes * (squares - (images.weights**2).sum() * (shares @ shares)) / total**2
    return float(min(1.0, usual / max(uneven - NOISE * noise, 1e-9)) ** 2)


def _differ_along(
    mean: NDArray[Any], moment: NDArray[Any], classes: NDArray[Any], total: float
) -> bool:
    """Whether images vary along the directions in which the texts, or class means, (C, d) differ.

    The ratio of the variance along these directions to that along all is 1 for noise, and larger for
    images of the classes. For noise, its standard deviation is that of a mean of squared normal
    variables.
    """
    covariance = moment - np.outer(mean, mean)
    differences = classes - classes.mean(axis=0)
    of_classes = differences.T @ differences
    images_total, classes_total = np.trace(covariance), np.trace(of_classes)
    # A single class, or equal texts, give no direction.
    if classes_total < ROUNDING:
        return True
    # Equal images have no variance.
    if images_total < ROUNDING:
        return False
    ratio = len(mean) * (of_classes * covariance).sum() / (classes_total * images_total)
    deviation = np.sqrt(2 * (of_classes**2).sum() / total) / classes_total
    return bool(ratio - 1 > CHANCE * deviation)


def _even_offsets(images: _Pool, coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
    """Offsets of the logits after which soft counts are nearly even."""
    offset = np.zeros(len(intercept))
    for _ in range(STEPS):
        shares = images.shares(coef, intercept + offset)
        offset -= STEP * np.log(shares * len(intercept) + 1e-3)
    return offset


def _soft_statistics(images: _Pool, coef: NDArray[Any], intercept: NDArray[Any]) -> Statistics:
    """Sum up images by their probabilities.

    An image is weighted by its largest probability, so that images of none of the classes count
    little. The count of a class is limited, so that a class that attracts images of other classes does
    not grow further.
    """
    counts, sums = np.zeros(len(intercept)), np.zeros(coef.shape)
    for rows, p in probabilities(images.features, coef, intercept):
        weights = images.weights[rows] * p.max(axis=1)
        counts += weights @ p
        sums += p.T @ (images.features[rows] * weights[:, None])
    capped = np.minimum(1, CAP * np.median(counts) / np.maximum(counts, 1e-12))
    weights = np.empty(len(images.features), np.float32)
    for rows, p in probabilities(images.features, coef, intercept):
        weights[rows] = images.weights[rows] * p.max(axis=1) * (p @ capped.astype(np.float32))
    moment = second_moment(images.features, weights)
    return Statistics(counts * capped, sums * capped[:, None], moment)


def _spread(
    coef: NDArray[Any], intercept: NDArray[Any], mean: NDArray[Any], moment: NDArray[Any]
) -> float:
    """Compute the deviation of logits over classes, root mean square over a pool of these moments."""
    coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    square = (coef @ moment * coef).sum() + 2 * intercept @ (coef @ mean) + intercept @ intercept
    return float(np.sqrt(max(square, 0) / len(intercept)))


def _confidence(
    images: _Pool,
    after: tuple[NDArray[Any], NDArray[Any]],
    before: tuple[NDArray[Any], NDArray[Any]],
) -> float:
    """Find the factor, at most 1, that lowers the mean confidence to that without the pool.

    The images of the pool are part of the means that classify them, so their probabilities are too
    confident.
    """
    n, size = len(images.features), max(1, min(SAMPLE, CELLS // len(before[1])))
    rows = np.unique(np.linspace(0, n - 1, min(n, size)).astype(int))
    share = images.weights[rows] / images.weights[rows].sum()

    def below_largest(coef: NDArray[Any], intercept: NDArray[Any]) -> NDArray[Any]:
        logits = images.features[rows] @ coef.T.astype(np.float32) + intercept.astype(np.float32)
        result: NDArray[Any] = logits - logits.max(axis=1, keepdims=True)
        return result

    target = share @ (1 / np.exp(below_largest(*before)).sum(axis=1))
    logits, low, high = below_largest(*after), 0.1, 1.0
    for _ in range(12):
        middle = float(np.sqrt(low * high))
        too_sure = share @ (1 / np.exp(middle * logits).sum(axis=1)) > target
        low, high = (low, middle) if too_sure else (middle, high)
    return high
