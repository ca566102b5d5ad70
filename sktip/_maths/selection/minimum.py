"""The factor of logits with the smallest log-loss of held-out shots: a minimum in one dimension."""

import math

import torch
from torch import Tensor

from sktip._maths.selection.held_out import HeldOutShots

#: Bounds of the factor.
MIN_FACTOR, MAX_FACTOR = 1e-5, 1e4
#: Newton's method in the logarithm: its longest step, and the step at which it ends. The error is about
#: the square of the last step.
MAX_STEP, TOLERANCE = 1.5, 1e-3


def best_factor(
    shots: HeldOutShots, votes: Tensor, *, precision: float = 0.0, start: float = 1.0
) -> tuple[float, float, float]:
    """Factor of the votes with the smallest cost, by Newton's method in ``u = log(factor)``.

    The cost of ``prior + factor * votes`` is the mean log-loss plus ``precision * u ** 2 / 2``.

    Parameters
    ----------
    shots : HeldOutShots
        The held-out shots.

    votes : Tensor of shape (C, q)
        Logits to multiply by the factor and add to the prior.

    precision : float
        Strength of the belief in a factor of 1. 0 for the log-loss only.

    start : float
        Initial factor.

    Returns
    -------
    factor : float
        Factor at the minimum. 0 if there is no belief and the log-loss increases from 0.

    loss : float
        Mean log-loss at the minimum.

    cost : float
        Cost at the minimum.
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
    """Most probable inverse temperature of logits, with a belief in 1, and its cost.

    Parameters
    ----------
    logits : Tensor of shape (C, q)
        Logits of the shots from a classifier that has not seen them.

    codes, weights : Tensor of shape (q,)
        Class codes and weights of the shots. The weights sum to 1.

    precision : float
        Strength of the belief in 1.
    """
    shots = HeldOutShots(torch.zeros_like(logits), codes, weights)
    factor, _, cost = best_factor(shots, logits, precision=precision)
    return factor, cost
