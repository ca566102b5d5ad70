"""The factor of some logits that gives held-out shots the least log-loss: a minimum in one dimension."""

import math

import torch
from torch import Tensor

from sktip._maths.selection.held_out import HeldOutShots

#: The log-loss is not followed beyond these factors.
MIN_FACTOR, MAX_FACTOR = 1e-5, 1e4
#: Newton's method in the logarithm: its longest step, and the last one; its error is the square.
MAX_STEP, TOLERANCE = 1.5, 1e-3


def best_factor(
    shots: HeldOutShots, votes: Tensor, *, precision: float = 0.0, start: float = 1.0
) -> tuple[float, float, float]:
    """Factor of the votes of least cost, by Newton's method in ``u = log(factor)`` inside a bracket.

    The cost of ``prior + factor * votes`` is the mean log-loss plus ``precision * u ** 2 / 2``.

    Parameters
    ----------
    shots : HeldOutShots
        The held-out shots.

    votes : Tensor of shape (C, q)
        Logits of theirs to be weighed beside the prior.

    precision : float
        Strength of the belief in a factor of 1; 0 for the log-loss alone.

    start : float
        Where to begin.

    Returns
    -------
    factor : float
        The minimum, 0 where the log-loss alone only grows from there on.

    loss : float
        Mean log-loss there.

    cost : float
        Cost there.
    """
    low, high = math.log(MIN_FACTOR), math.log(MAX_FACTOR)
    u = min(max(math.log(start), low), high)
    for _ in range(60):
        factor = math.exp(u)
        loss, slope, curvature = shots.log_loss(votes, factor)
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
        at_zero, slope, _ = shots.log_loss(votes, 0.0)
        if slope >= 0:
            return 0.0, at_zero, at_zero
    return min(math.exp(u), MAX_FACTOR), loss, loss + precision * u * u / 2


def inverse_temperature(
    logits: Tensor, codes: Tensor, weights: Tensor, *, precision: float
) -> tuple[float, float]:
    """Most probable inverse temperature of logits (C, q), about 1, and its cost.

    Parameters
    ----------
    logits : Tensor of shape (C, q)
        Logits that have not seen the shots.

    codes, weights : Tensor of shape (q,)
        Classes of the shots, and their weights of sum 1.

    precision : float
        Strength of the belief in 1.
    """
    shots = HeldOutShots(torch.zeros_like(logits), codes, weights)
    factor, _, cost = best_factor(shots, logits, precision=precision)
    return factor, cost
