"""Criteria to choose alpha and beta on held-out shots.

A criterion is called with the votes of one beta at a time. `best` returns the best alpha >= 0 and its
score, and `at` the score of a given alpha. Scores are maximised. No grid of alphas is needed: the log-loss
is convex in alpha, and the accuracy is a step function with known steps.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.selection.beliefs import PAPER_ALPHA, SCORER_ALPHAS
from sktip._maths.selection.held_out import HeldOutShots
from sktip._maths.selection.minimum import MIN_FACTOR, best_factor

#: Start of the search for a second minimum of the log-loss, and number of betas between two searches.
FAR_ALPHA, LOOK_AGAIN = 150.0, 40


class Criterion(Protocol):
    """A score to maximise."""

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Best alpha, and its score."""

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""


class LogLoss:
    """Negative mean log-loss.

    Each search starts where the last two minima extrapolate to. With a belief, the cost can have two
    minima, one near alpha 1 and one near the minimum of the log-loss. Both are followed, and searched
    again from time to time.

    Parameters
    ----------
    shots : HeldOutShots
        The held-out shots.

    precision : float
        Strength of the belief in alpha 1, for the choice of the best alpha. Scores do not include it.
    """

    def __init__(self, shots: HeldOutShots, precision: float = 0.0):
        self.shots, self.precision = shots, precision
        self._starts = [1.0]
        self._alphas: list[float] = []
        self._n_done = 0

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Alpha with the smallest cost, and its score."""
        if self.precision > 0 and self._n_done % LOOK_AGAIN == 0:
            self._starts = [*self._starts, 1.0, FAR_ALPHA]
        self._n_done += 1
        found: list[tuple[float, float, float]] = []
        for start in self._starts:
            minimum = best_factor(self.shots, votes, precision=self.precision, start=start)
            if all(abs(math.log(minimum[0] / other[0])) > 0.05 for other in found):
                found.append(minimum)
        before, self._alphas = self._alphas, [max(alpha, MIN_FACTOR) for alpha, _, _ in found]
        self._starts = self._alphas
        if len(before) == len(self._alphas):
            # For betas that are evenly spaced in the logarithm, the minima move evenly too.
            self._starts = [now * now / old for now, old in zip(self._alphas, before, strict=True)]
        alpha, loss, _ = min(found, key=lambda minimum: minimum[2])
        return alpha, -loss

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return -self.shots.log_loss(votes, alpha)[0]


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
        return (self.shots.hits(votes, alpha) * self.shots.weights).sum().item()


class Score:
    """Any function of the held-out logits, (q, C).

    Its best alpha is searched on a grid, since the score may depend on alpha in any way.
    """

    def __init__(self, shots: HeldOutShots, score: Callable[[NDArray[Any]], float]):
        self.shots, self.score = shots, score

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Best alpha of a grid and its score. Ties go to the value nearest to 1."""
        scores = np.array([self.at(votes, alpha) for alpha in SCORER_ALPHAS])
        nearness = -np.abs(np.log(SCORER_ALPHAS / PAPER_ALPHA))
        # NaN would be sorted to the top.
        best = np.lexsort((nearness, np.where(np.isnan(scores), -np.inf, scores)))[-1]
        return float(SCORER_ALPHAS[best]), float(scores[best])

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return self.score(self.shots.logits(votes, alpha))


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
