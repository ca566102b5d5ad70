"""Unlabelled images in a fitted few-shot classifier.

The mean answer of a classifier for a pool of images is uneven for two reasons: the classes are not equally
frequent there, and the classifier favours some classes. A prior for each tells them apart:

    shares ~ Dirichlet(1 / v, ..., 1 / v)     v: relative variance of the shares, estimated on the pool
    bias of a class ~ normal, in the logarithm

What the shares do not explain is corrected by offsets, the less the fewer images there are and the more the
shares vary. With the responsibilities that follow, the images are added to the statistics of the shots
(expectation-maximisation), and the discriminants of these means are added to the logits, until no image changes
its class. An image counts with the probability that its class is the same with and without the pool: where
clusters contradict the names and shots, and among images of no class, little is learnt. A class without images
in the pool keeps its offset and its mean. Images of no class are also found beforehand, by the cosines with the
texts and the shots.

Whoever knows more may be surer, but must find the calibrated answers of who knew less calibrated (the law of
iterated expectations). That gives the temperature of the new answers: if they were the truth, the probabilities
without the pool would be calibrated. An answer that only repeats the earlier one louder gets its old confidence.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from sktip._maths.discriminants import KAPPA, SHRINKAGE, Discriminants
from sktip._maths.log_loss import LEAST_LOGIT
from sktip._maths.statistics import Statistics
from sktip._maths.unit import columns_of

#: Spread of the discriminants relative to that of the logits, if a class has as many images as shots. The text
#: counts as shots, too.
SPREAD_OF_POOL = 0.6
#: Spread of the new logits relative to that of the earlier ones, at most.
LOUDER = 1.5
#: Rounds at most, and the share of images with another class that is worth one more.
ROUNDS, MOVED = 10, 0.002
#: Variance of the bias of a classifier, in the logarithm, that is corrected. It is 1 before the pool is seen.
CORRECTABLE = 0.1
#: Labelled images of each class, at most, that tell how often it is taken for others.
KNOWN = 5.0
#: Images with a cosine above this share the weight of one.
COPY = 0.98
#: Probabilities in memory at once. Of a larger pool, evenly spaced images are used.
CELLS = 2**24
#: Images that are enough to choose the temperature.
ENOUGH_IMAGES = 4096


class PoolAnswer(NamedTuple):
    """The classifier with a pool of unlabelled images.

    `coef` (C, d) and `intercept` (C,) are for queries of equally frequent classes; for queries like the pool,
    `prior_offsets` (C,) are added. `shares` (C,) of the classes among the known images have standard
    errors `errors`; `unknown` is the share of images of no class. `means` (C, d) are the class means of shots
    and pool, or None. `right` are the expected accuracies for queries like the pool, without and with the offsets.
    """

    coef: NDArray[Any]
    intercept: NDArray[Any]
    prior_offsets: NDArray[Any]
    shares: NDArray[Any]
    errors: NDArray[Any]
    unknown: float
    means: NDArray[Any] | None
    right: tuple[float, float] = (0.0, 0.0)


def add_pool(
    coef: NDArray[Any],
    intercept: NDArray[Any],
    statistics: Sequence[Statistics],
    pool: NDArray[Any],
    text: NDArray[Any] | None,
    *,
    weights_of_blocks: Sequence[float],
) -> PoolAnswer:
    """Add unlabelled images to a fitted classifier.

    `coef` (C, d) and `intercept` (C,) are the classifier without them; its probabilities are calibrated.
    `statistics` are those of the shots, and `weights_of_blocks` the relative weights of the discriminants, for
    each block of columns. The pool, (n, d), float32, has unit rows in each block; n may be 0. The order of its
    rows and exact repetitions change nothing. The text, (C, d) or None, has unit rows, and zeros in the columns
    of blocks without text.
    """
    n_classes = len(intercept)
    even = np.full(n_classes, 1 / n_classes)
    nothing = coef, intercept, np.zeros(n_classes), even, np.sqrt(even * (1 - even))
    if not len(pool):
        return PoolAnswer(*nothing, 0.0, None)
    images, copies = _distinct(pool)
    if len(images) * n_classes > CELLS:
        rows = np.linspace(0, len(images) - 1, max(1, CELLS // n_classes)).astype(int)
        images, copies = images[rows], copies[rows]
    p = probabilities(images, coef, intercept)
    weights = _shared_weights(images, coef, p, len(statistics))
    known = _known(images, statistics, text, weights)
    weights = (weights * known).astype(np.float32)
    n = float(weights.sum(dtype=np.float64))
    if n < 1e-6:
        return PoolAnswer(*nothing, 1.0, None)
    moment, mean = (images * weights[:, None]).T @ images, weights @ images / n
    spread = _spread(coef, intercept, mean, moment / n)
    shares, variance = _class_shares(p, weights)
    shots = float(statistics[0].counts.mean())
    after, offsets, means = (coef, intercept), _offsets(p, weights, shares, variance), None
    first, q = _responsibilities(p, shares), _responsibilities(p, shares * np.exp(offsets))
    # A single image has no spread to learn from.
    for _ in range(ROUNDS if n > 1.5 else 0):
        agreeing = weights * np.einsum("ij,ij->i", first, q)
        soft, weighted = agreeing @ q, images * agreeing[:, None]
        seen = Statistics(soft, q.T @ weighted, weighted.T @ images)
        own_coef, own_intercept, means = _discriminants(statistics, seen, text, weights_of_blocks)
        # A pool that lacks most classes has a median of 0, and changes nothing.
        alpha = SPREAD_OF_POOL * float(np.median(soft)) / (KAPPA + shots) * spread
        own = _spread(own_coef, own_intercept, mean, moment / n)
        alpha = alpha / own if own > 1e-9 * max(1.0, float(np.abs(own_intercept).max())) else 0.0
        after = coef + alpha * own_coef, intercept + alpha * own_intercept
        p, before = probabilities(images, *after), q.argmax(axis=1)
        offsets = _offsets(p, weights, shares, variance)
        q = _responsibilities(p, shares * np.exp(offsets))
        if weights @ (q.argmax(axis=1) != before) <= MOVED * n:
            break
    after = after[0], after[1] + offsets
    # The temperature cannot be found where the earlier answers are far too sure.
    most = min(1.0, LOUDER * spread / max(_spread(*after, mean, moment / n), 1e-12))
    after = _calibrated(
        images, (coef, intercept), (most * after[0], most * after[1]), weights, np.log(shares)
    )
    p = probabilities(images, *after)
    q = _responsibilities(p, shares)
    # What is in the pool counts each image once, and repeated ones as often.
    counts = copies * known
    found = np.asarray(counts @ q, np.float64) / counts.sum()
    answers = q[np.arange(len(q)), p.argmax(axis=1)], q.max(axis=1)
    right = np.asarray(answers, np.float64) @ counts / counts.sum()
    # Queries like the pool repeat what is repeated there.
    alone = np.asarray(weights @ q, np.float64) / n
    prior = shares * (found + 1e-6) / (alone + 1e-6)
    # Which class each image has, and how well the classes are told apart.
    errors = np.asarray(weights**2 @ (q * (1 - q)), np.float64) / n**2
    errors += _variance_of_shares(found, first, weights, shots)
    return PoolAnswer(
        *after,
        np.log(prior / prior.sum() * n_classes),
        found,
        np.sqrt(errors),
        float(1 - counts.sum() / copies.sum()),
        means,
        (float(right[0]), float(right[1])),
    )


def _known(
    images: NDArray[Any],
    statistics: Sequence[Statistics],
    text: NDArray[Any] | None,
    weights: NDArray[Any],
) -> NDArray[Any]:
    """Probability that each image shows one of the classes, by its largest cosine with texts or class means.

    Images that are not at all like the shots show none.
    """
    if text is None:
        sums = np.hstack([block.sums for block in statistics])
        text = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    cosines = (images @ text.T.astype(np.float32)).max(axis=1)
    alike = _like_the_shots(images, statistics[0])
    return alike * _upper_of_two(cosines.astype(np.float64), weights * alike)


def _like_the_shots(images: NDArray[Any], shots: Statistics) -> NDArray[Any]:
    """From 0 to 1, how far the first block of each image belongs to the same kind of images as the shots.

    Its mean product with the shots is compared to that of different shots, which is 0 for directions at random.
    """
    n, total = float(shots.counts.sum()), shots.sums.sum(axis=0)
    if n < 2:
        return np.ones(len(images))
    usual = (total @ total - n) / (n * (n - 1))
    variance = max(total @ shots.moment @ total / n - (total @ total / n) ** 2, 0) / (n - 1) ** 2
    # Few shots do not show how different images are.
    deviation = max(np.sqrt(variance), usual / 5, 1e-12)
    products = images[:, : len(total)] @ (total / n).astype(np.float32)
    return np.clip(3 + (products.astype(np.float64) - usual) / deviation, 0, 1)


def _discriminants(
    shots: Sequence[Statistics],
    pool: Statistics,
    text: NDArray[Any] | None,
    weights: Sequence[float],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Coefficients, intercepts and class means of shots and pool, whose blocks have these weights."""
    models = []
    for block, own in zip(shots, columns_of([b.sums.shape[1] for b in shots]), strict=True):
        both = Statistics(
            block.counts + pool.counts,
            block.sums + pool.sums[:, own],
            block.moment + pool.moment[own, own],
        )
        own_text = None if text is None or not text[:, own].any() else text[:, own]
        models.append(Discriminants(both, own_text, SHRINKAGE, own.stop - own.start))
    pairs = list(zip(weights, models, strict=True))
    return (
        np.hstack([weight * model.coef for weight, model in pairs]),
        np.sum([weight * model.intercept for weight, model in pairs], axis=0),
        np.hstack([model.means for model in models]),
    )


