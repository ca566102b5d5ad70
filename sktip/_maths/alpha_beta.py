"""Choose alpha and beta of Tip-Adapter on held-out shots.

For a fixed beta, the logits of a held-out shot are linear in alpha: the text logits, plus alpha times the
votes of the cached shots. So no grid of alphas is needed: the log-loss is convex in alpha, and the accuracy
is a step function with known steps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.cache import Shots, blocks
from sktip._maths.folds import Split
from sktip._maths.log_loss import log_loss, most_probable_weights
from sktip._maths.paper import PAPER_ALPHA, PAPER_BETA, distance_to_paper

#: The text prior is rescaled if its best scale differs from 1 by more than this factor.
TRUST = 2.0
#: Standard deviation of the prior belief in the logarithm of that scale.
SPREAD_OF_SCALE = 1.5
#: Values of alpha for scores without a closed form.
SCORER_ALPHAS = np.geomspace(0.1, 30, 21)
#: Start of the search for a second minimum of the cost.
FAR_ALPHA = 150.0
#: Scores that differ by less are equal.
ROUNDING = 1e-12
#: Largest number of similarities that are stored for all betas: 256 MB of float32.
KEPT_ELEMENTS = 1 << 26
#: Number of similarities in one block: stored ones, 1 MB of float32, which stays in the CPU's cache until it is
#: summed; and others, for which a product with fewer queries would be slow.
BLOCK_ELEMENTS, PRODUCT_ELEMENTS = 1 << 18, 1 << 23


class HeldOutShots(NamedTuple):
    """Text logits or zeros, (C, q), class codes and weights, (q,), of held-out shots."""

    prior: Tensor
    codes: Tensor
    weights: Tensor


class HeldOutVotes:
    """Votes of the cached shots for the held-out shots, for any beta.

    Parameters
    ----------
    splits : sequence of Split
        Cached and held-out rows of the shots.

    queries : Tensor of shape (m, d)
        Unit features of all shots as queries.

    keys : Tensor of shape (m, d), or sequence of Tensor of shape (v, d)
        Keys of all shots, or of the cached shots of each split.

    codes : Tensor of shape (m,)
        Class codes of all shots.

    text : Tensor of shape (C, d) or None
        Unit text features.

    shares : ndarray of shape (q,)
        Weight of each held-out shot in the scores, split by split, with sum 1.

    logit_scale : float
        Scale of the text logits.

    n_classes : int
        Number of classes C.

    balanced : bool
        Whether the votes of each class are scaled up to all of its shots.

    weights : Tensor of shape (m,) or None
        Weight of each shot's vote. None if the shots are not weighted.

    numbers : Tensor of shape (m,), int, or None
        With numbers, each held-out shot is also hidden from the cached shots with its number, which are its
        copies in its class. The votes for its class are scaled up to all of its shots.

    Attributes
    ----------
    shots : HeldOutShots
        The held-out shots, split by split.

    has_text : bool
        Whether there is a text prior.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        queries: Tensor,
        keys: Tensor | Sequence[Tensor],
        codes: Tensor,
        *,
        text: Tensor | None,
        shares: NDArray[Any],
        logit_scale: float,
        n_classes: int,
        balanced: bool,
        weights: Tensor | None = None,
        numbers: Tensor | None = None,
    ):
        self._splits, self._queries, self._keys = splits, queries, keys
        self._numbers = numbers
        self._caches: list[tuple[Shots, Tensor | None]] = []
        totals = torch.bincount(codes, weights, minlength=n_classes).double()
        for split in splits:
            own = None if weights is None else weights[split.cached]
            cached, scale = codes[split.cached], None
            if balanced:
                left = torch.bincount(cached, own, minlength=n_classes).double()
                scale = (totals / torch.where(left > 0, left, 1)).to(queries.dtype)[:, None]
            self._caches.append((Shots(cached, n_classes, own), scale))
        rows = np.concatenate([split.held_out for split in splits])
        self.has_text = text is not None
        prior = queries.new_zeros((n_classes, len(rows)))
        if text is not None:
            torch.mm(logit_scale * text, queries[rows].T, out=prior)
        self.shots = HeldOutShots(prior, codes[rows], queries.new_tensor(shares))
        self._own_scale = None
        if numbers is not None:
            own_totals = totals[codes[rows]]
            left = own_totals - torch.bincount(numbers, weights)[numbers[rows]]
            # Nothing can be scaled up if the weights of the others are rounding errors.
            scale = torch.where(left > 1e-6 * own_totals, own_totals / left, 1)
            self._own_scale = scale.to(prior.dtype)
        n_pairs = sum(len(split.cached) * len(split.held_out) for split in splits)
        self._kept = list(self._blocks(BLOCK_ELEMENTS)) if n_pairs <= KEPT_ELEMENTS else None

    def at(self, beta: float) -> Tensor:
        """Votes for all held-out shots at one beta, split by split: (C, q)."""
        votes, start = torch.empty_like(self.shots.prior), 0
        buffer = votes.new_empty(0)
        # Hidden shots have the exponent -inf, and 0 times it would be NaN.
        beta = max(beta, 1e-30)
        for number, exponents in self._kept or self._blocks(PRODUCT_ELEMENTS):
            shots, scale = self._caches[number]
            if buffer.numel() < exponents.numel():
                buffer = torch.empty_like(exponents).view(-1)
            affinities = buffer[: exponents.numel()].view_as(exponents)
            stop = start + exponents.shape[1]
            votes[:, start:stop] = shots.sums(torch.mul(exponents, beta, out=affinities).exp_())
            if scale is not None:
                votes[:, start:stop] *= scale
            start = stop
        if self._own_scale is not None:
            own = self.shots.codes[None]
            votes.scatter_(0, own, votes.gather(0, own) * self._own_scale)
        return votes

    def _blocks(self, n_elements: int) -> Iterator[tuple[int, Tensor]]:
        """Yield blocks of cosines minus 1, (v, b), with the number of their split."""
        for number, split in enumerate(self._splits):
            keys = self._keys
            keys = keys[split.cached] if isinstance(keys, Tensor) else keys[number]
            queries = self._queries[split.held_out]
            for rows in blocks(len(queries), len(keys), n_elements):
                exponents = torch.mm(keys, queries[rows].T).sub_(1)
                if self._numbers is not None:
                    own = self._numbers[split.held_out[rows]]
                    exponents.masked_fill_(self._numbers[split.cached][:, None] == own, -torch.inf)
                yield number, exponents


