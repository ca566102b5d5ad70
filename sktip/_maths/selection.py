"""Scores of left-out shots, for all alphas at once.

For a fixed beta the logits of a left-out query are linear in alpha, ``z + alpha c``: z is the text
prior, c the votes of the shots that the query may see. The log-loss is then convex in alpha, and the
accuracy a step function whose every step is known. Both are found without a grid of alphas.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sktip._maths.cache import Shots, blocks

#: The log-loss is not followed beyond these alphas.
MIN_ALPHA, MAX_ALPHA = 1e-5, 1e4
#: Newton's method in log(alpha): its longest step, and the last one; its error is the square.
MAX_STEP, TOLERANCE = 1.5, 1e-3
#: Where a second minimum is looked for, and after how many betas again.
FAR_ALPHA, LOOK_AGAIN = 150.0, 40
#: Logits in one piece of work, 1 MB of float32.
CHUNK_ELEMENTS = 1 << 18
#: Exponents in one block: 1 MB of float32, so that they are still in the processor's cache when
#: they are summed.
BLOCK_ELEMENTS = 1 << 18
#: Similarities up to this many are kept between betas: 256 MB of float32.
KEPT_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class Part:
    """Left-out queries, and the cache that they may ask.

    Parameters
    ----------
    queries : Tensor of shape (q, d)
        Unit features.

    keys : Tensor of shape (v, d)
        Keys of the shots that are not left out.

    shots : Shots
        Their values.

    scale : Tensor of shape (C, 1) or None
        What a class's votes are multiplied by, so that left-out shots do not make it look small.

    own : Tensor of shape (q,) or None
        Row of each query among the keys, where it is hidden from that query alone.
    """

    queries: Tensor
    keys: Tensor
    shots: Shots
    scale: Tensor | None = None
    own: Tensor | None = None


class LeftOutVotes:
    """Votes of the cache for left-out queries, at any beta."""

    def __init__(self, parts: Sequence[Part]):
        self.parts = parts
        self.n_queries = sum(len(part.queries) for part in parts)
        self._kept = [self._exponents(*block) for block in self._blocks()] if self._fits else None
        self._buffer = parts[0].queries.new_empty(0)

    def at(self, beta: float) -> Tensor:
        """Votes of all queries, part by part: (C, q)."""
        first = self.parts[0]
        votes = first.queries.new_empty((first.shots.n_classes, self.n_queries))
        # Hidden entries have the exponent -inf, which a beta of 0 would make NaN.
        beta = max(beta, 1e-30)
        start = 0
        for index, (part, rows) in enumerate(self._blocks()):
            exponents = self._exponents(part, rows) if self._kept is None else self._kept[index]
            if self._buffer.numel() < exponents.numel():
                self._buffer = torch.empty_like(exponents).view(-1)
            affinities = self._buffer[: exponents.numel()].view_as(exponents)
            sums = part.shots.sums(torch.mul(exponents, beta, out=affinities).exp_())
            if part.scale is not None:
                sums *= part.scale
            stop = start + sums.shape[1]
            votes[:, start:stop] = sums
            start = stop
        return votes

    @property
    def _fits(self) -> bool:
        return sum(len(part.queries) * len(part.keys) for part in self.parts) <= KEPT_ELEMENTS

    def _blocks(self) -> Iterator[tuple[Part, slice]]:
        for part in self.parts:
            for rows in blocks(len(part.queries), len(part.keys), BLOCK_ELEMENTS):
                yield part, rows

    @staticmethod
    def _exponents(part: Part, rows: slice) -> Tensor:
        """Cosines minus 1, the exponents at beta 1: (v, b)."""
        exponents = torch.mm(part.keys, part.queries[rows].T).sub_(1)
        if part.own is not None:
            own = part.own[rows]
            exponents[own, torch.arange(len(own), device=own.device)] = -torch.inf
        return exponents


@dataclass(frozen=True)
class Questions:
    """What the left-out queries should be told apart by, and how much each counts.

    Parameters
    ----------
    prior : Tensor of shape (C, q)
        Logits of the text prior.

    target : Tensor of shape (q,)
        Class codes.

    weights : Tensor of shape (q,)
        Weights of the queries, of sum 1.
    """

    prior: Tensor
    target: Tensor
    weights: Tensor

    def log_loss(self, votes: Tensor, alpha: float) -> tuple[float, float, float]:
        """Mean log-loss of the logits ``prior + alpha votes``, its slope and curvature in alpha."""
        n_classes, n_queries = votes.shape
        size = max(64, CHUNK_ELEMENTS // n_classes)
        total = torch.zeros(3, dtype=torch.float64, device=votes.device)
        for start in range(0, n_queries, size):
            part = slice(start, start + size)
            own, weights, target = votes[:, part], self.weights[part], self.target[None, part]
            logits = torch.add(self.prior[:, part], own, alpha=alpha)
            top = logits.amax(0)
            right = logits.gather(0, target)[0] - top
            masses = logits.sub_(top).exp_()
            mass = masses.sum(0)
            first = masses.mul_(own).sum(0) / mass
            second = masses.mul_(own).sum(0) / mass
            slope = first - own.gather(0, target)[0]
            rows = torch.stack([mass.log() - right, slope, second - first * first])
            total += (rows @ weights).double()
        loss, slope, curvature = total.tolist()
        return loss, slope, curvature

    def accuracy(self, votes: Tensor, alpha: float) -> float:
        """Share of queries whose class has the largest logit."""
        return (self.hits(votes, alpha) * self.weights).sum().item()

    def hits(self, votes: Tensor, alpha: float) -> Tensor:
        """Whether the class of each query has the largest logit."""
        return torch.add(self.prior, votes, alpha=alpha).argmax(0) == self.target


def complete_own_votes(
    votes: Tensor, target: Tensor, counts: Tensor, weights: Tensor, *, one_missing: bool
) -> Tensor:
    """Make up for the entries that are hidden from the queries of their own class, in place.

    Parameters
    ----------
    votes : Tensor of shape (C, q)
        Votes for left-out queries.

    target : Tensor of shape (q,)
        Class codes of the queries.

    counts : Tensor of shape (q,)
        Number of shots of each query's class.

    weights : Tensor of shape (q,)
        Weights of the queries.

    one_missing : bool
        Whether the class of a query votes with one shot less than the others. Its votes are then
        scaled by n / (n - 1): what leaving out one shot of every class would give, averaged over
        all ways to pair the shots.

    Returns
    -------
    votes : Tensor of shape (C, q)
        The same tensor. Queries of a class without a second shot got the geometric mean of what
        a shot of the other classes gets from one of its own.
    """
    own = votes.gather(0, target[None])[0]
    several = counts > 1
    mean = own / (counts - 1).clamp(min=1) if one_missing else own / counts
    if not several.all():
        share = weights * several
        logs = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        mean = torch.where(several, mean, ((share * logs).sum() / share.sum()).exp())
    return votes.scatter_(0, target[None], (mean * counts)[None])


def best_alpha(
    questions: Questions, votes: Tensor, *, precision: float = 0.0, start: float = 1.0
) -> tuple[float, float, float]:
    """Alpha of least cost, by Newton's method in ``u = log(alpha)`` inside a bracket.

    The cost is the mean log-loss plus ``precision * u ** 2 / 2``.

    Parameters
    ----------
    questions : Questions
        The left-out queries.

    votes : Tensor of shape (C, q)
        Votes of the cache for them.

    precision : float
        Strength of the pull towards alpha 1; 0 for the log-loss alone.

    start : float
        Where to begin.

    Returns
    -------
    alpha : float
        The minimum, 0 where the log-loss alone only grows from there on.

    loss : float
        Mean log-loss there.

    cost : float
        Cost there.
    """
    low, high = math.log(MIN_ALPHA), math.log(MAX_ALPHA)
    u = min(max(math.log(start), low), high)
    for _ in range(60):
        alpha = math.exp(u)
        loss, slope, curvature = questions.log_loss(votes, alpha)
        first, second = alpha * slope, alpha * alpha * curvature + alpha * slope
        pull, bend = first + precision * u, second + precision
        low, high = (low, u) if pull > 0 else (u, high)
        step = -pull / bend if bend > 0 else math.copysign(MAX_STEP, -pull)
        new = u + min(max(step, -MAX_STEP), MAX_STEP)
        if not low < new < high:
            new = (low + high) / 2
        change, u = new - u, new
        if abs(change) < TOLERANCE:
            break
    loss += first * change + second * change**2 / 2
    if precision == 0 and u < math.log(10 * MIN_ALPHA):
        at_zero, slope, _ = questions.log_loss(votes, 0.0)
        if slope >= 0:
            return 0.0, at_zero, at_zero
    return min(math.exp(u), MAX_ALPHA), loss, loss + precision * u * u / 2


class AlphaPath:
    """Best alphas of one beta after another, each search begun where the last ones point to.

    With a pull the cost can have two minima, one near alpha 1 and one near that of the
    log-loss; both are followed, and looked for anew now and then.
    """

    def __init__(self, questions: Questions, precision: float):
        self.questions, self.precision = questions, precision
        self.starts = [1.0]
        self.alphas: list[float] = []
        self.n_done = 0

    def __call__(self, votes: Tensor) -> tuple[float, float, float]:
        """Alpha, loss and cost of the lowest minimum found, as of `best_alpha`."""
        if self.precision > 0 and self.n_done % LOOK_AGAIN == 0:
            self.starts = [*self.starts, 1.0, FAR_ALPHA]
        self.n_done += 1
        found: list[tuple[float, float, float]] = []
        for start in self.starts:
            minimum = best_alpha(self.questions, votes, precision=self.precision, start=start)
            if all(abs(math.log(minimum[0] / other[0])) > 0.05 for other in found):
                found.append(minimum)
        before, self.alphas = self.alphas, [max(alpha, MIN_ALPHA) for alpha, _, _ in found]
        self.starts = self.alphas
        if len(before) == len(self.alphas):
            # Betas are mostly evenly spaced in the logarithm, and the minima then move evenly too.
            self.starts = [now * now / old for now, old in zip(self.alphas, before, strict=True)]
        return min(found, key=lambda minimum: minimum[2])


def accuracy_steps(questions: Questions, votes: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy as an exact step function of all alpha >= 0.

    A query is right for the alphas of one open interval, between the points at which another
    class overtakes its own (F. J. Och, "Minimum error rate training", ACL 2003).

    Parameters
    ----------
    questions : Questions
        The left-out queries.

    votes : Tensor of shape (C, q)
        Votes of the cache for them.

    Returns
    -------
    points : Tensor of shape (p,)
        Where the accuracy changes, ascending, from 0 on.

    accuracies : Tensor of shape (p,)
        Accuracy between each point and the next, the last one to infinity.
    """
    target = questions.target[None]
    z = questions.prior - questions.prior.gather(0, target)
    c = votes.gather(0, target) - votes
    own = torch.zeros_like(z, dtype=torch.bool).scatter_(0, target, True)
    crossing = z / c
    low = torch.where(c > 0, crossing, -torch.inf).amax(0).clamp_(min=0)
    high = torch.where(c < 0, crossing, torch.inf).amin(0)
    # A class with the same votes is behind for every alpha, or for none.
    lost = ((c == 0) & (z >= 0) & ~own).any(0)
    right = (low < high) & ~lost
    low, high, gain = low[right], high[right], questions.weights[right].double()
    ends = high < torch.inf
    points = torch.cat([low.new_zeros(1), low, high[ends]])
    changes = torch.cat([gain.new_zeros(1), gain, -gain[ends]])
    order = torch.argsort(points, stable=True)
    points, accuracies = points[order], torch.cumsum(changes[order], 0)
    last = torch.cat([points[1:] != points[:-1], torch.ones_like(points[:1], dtype=torch.bool)])
    return points[last], accuracies[last]