def probabilities(
    images: NDArray[Any], coef: NDArray[Any], intercept: NDArray[Any]
) -> NDArray[Any]:
    """Probabilities (n, C) in single precision."""
    p: NDArray[Any] = images @ np.ascontiguousarray(coef.T, np.float32)
    p += intercept.astype(np.float32)
    p -= p.max(axis=1, keepdims=True)
    np.exp(np.maximum(p, LEAST_LOGIT, out=p), out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p


def _responsibilities(p: NDArray[Any], factors: NDArray[Any]) -> NDArray[Any]:
    q: NDArray[Any] = p * factors.astype(np.float32)
    q /= q.sum(axis=1, keepdims=True)
    return q


def _distinct(pool: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Different rows in an order of their own, and how often each is there."""
    pool = np.ascontiguousarray(pool, np.float32)
    keys = pool.view(np.dtype((np.void, 4 * pool.shape[1]))).ravel()
    _, rows, counts = np.unique(keys, return_index=True, return_counts=True)
    return pool[rows], counts


def _shared_weights(
    images: NDArray[Any], coef: NDArray[Any], p: NDArray[Any], n_blocks: int
) -> NDArray[Any]:
    """Let near copies share the weight of one image.

    Only neighbours along the coefficients of the predicted class are compared, so that the work grows
    linearly with the pool.
    """
    weights, predicted = np.ones(len(images), np.float32), p.argmax(axis=1)
    along = np.einsum("ij,ij->i", images, coef.astype(np.float32)[predicted])
    order = np.lexsort((along, predicted))
    for own in np.split(order, np.flatnonzero(np.diff(predicted[order])) + 1):
        for start in range(0, len(own), 256):
            part, window = own[start : start + 256], own[max(0, start - 256) : start + 512]
            alike = (images[part] @ images[window].T > COPY * n_blocks).sum(axis=1)
            weights[part] = 1 / np.maximum(alike, 1)
    return weights


def _upper_of_two(scores: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """Probability that a score is of the upper of two normal distributions.

    It is 1 unless two explain the scores better than one (Bayesian information criterion) and lie apart.
    """
    ones, n = np.ones(len(scores)), weights.sum()
    if n < 2:
        return ones
    mean = weights @ scores / n
    variance = weights @ (scores - mean) ** 2 / n
    if variance < 1e-12:
        return ones
    order = np.argsort(scores, kind="stable")
    ranks = np.cumsum(weights[order]) / n
    means = scores[order][np.searchsorted(ranks, [0.2, 0.8]).clip(0, len(scores) - 1)]
    variances, parts = np.full(2, variance / 2), np.full(2, 0.5)
    for _ in range(100):
        logs = np.log(parts) - 0.5 * np.log(variances)
        logs = logs - (scores[:, None] - means) ** 2 / (2 * variances)
        total = np.logaddexp(logs[:, 0], logs[:, 1])
        own = np.exp(logs - total[:, None])
        mass = weights @ own + 1e-9
        parts, means = mass / mass.sum(), (weights * scores) @ own / mass
        squares = weights @ (own * (scores[:, None] - means) ** 2)
        # A common variance counts as much as 20 images.
        variances = (squares + 20 * squares.sum() / n) / (mass + 20) + 1e-9
    better = weights @ total + n * (0.5 * np.log(variance) + 0.5) > 1.5 * np.log(n)
    if not better or means[1] - means[0] < 2 * np.sqrt(variances.mean()):
        return ones
    # Beyond the two means, the wider distribution would win.
    return np.where(scores > means[1], 1.0, np.where(scores < means[0], 0.0, own[:, 1]))


def _class_shares(p: NDArray[Any], weights: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Shares (C,) and their relative variance.

    The mean product of the posteriors of two images shows the variance of the shares, times the squared purity
    of the posteriors, plus the bias that blurred posteriors let through.
    """
    n_classes, w = p.shape[1], weights.astype(np.float64)
    n, squares = w.sum(), np.einsum("ij,ij->i", p, p, dtype=np.float64)
    mean, purity = w @ p / n, w @ squares / n
    bias, pairs = (1 - purity) ** 2, n**2 - w @ w
    # Only pairs of different images, so that noise adds nothing; a single image shows nothing.
    uneven = 0.0
    if pairs > 1e-6 * n**2:
        uneven = n_classes * (n**2 * (mean @ mean) - w**2 @ squares) / pairs - 1
    variance = max((uneven - bias) / purity**2, 0.01)
    worth = 1 / (1 + n * bias / (n_classes * purity))
    counts = worth * n * mean
    for _ in range(5):
        shares = (counts + 1 / variance) / (counts.sum() + n_classes / variance)
        counts = worth * _counts(p, weights, shares)
    shares = (counts + 1 / variance) / (counts.sum() + n_classes / variance)
    return shares, float(variance)


def _variance_of_shares(
    found: NDArray[Any], q: NDArray[Any], weights: NDArray[Any], shots: float
) -> NDArray[Any]:
    """Squared errors (C,) of the shares `found`, which wrong answers cause.

    The posteriors q, (n, C), without what the pool has taught, tell how often a class is taken for others. That is
    known as well as counts of at most `KNOWN` images of each class could tell. Of shares, nothing more is known
    before than that all are equally probable.
    """
    n, n_classes = float(weights.sum(dtype=np.float64)), len(found)
    share, mixed = (np.asarray(weights @ part, np.float64) / n for part in (q, q * (1 - q)))
    middle = (3 * found + 1 / n_classes) / 4
    usual = middle * (1 - middle) / (n_classes + 1)
    # The share of false answers of either kind changes what is counted, and how far it follows the truth.
    follows = 1 - mixed / np.maximum(share * (1 - share), 1e-12)
    wrong = mixed * (1 - 2 * mixed) / min(shots + 1, KNOWN)
    wrong = wrong / np.maximum(follows, 1e-3) ** 2 + 1e-12
    return 1 / (1 / usual + 1 / wrong)


def _counts(p: NDArray[Any], weights: NDArray[Any], factors: NDArray[Any]) -> NDArray[Any]:
    """Weighted images of each class, (C,), by posteriors that are p, (n, C), times these factors, (C,)."""
    single = factors.astype(np.float32)
    # All numbers are finite, but OpenBLAS may warn of those that it does not use.
    with np.errstate(invalid="ignore"):
        images = p.T @ (weights / np.maximum(p @ single, np.float32(1e-30)))
    return factors * images


def _offsets(
    p: NDArray[Any], weights: NDArray[Any], shares: NDArray[Any], variance: float
) -> NDArray[Any]:
    """Offsets (C,) after which the mean posterior is closer to the shares."""
    n, factors = float(weights.sum(dtype=np.float64)), shares.copy()
    counts = _counts(p, weights, shares)
    for _ in range(8):
        means = _counts(p, weights, factors) / n
        factors *= (shares + 1e-6) / (means + 1e-6)
        factors /= factors.sum()
    found = np.log(factors / shares)
    found -= shares @ found
    noise = variance + 1 / np.maximum(counts, 1e-9)
    return found * CORRECTABLE / (CORRECTABLE + noise)


def _calibrated(
    images: NDArray[Any],
    before: tuple[NDArray[Any], NDArray[Any]],
    after: tuple[NDArray[Any], NDArray[Any]],
    weights: NDArray[Any],
    log_shares: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale the coefficients and intercepts `after` down until those `before` are calibrated.

    Calibrated is: of all factors of `before`, 1 has the smallest log-loss, if labels are drawn from `after`. The
    images have these weights, (n,), and classes these shares, (C,).
    """
    rows = np.linspace(0, len(images) - 1, min(len(images), ENOUGH_IMAGES)).astype(int)
    old, new = (images[rows] @ coef.T + intercept for coef, intercept in (before, after))
    centred = weights[rows, None] * (old - old.mean(axis=1, keepdims=True))
    expected = (centred * softmax(old + log_shares, axis=1)).sum()

    def excess(factor: float) -> float:
        return float((centred * softmax(factor * new + log_shares, axis=1)).sum() - expected)

    if excess(1.0) <= 0 or excess(0.0) >= 0:
        return after
    factor = brentq(excess, 0.0, 1.0, xtol=1e-4)
    return factor * after[0], factor * after[1]


def _spread(
    coef: NDArray[Any], intercept: NDArray[Any], mean: NDArray[Any], moment: NDArray[Any]
) -> float:
    """Deviation of logits over classes, root mean square over images of these moments."""
    coef, intercept = coef - coef.mean(axis=0), intercept - intercept.mean()
    square = (coef @ moment * coef).sum() + 2 * intercept @ (coef @ mean) + intercept @ intercept
    return float(np.sqrt(max(square, 0) / len(intercept)))