@dataclass(frozen=True)
class AlphaBeta:
    """The chosen values, and the scores of all values.

    Parameters
    ----------
    alpha, beta, score : float
        Chosen values, and their score.

    alphas : ndarray of shape (n_betas,) or (n_alphas,)
        Best residual ratio for each beta, or the given ones.

    scores : ndarray of shape (n_betas,) or (n_alphas, n_betas)
        Scores of all values that were tried.
    """

    alpha: float
    beta: float
    score: float
    alphas: NDArray[Any]
    scores: NDArray[Any]


def most_probable_values(
    held_out: HeldOutVotes,
    *,
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
    spread: float,
    n_shots: int,
) -> AlphaBeta:
    """Choose by the log-loss of the held-out shots plus a prior belief in the paper's values.

    Parameters
    ----------
    held_out : HeldOutVotes
        Votes for the held-out shots.

    alphas : ndarray of shape (n_alphas,) or None
        Residual ratios to try. None considers all.

    betas : ndarray of shape (n_betas,)
        Values of the sharpness to try.

    spread : float
        Standard deviation of the belief, in the logarithm of each value.

    n_shots : int
        Number of different held-out shots.
    """
    scale = zero_shot_scale(held_out.shots, n_shots) if held_out.has_text else 1.0
    scaled = held_out.shots._replace(prior=scale * held_out.shots.prior)
    hits = []

    def votes_at(beta: float) -> Tensor:
        votes = held_out.at(beta)
        if not held_out.has_text:
            hits.append(_hits(scaled, votes, 1.0))
        return votes.mul_(scale)

    alphas, scores = _scores(LogLoss(scaled, n_shots, spread), votes_at, alphas, betas)
    costs = -n_shots * scores + _distances(alphas, betas, scores) / (2 * spread**2)
    if not held_out.has_text:
        # Without text, alpha changes no prediction, and the log-loss prefers a beta that is too small.
        # So beta is chosen by accuracy.
        distances = torch.as_tensor(distance_to_paper(PAPER_ALPHA, betas))
        weights = scaled.weights.cpu().double()
        beta = nearest_within_two_errors(torch.stack(hits).cpu(), weights, distances, n_shots)
        costs[..., np.arange(len(betas)) != beta] = np.inf
    return _chosen(int(costs.argmin()), alphas, betas, scores)


