"""The log-loss of held-out shots, and the factor of logits with the smallest one."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

#: Number of logits in one block, 1 MB of float32.
CHUNK_ELEMENTS = 1 << 18
#: Bounds of the factor.
MIN_FACTOR, MAX_FACTOR = 1e-5, 1e4
#: Newton's method in the logarithm: its longest step, the step at which it ends, and the largest number of
#: steps. The error is about the square of the last step.
MAX_STEP, TOLERANCE, MAX_STEPS = 1.5, 1e-4, 60
#: Number of turns in which factor and temperature are minimised.
TURNS = 3


class Minimum(NamedTuple):
    """Factor of logits with the smallest cost.

    Parameters
    ----------
    factor : float
        The factor. 0 if there is no belief and the log-loss increases from 0.

    loss, cost : float
        Mean log-loss, and cost, at the minimum.

    curvature : float
        Second derivative of the cost in the logarithm of the factor.
    """

    factor: float
    loss: float
    cost: float
    curvature: float


@dataclass(frozen=True)
class HeldOutShots:
    """Logits, classes and weights of held-out shots.

    Parameters
    ----------
    prior : Tensor of shape (C, q)
        Logits to add votes to, from the text or zeros.

    codes : Tensor of shape (q,)
        Class codes.

    weights : Tensor of shape (q,)
        Weights of the shots, with sum 1.
    """

    prior: Tensor
    codes: Tensor
    weights: Tensor

    def log_loss(self, votes: Tensor, factor: float) -> tuple[float, float, float]:
        """Mean log-loss of ``prior + factor * votes``, and its first two derivatives in the factor."""
        n_classes, n_shots = votes.shape
        size = max(64, CHUNK_ELEMENTS // n_classes)
        total = torch.zeros(3, dtype=torch.float64, device=votes.device)
        for start in range(0, n_shots, size):
            part = slice(start, start + size)
            own, weights, codes = votes[:, part], self.weights[part], self.codes[None, part]
            logits = torch.add(self.prior[:, part], own, alpha=factor)
            top = logits.amax(0)
            right = logits.gather(0, codes)[0] - top
            masses = logits.sub_(top).exp_()
            mass = masses.sum(0)
            first = masses.mul_(own).sum(0) / mass
            second = masses.mul_(own).sum(0) / mass
            slope = first - own.gather(0, codes)[0]
            rows = torch.stack([mass.log() - right, slope, second - first * first])
            total += (rows @ weights).double()
        loss, slope, curvature = total.tolist()
        return loss, slope, curvature

    def best_factor(self, votes: Tensor, *, precision: float = 0.0, start: float = 1.0) -> Minimum:
        """Factor of the votes with the smallest cost, by Newton's method in ``u = log(factor)``.

        The cost of ``prior + factor * votes`` is the mean log-loss plus ``precision * u ** 2 / 2``.

        Parameters
        ----------
        votes : Tensor of shape (C, q)
            Logits to multiply by the factor and add to the prior.

        precision : float
            Strength of the belief in a factor of 1. 0 for the log-loss only.

        start : float
            Initial factor.
        """
        low, high = math.log(MIN_FACTOR), math.log(MAX_FACTOR)
        u = min(max(math.log(start), low), high)
        for _ in range(MAX_STEPS):
            factor = math.exp(u)
            loss, slope, curvature = self.log_loss(votes, factor)
            first, second = factor * slope, factor * factor * curvature + factor * slope
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
        if precision == 0 and u < math.log(10 * MIN_FACTOR):
            at_zero, slope, _ = self.log_loss(votes, 0.0)
            if slope >= 0:
                return Minimum(0.0, at_zero, at_zero, bend)
        factor = min(math.exp(u), MAX_FACTOR)
        return Minimum(factor, loss, loss + precision * u * u / 2, bend)

    def inverse_temperature(self, logits: Tensor, *, precision: float, start: float = 1.0) -> float:
        """Most probable inverse temperature of the shots' logits, (C, q), with a belief in 1."""
        alone = replace(self, prior=torch.zeros_like(logits))
        return alone.best_factor(logits, precision=precision, start=start).factor

    def best_sum(self, votes: Tensor, *, precision: float) -> tuple[Minimum, float]:
        """Most probable factor of the votes, and inverse temperature of the sum with the prior.

        At a fixed temperature, an overconfident prior would make the factor too small, because the sum
        would be overconfident too. Both have a belief in 1, and are minimised in turns.
        """
        inverse = self.inverse_temperature(self.prior, precision=precision)
        factor = 1.0
        for _ in range(TURNS):
            scaled = replace(self, prior=inverse * self.prior)
            best = scaled.best_factor(inverse * votes, precision=precision, start=factor)
            factor = best.factor
            logits = torch.add(self.prior, votes, alpha=factor)
            inverse = self.inverse_temperature(logits, precision=precision, start=inverse)
        return best, inverse


def precision(deviation: float, n_shots: float) -> float:
    """Weight of ``log(value / median) ** 2 / 2`` relative to the *mean* log-loss of `n_shots` shots."""
    return 1 / (n_shots * deviation**2)
