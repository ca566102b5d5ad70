"""What makes an alpha and a beta good: criteria of left-out votes, each at one alpha and at its best.

A criterion is called with the votes of one beta after another. `best` gives the best alpha of all
alpha >= 0 and its score, `at` the score of a given alpha; scores are to be maximised.
"""

import math

import torch
from torch import Tensor

from sktip._maths.selection import AlphaPath, Questions, accuracy_steps, best_alpha

#: The zero-shot classifier's own temperature is taken over where it is off by more than this factor.
TRUST = 2.0


class LogLoss:
    """Mean log-loss, negated.

    Parameters
    ----------
    questions : Questions
        The left-out queries.

    precision : float
        Strength of the pull towards alpha 1 in choosing the best alpha; the scores are without it.
    """

    def __init__(self, questions: Questions, precision: float = 0.0):
        self.questions = questions
        self._path = AlphaPath(questions, precision)

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Alpha of least cost, and its score."""
        alpha, loss, _ = self._path(votes)
        return alpha, -loss

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return -self.questions.log_loss(votes, alpha)[0]


class Accuracy:
    """Share of queries told right, over all alphas exactly."""

    def __init__(self, questions: Questions):
        self.questions = questions

    def best(self, votes: Tensor) -> tuple[float, float]:
        """Alpha nearest to 1 among the best, a little off the ends of their interval, and its score."""
        points, accuracies = accuracy_steps(self.questions, votes)
        top = accuracies.max()
        # Rounding of the running sums must not tell equal accuracies apart.
        inside = accuracies >= top - 1e-9
        low = points[inside]
        ends = torch.cat([points[1:], points.new_full((1,), math.inf)])
        high = ends[inside]
        # A tenth of the interval on a logarithmic scale, which one without an end does not have.
        margin = torch.where((low > 0) & (high < math.inf), (high / low) ** 0.1, 1.1)
        alphas = torch.clamp(torch.ones_like(low), min=low * margin, max=high / margin)
        distances = alphas.clamp(min=1e-12).log().abs()
        return alphas[distances.argmin()].item(), top.item()

    def at(self, votes: Tensor, alpha: float) -> float:
        """Score of one alpha."""
        return self.questions.accuracy(votes, alpha)


def zero_shot_temperature(questions: Questions, n: int, spread: float) -> float:
    """Factor that the logits of the prior want, by the log-loss of the zero-shot classifier.

    That classifier has not seen the shots, so its loss on them says how far its logits can be
    taken at their word. A factor within 2 of 1 is taken as 1.
    """
    nothing = Questions(torch.zeros_like(questions.prior), questions.target, questions.weights)
    factor, _, _ = best_alpha(nothing, questions.prior, precision=1 / (n * spread**2))
    return factor if abs(math.log(factor)) > math.log(TRUST) else 1.0


def nearest_within_two_errors(hits: Tensor, weights: Tensor, distances: Tensor) -> int:
    """Row of `hits`, (b, q), that is least distant of those about as often right as the best.

    "About" is two standard errors of the difference from the best, paired by query.
    """
    values, weights = hits.double(), weights.double()
    lost = values[(values @ weights).argmax()] - values
    mean = lost @ weights
    error = ((lost - mean[:, None]) ** 2 @ weights**2).sqrt()
    fine = mean <= 2 * error + 1e-12
    return int(torch.where(fine, distances, math.inf).argmin())
