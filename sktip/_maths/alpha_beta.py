"""Choose alpha and beta of Tip-Adapter on held-out shots.

For a fixed beta, the logits of a held-out shot are linear in alpha: the text logits, plus alpha times the
votes of the cached shots. So no grid of alphas is needed: the log-loss is convex in alpha, and the accuracy
is a step function with known steps. The votes are sums of torch tensors; all else is NumPy.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.cache import CacheValues
from sktip._maths.folds import Split
from sktip._maths.log_loss import log_loss, most_probable_weights
from sktip._maths.paper import PAPER_ALPHA, distance_to_paper
from sktip._maths.unit import row_batches

#: Standard deviation of the prior beliefs in alpha 1, beta 5.5 and a scale of 1 of the text logits, in the
#: logarithm; and of the first two for keys that were trained at these values. Measured on Cars and ImageNet.
PRIOR_DEVIATION, PRIOR_DEVIATION_LEARNED = 1.5, 0.5
#: The text logits are rescaled if their best scale differs from 1 by more than this factor.
TRUST = 2.0
#: Largest number of votes that are stored, for several betas, and of similarities for all betas: 256 and 512 MB
#: of float32.
KEPT_VOTES, KEPT_SIMILARITIES = 1 << 26, 1 << 27


class HeldOutShots:
    """Held-out shots, split by split, with their text logits; and the votes for them, for any beta.

    `queries`, (m, d), are unit features of all shots, `values` their classes and weights, and `keys` those of
    the cached shots of each split, (v, d). `text_logits` of the held-out shots are (q, C) or None, and `shares`,
    (q,), their weights in the scores, with sum 1; `n_shots` of them are different. With `balanced`, the votes of
    each class are scaled up to all of its shots. With `numbers`, (m,), each held-out shot is also hidden from the
    cached shots with its number, which are its copies in its class, and the votes for its class are scaled up.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        queries: Tensor,
        keys: Sequence[Tensor],
        values: CacheValues,
        *,
        text_logits: NDArray[Any] | None,
        shares: NDArray[Any],
        n_shots: int,
        balanced: bool,
        numbers: Tensor | None = None,
    ):
        self.shares, self.n_shots, self.has_text = shares, n_shots, text_logits is not None
        rows = np.concatenate([split.held_out for split in splits])
        codes = values.codes[rows]
        self.codes = codes.cpu().numpy()
        if text_logits is None:
            text_logits = np.zeros((len(rows), values.n_classes), queries.cpu().numpy().dtype)
        self.text_logits = text_logits
        self._splits, self._queries, self._keys, self._numbers = splits, queries, keys, numbers

        def totals(shots: Any) -> Tensor:
            part = None if values.weights is None else values.weights[shots]
            return torch.bincount(values.codes[shots], part, values.n_classes).double()

        whole = totals(slice(None))
        self._values, self._scales = [], []
        for cached, _ in splits:
            part = None if values.weights is None else values.weights[cached]
            self._values.append(CacheValues(values.codes[cached], values.n_classes, part))
            left = totals(cached) if balanced else whole
            self._scales.append((whole / torch.where(left > 0, left, 1)).to(queries.dtype)[:, None])
        self._own_scale: Any = 1.0
        if numbers is not None:
            left = whole[codes] - torch.bincount(numbers, values.weights)[numbers[rows]]
            # Nothing can be scaled up if the weights of the others are rounding errors.
            scale = torch.where(left > 1e-6 * whole[codes], whole[codes] / left, 1)
            self._own_scale = scale.cpu().numpy()
        self._n_pairs = sum(len(split.cached) * len(split.held_out) for split in splits)

    def votes(self, betas: NDArray[Any]) -> Iterator[NDArray[Any]]:
        """Yield the votes for all held-out shots at each beta, (q, C)."""
        # Each time that similarities are computed, the votes of several betas are stored; of all betas if these are
        # few. Else the similarities are, and only if these are many too, they are computed several times.
        n, kept = max(1, KEPT_VOTES // self.text_logits.size), None
        if n < len(betas) and self._n_pairs <= KEPT_SIMILARITIES:
            n, kept = 1, list(self._blocks())
        for first in range(0, len(betas), n):
            # Hidden shots have the exponent -inf, and 0 times it would be NaN.
            some_betas = np.maximum(betas[first : first + n], 1e-30).tolist()
            votes = np.empty((len(some_betas), *self.text_logits.shape), self.text_logits.dtype)
            start, buffer = 0, self._queries.new_empty(0)
            for number, exponents in kept or self._blocks():
                if buffer.numel() < exponents.numel():
                    buffer = torch.empty_like(exponents).view(-1)
                affinities = buffer[: exponents.numel()].view_as(exponents)
                rows = slice(start, start := start + exponents.shape[1])
                for part, beta in zip(votes, some_betas, strict=True):
                    torch.mul(exponents, beta, out=affinities).exp2_()
                    sums = self._values[number].sums(affinities).mul_(self._scales[number])
                    part[rows] = sums.T.cpu().numpy()
            votes[:, np.arange(len(self.codes)), self.codes] *= self._own_scale
            yield from votes

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of cosines minus 1, (v, b), with the number of their split.

        They are divided by log(2), since `exp2` takes a third of the time of `exp`.
        """
        for number, (split, keys) in enumerate(zip(self._splits, self._keys, strict=True)):
            queries = self._queries[split.held_out]
            for rows in row_batches(len(queries), len(keys), self.text_logits.dtype):
                exponents = torch.mm(keys, queries[rows].T).sub_(1).div_(math.log(2))
                if self._numbers is not None:
                    numbers = self._numbers[split.held_out[rows]]
                    exponents.masked_fill_(
                        self._numbers[split.cached][:, None] == numbers, -torch.inf
                    )
                yield number, exponents


class AlphaBeta(NamedTuple):
    """The chosen values and their score; all alphas, or the best of each beta; and all scores.

    `alphas` is (n_alphas,) or (n_betas,), `scores` (n_alphas, n_betas) or (n_betas,).
    """

    alpha: float
    beta: float
    score: float
    alphas: NDArray[Any]
    scores: NDArray[Any]


def most_probable_values(
    shots: HeldOutShots, *, alphas: NDArray[Any] | None, betas: NDArray[Any], deviation: float
) -> AlphaBeta:
    """Choose by the log-loss of the held-out shots plus a prior belief in the paper's values.

    `alphas`, (n_alphas,), and `betas`, (n_betas,), are tried; None considers all alphas. `deviation` is the standard
    deviation of the belief, in the logarithm of each value.
    """
    scale = _text_scale(shots) if shots.has_text else 1.0
    alphas, scores, hits = _search(shots, LogLoss(shots, scale, deviation), alphas, betas)
    costs = -shots.n_shots * scores + _distances(alphas, betas, scores) / (2 * deviation**2)
    if not shots.has_text:
        # Alpha changes no prediction, and the log-loss prefers a beta that is too small. So beta is the
        # nearest one whose accuracy is within two standard errors of the best, paired by shot.
        lost = hits[(hits @ shots.shares).argmax()] - hits
        mean = lost @ shots.shares
        error = np.sqrt((lost - mean[:, None]) ** 2 @ shots.shares / shots.n_shots)
        distances = distance_to_paper(PAPER_ALPHA, betas)
        beta = np.where(mean <= 2 * error + 1e-12, distances, np.inf).argmin()
        costs[..., np.arange(len(betas)) != beta] = np.inf
    return _chosen(costs, alphas, betas, scores)


def best_values(
    shots: HeldOutShots,
    scoring: str | Callable[[NDArray[Any]], float],
    *,
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
) -> AlphaBeta:
    """Choose by a score. Ties go to the values nearest to the paper's.

    `scoring` is "accuracy", "neg_log_loss" or a function of the logits of all held-out shots, (q, C). For a
    function, a grid of alphas is tried if `alphas` is None.
    """
    criterion: Criterion
    tolerance = 1e-12
    if callable(scoring):
        criterion = Score(shots, scoring)
    elif scoring == "neg_log_loss":
        criterion = LogLoss(shots)
    else:
        criterion = Accuracy(shots)
        # A difference of one shot counts as a tie.
        tolerance += 1 / shots.n_shots
    alphas, scores, _ = _search(shots, criterion, alphas, betas)
    if np.isnan(scores).all():
        raise ValueError(
            "scoring returns NaN for every alpha and beta; use another scorer, or splits of cv that it can "
            "score."
        )
    good = scores >= np.nanmax(scores) - tolerance
    costs = np.where(good, _distances(alphas, betas, scores), np.inf)
    return _chosen(costs, alphas, betas, scores)


def nearest_values(alphas: NDArray[Any] | None, betas: NDArray[Any]) -> AlphaBeta:
    """Return the values nearest to the paper's, with scores of NaN, if no shot can be held out."""
    shape = betas.shape if alphas is None else (len(alphas), len(betas))
    alphas = np.full(shape, PAPER_ALPHA) if alphas is None else alphas
    scores = np.full(shape, np.nan)
    return _chosen(_distances(alphas, betas, scores), alphas, betas, scores)


class Criterion(Protocol):
    """A score of held-out logits, to maximise."""

    def score(self, logits: NDArray[Any]) -> float:
        """Score of the logits of all held-out shots, (q, C)."""

    def best(self, votes: NDArray[Any]) -> tuple[float, float]:
        """Best alpha >= 0 for votes, (q, C), and its score."""


class LogLoss:
    """Negative mean log-loss of logits times a scale.

    With a belief in alpha 1 of finite deviation, the cost can have two minima: near 1, and near the minimum of
    the log-loss. Both are followed from beta to beta, each search from where the last three minima point to.
    Scores do not include the belief.
    """

    def __init__(self, shots: HeldOutShots, scale: float = 1.0, deviation: float = np.inf):
        self._shots, self._scale, self._deviation = shots, scale, deviation
        self._n = 1 if np.isinf(deviation) else shots.n_shots
        #: The logarithms of the last minima.
        self._paths = [[0.0]] if np.isinf(deviation) else [[0.0], [math.log(150)]]

    def score(self, logits: NDArray[Any]) -> float:
        return -log_loss(self._scale * logits, self._shots.codes, self._shots.shares)[0]

    def best(self, votes: NDArray[Any]) -> tuple[float, float]:
        shots, found = self._shots, []
        for path in self._paths:
            (alpha,), cost = most_probable_weights(
                [self._scale * votes],
                shots.codes,
                self._n * shots.shares,
                offset=self._scale * shots.text_logits,
                deviation=self._deviation,
                start=math.exp(_next(path)),
            )
            found.append((cost, float(alpha)))
            path.append(math.log(alpha))
        if abs(self._paths[0][-1] - self._paths[-1][-1]) < 0.05:
            self._paths, found = self._paths[:1], found[:1]
        cost, alpha = min(found)
        score = (math.log(alpha) ** 2 / (2 * self._deviation**2) - cost) / self._n
        if np.isinf(self._deviation) and score <= (without := self.score(shots.text_logits)):
            return 0.0, without
        return alpha, score


class Accuracy:
    """Accuracy on the held-out shots, exact over all alphas."""

    def __init__(self, shots: HeldOutShots):
        self._shots = shots

    def score(self, logits: NDArray[Any]) -> float:
        return float(self._shots.shares[logits.argmax(axis=1) == self._shots.codes].sum())

    def best(self, votes: NDArray[Any]) -> tuple[float, float]:
        """Best alpha nearest to 1, not at the very end of its interval, and its score."""
        shots = self._shots
        points, accuracies = accuracy_steps(shots.text_logits, votes, shots.codes, shots.shares)
        top = accuracies.max()
        # Equal accuracies may differ by the rounding of the running sums.
        inside = accuracies >= top - 1e-9
        low, high = points[inside], np.append(points[1:], np.inf)[inside]
        # A tenth of the interval on a logarithmic scale, or a factor of 1.1 for an open interval.
        margin = np.full(len(low), 1.1)
        closed = (low > 0) & (high < np.inf)
        margin[closed] = (high[closed] / low[closed]) ** 0.1
        alphas = np.clip(1.0, low * margin, high / margin)
        nearest = np.abs(np.log(np.maximum(alphas, 1e-12))).argmin()
        return float(alphas[nearest]), float(top)


class Score:
    """Any function of the held-out logits. Its best alpha is searched on a grid."""

    def __init__(self, shots: HeldOutShots, score: Callable[[NDArray[Any]], float]):
        self._shots, self.score = shots, score

    def best(self, votes: NDArray[Any]) -> tuple[float, float]:
        """Best alpha of the grid and its score. Ties go to the value nearest to 1."""
        alphas = np.geomspace(0.1, 30, 21)
        alphas = alphas[np.abs(np.log(alphas)).argsort(kind="stable")]
        scores = [self.score(self._shots.text_logits + alpha * votes) for alpha in alphas.tolist()]
        # The first of equal scores, and none that is NaN.
        best = np.where(np.isnan(scores), -np.inf, scores).argmax()
        return float(alphas[best]), float(scores[best])


def accuracy_steps(
    text_logits: NDArray[Any], votes: NDArray[Any], codes: NDArray[Any], shares: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Alphas >= 0 at which the accuracy changes, (p,), from 0 on; and the accuracy from each to the next, (p,).

    A shot is classified correctly for the alphas in one open interval, between the points at which
    another class overtakes its own class (F. J. Och, "Minimum error rate training", ACL 2003).
    """
    labelled = np.arange(len(codes)), codes
    behind = text_logits - text_logits[labelled][:, None]
    gained = votes[labelled][:, None] - votes
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = behind / gained
    low = np.where(gained > 0, crossing, 0).max(axis=1).clip(0)
    high = np.where(gained < 0, crossing, np.inf).min(axis=1)
    # A class with the same votes is below the own class for every alpha or for none.
    level = (gained == 0) & (behind >= 0)
    level[labelled] = False
    right = (low < high) & ~level.any(axis=1)
    low, high, gain = low[right], high[right], shares[right]
    ends = high < np.inf
    points = np.concatenate([np.zeros(1), low, high[ends]])
    changes = np.concatenate([np.zeros(1), gain, -gain[ends]])
    order = np.argsort(points, kind="stable")
    points, accuracies = points[order], np.cumsum(changes[order])
    last = np.append(points[1:] != points[:-1], True)
    return points[last], accuracies[last]


def _next(path: list[float]) -> float:
    """Extrapolate a path by one step: by a parabola through its last three values, not farther than 1."""
    if len(path) < 4:
        return path[-1]
    # The first value is none of a search.
    return path[-1] + min(1.0, max(-1.0, 2 * path[-1] - 3 * path[-2] + path[-3]))


def _text_scale(shots: HeldOutShots) -> float:
    """Scale of the text logits with the smallest log-loss of the zero-shot classifier; 1 if it is near 1.

    The zero-shot classifier has not seen the shots, so its loss shows whether it is overconfident.
    """
    weights = shots.n_shots * shots.shares
    found, _ = most_probable_weights(
        [shots.text_logits], shots.codes, weights, deviation=PRIOR_DEVIATION
    )
    scale = float(found[0])
    return scale if abs(math.log(scale)) > math.log(TRUST) else 1.0


def _search(
    shots: HeldOutShots, criterion: Criterion, alphas: NDArray[Any] | None, betas: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Best alpha of each beta with its score, or the scores of a grid, (n_alphas, n_betas).

    Without text, the third array, (n_betas, q), is 1 where the votes are right.
    """
    found: list[Any] = []
    hits = []
    for votes in shots.votes(betas):
        if alphas is None:
            found.append(criterion.best(votes))
        else:
            tried = (shots.text_logits + alpha * votes for alpha in alphas.tolist())
            found.append([criterion.score(logits) for logits in tried])
        if not shots.has_text:
            hits.append(votes.argmax(axis=1) == shots.codes)
    table, right = np.array(found).T.copy(), np.array(hits, np.float64)
    return (*table, right) if alphas is None else (alphas, table, right)


def _distances(alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """Distances of all scored values to the paper's, in the shape of the scores."""
    return distance_to_paper(alphas if scores.ndim == 1 else alphas[:, np.newaxis], betas)


def _chosen(
    costs: NDArray[Any], alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]
) -> AlphaBeta:
    """Values with the smallest cost. Costs have the shape of the scores."""
    place = np.unravel_index(costs.argmin(), scores.shape)
    alpha, beta = float(alphas[place[0]]), float(betas[place[-1]])
    return AlphaBeta(alpha, beta, float(scores[place]), alphas, scores)