def best_values(
    held_out: HeldOutVotes,
    scoring: str | Callable[[NDArray[Any]], float],
    *,
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
    n_shots: int,
) -> AlphaBeta:
    """Choose by a score. Ties go to the values nearest to the paper's.

    Parameters
    ----------
    held_out, alphas, betas, n_shots
        As in `most_probable_values`. For a callable score, None considers a grid of alphas.

    scoring : {"accuracy", "neg_log_loss"} or callable
        Score to maximise. A callable gets the logits of all held-out shots, (q, C), split by split.
    """
    criterion: Criterion = LogLoss(held_out.shots)
    tolerance = ROUNDING
    if scoring == "accuracy":
        criterion = Accuracy(held_out.shots)
        # A difference of one shot counts as a tie.
        tolerance += 1 / n_shots
    elif callable(scoring):
        criterion = Score(held_out.shots, scoring)
    alphas, scores = _scores(criterion, held_out.at, alphas, betas)
    if np.isnan(scores).all():
        raise ValueError(
            "scoring returns NaN for every alpha and beta; use another scorer, or splits of cv that it can "
            "score."
        )
    good = scores >= np.nanmax(scores) - tolerance
    nearest = np.where(good, _distances(alphas, betas, scores), np.inf).argmin()
    return _chosen(int(nearest), alphas, betas, scores)


def zero_shot_scale(shots: HeldOutShots, n_shots: int) -> float:
    """Scale of the text logits with the smallest log-loss of the zero-shot classifier on the shots.

    The zero-shot classifier has not seen the shots, so its loss shows whether it is overconfident. A
    scale between 1/2 and 2 is replaced by 1.
    """
    prior, codes, weights = _arrays(shots)
    found, _ = most_probable_weights([prior], codes, n_shots * weights, deviation=SPREAD_OF_SCALE)
    factor = float(found[0])
    return factor if abs(math.log(factor)) > math.log(TRUST) else 1.0


def nearest_within_two_errors(
    hits: Tensor, weights: Tensor, distances: Tensor, n_shots: int
) -> int:
    """Row of `hits`, (b, q), with the smallest distance among those that are about as accurate as the best.

    A row is about as accurate if the difference is within two standard errors, paired by held-out shot.
    """
    values = hits.double()
    lost = values[(values @ weights).argmax()] - values
    mean = lost @ weights
    error = ((lost - mean[:, None]) ** 2 @ weights / n_shots).sqrt()
    fine = mean <= 2 * error + ROUNDING
    return int(torch.where(fine, distances, torch.inf).argmin())


class Criterion(Protocol):
    """A score to maximise. It is called with the votes of one beta at a time."""

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Best alpha >= 0, and its score."""

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""


class LogLoss:
    """Negative mean log-loss.

    With a belief, the cost can have two minima: near alpha 1, and near the minimum of the log-loss. Both are
    followed from beta to beta.

    Parameters
    ----------
    shots : HeldOutShots
        The held-out shots.

    n_shots : float
        Number of different shots, relative to the belief.

    spread : float
        Standard deviation of the belief in alpha 1, in the logarithm, for the choice of the best alpha.
        Scores do not include it.
    """

    def __init__(self, shots: HeldOutShots, n_shots: float = 1.0, spread: float = np.inf):
        self._prior, self._codes, weights = _arrays(shots)
        self._weights, self._n_shots, self._spread = n_shots * weights, n_shots, spread
        self._starts = [1.0] if np.isinf(spread) else [1.0, FAR_ALPHA]

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Alpha with the smallest cost, and its score."""
        rows = _by_shot(votes)
        searched = [
            most_probable_weights(
                [rows],
                self._codes,
                self._weights,
                offset=self._prior,
                deviation=self._spread,
                start=start,
            )
            for start in self._starts
        ]
        found = [(cost, float(alpha)) for (alpha,), cost in searched]
        if abs(math.log(found[0][1] / found[-1][1])) < 0.05:
            found = found[:1]
        self._starts = [alpha for _, alpha in found]
        cost, alpha = min(found)
        score = -(cost - math.log(alpha) ** 2 / (2 * self._spread**2)) / self._n_shots
        if np.isinf(self._spread) and score <= (without := self.at(votes, 0.0)):
            return 0.0, without
        return alpha, score

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        logits = self._prior + self._prior.dtype.type(alpha) * _by_shot(votes)
        return -log_loss(logits, self._codes, self._weights)[0] / self._n_shots


class Accuracy:
    """Accuracy on the held-out shots, exact over all alphas."""

    def __init__(self, shots: HeldOutShots):
        self.shots = shots

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Best alpha nearest to 1, not at the very end of its interval, and its score."""
        points, accuracies = accuracy_steps(self.shots, votes)
        top = accuracies.max()
        # Equal accuracies may differ by the rounding of the running sums.
        inside = accuracies >= top - 1e-9
        low = points[inside]
        ends = torch.cat([points[1:], points.new_full((1,), math.inf)])
        high = ends[inside]
        # A tenth of the interval on a logarithmic scale, or a factor of 1.1 for an open interval.
        margin = torch.where((low > 0) & (high < math.inf), (high / low) ** 0.1, 1.1)
        alphas = torch.clamp(torch.ones_like(low), min=low * margin, max=high / margin)
        distances = alphas.clamp(min=1e-12).log().abs()
        return alphas[distances.argmin()].item(), top.item()

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return float((_hits(self.shots, votes, alpha) * self.shots.weights).sum())


class Score:
    """Any function of the held-out logits, (q, C).

    Its best alpha is searched on a grid, since the score may depend on alpha in any way.
    """

    def __init__(self, shots: HeldOutShots, score: Callable[[NDArray[Any]], float]):
        self.shots, self.score = shots, score

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Best alpha of a grid and its score. Ties go to the value nearest to 1."""
        scores = np.array([self.at(votes, alpha) for alpha in SCORER_ALPHAS])
        nearness = -distance_to_paper(SCORER_ALPHAS, PAPER_BETA)
        # NaN would be sorted to the top.
        best = np.lexsort((nearness, np.where(np.isnan(scores), -np.inf, scores)))[-1]
        return float(SCORER_ALPHAS[best]), float(scores[best])

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return self.score(_by_shot((self.shots.prior + alpha * votes).double()))


def accuracy_steps(shots: HeldOutShots, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy as an exact step function of alpha >= 0.

    A shot is classified correctly for the alphas in one open interval, between the points at which
    another class overtakes its own class (F. J. Och, "Minimum error rate training", ACL 2003).

    Parameters
    ----------
    shots : HeldOutShots
        The held-out shots.

    votes : Tensor of shape (C, q)
        Votes of the cache for the held-out shots.

    Returns
    -------
    points : Tensor of shape (p,)
        Values of alpha at which the accuracy changes, ascending, starting with 0.

    accuracies : Tensor of shape (p,)
        Accuracy from each point to the next; the last one holds up to infinity.
    """
    codes = shots.codes[None]
    z = shots.prior - shots.prior.gather(0, codes)
    c = votes.gather(0, codes) - votes
    own = torch.zeros_like(z, dtype=torch.bool).scatter_(0, codes, True)
    crossing = z / c
    low = torch.where(c > 0, crossing, -torch.inf).amax(0).clamp_(min=0)
    high = torch.where(c < 0, crossing, torch.inf).amin(0)
    # A class with the same votes is below the own class for every alpha or for none.
    lost = ((c == 0) & (z >= 0) & ~own).any(0)
    right = (low < high) & ~lost
    low, high, gain = low[right], high[right], shots.weights[right].double()
    ends = high < torch.inf
    points = torch.cat([low.new_zeros(1), low, high[ends]])
    changes = torch.cat([gain.new_zeros(1), gain, -gain[ends]])
    order = torch.argsort(points, stable=True)
    points, accuracies = points[order], torch.cumsum(changes[order], 0)
    last = torch.cat([points[1:] != points[:-1], torch.ones_like(points[:1], dtype=torch.bool)])
    return points[last], accuracies[last]


def _by_shot(logits: Tensor) -> NDArray[Any]:
    """Logits (C, q) as an array (q, C)."""
    result: NDArray[Any] = logits.T.contiguous().cpu().numpy()
    return result


def _arrays(shots: HeldOutShots) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return _by_shot(shots.prior), shots.codes.cpu().numpy(), shots.weights.double().cpu().numpy()


def _hits(shots: HeldOutShots, votes: Tensor, alpha: float) -> Tensor:
    """Whether the class of each shot has the largest logit: (q,)."""
    return torch.add(shots.prior, votes, alpha=alpha).argmax(0) == shots.codes


def _scores(
    criterion: Criterion,
    votes_at: Callable[[float], Tensor],
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Best alpha for each beta with its score, or the scores of a grid: (n_alphas, n_betas)."""
    if alphas is None:
        best, scores = np.array([criterion.best(votes_at(beta)) for beta in betas]).T.copy()
        return best, scores
    scores = np.empty((len(alphas), len(betas)))
    for column, beta in enumerate(betas):
        votes = votes_at(beta)
        scores[:, column] = [criterion.at(votes, alpha) for alpha in alphas]
    return alphas, scores


def _distances(alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """Distances of all scored values to the paper's, in the shape of the scores."""
    return distance_to_paper(alphas if scores.ndim == 1 else alphas[:, np.newaxis], betas)


def _chosen(
    index: int, alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]
) -> AlphaBeta:
    place = np.unravel_index(index, scores.shape)
    return AlphaBeta(
        float(alphas[place[0]]), float(betas[place[-1]]), float(scores[place]), alphas, scores
    )
