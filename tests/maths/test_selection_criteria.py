"""Minima and steps of criteria, without a grid of alphas."""

import numpy as np
import pytest
import torch

from sktip._maths.selection.criteria import accuracy_steps
from sktip._maths.selection.held_out import HeldOutShots
from sktip._maths.selection.minimum import best_factor, inverse_temperature


def test_log_loss_that_only_grows_gives_zero():
    votes = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    wrong = HeldOutShots(torch.zeros(2, 2), torch.tensor([0, 1]), torch.full((2,), 0.5))
    assert best_factor(wrong, votes)[0] == 0
    right = HeldOutShots(torch.zeros(2, 2), torch.tensor([1, 0]), torch.full((2,), 0.5))
    assert best_factor(right, votes)[0] > 5


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_a_step_function_of_alpha(seed):
    rng = np.random.default_rng(seed)
    z, c = rng.normal(size=(2, 5, 40)).round(1)
    target = rng.integers(5, size=40)
    weights = rng.dirichlet(np.ones(40))
    shots = HeldOutShots(torch.tensor(z), torch.tensor(target), torch.tensor(weights))
    points, accuracies = (t.numpy() for t in accuracy_steps(shots, torch.tensor(c)))
    assert points[0] == 0
    assert (np.diff(points) > 0).all()
    for alpha in np.linspace(0.0003, 40, 4001):
        logits = z + alpha * c
        others = np.where(np.arange(5)[:, None] == target, -np.inf, logits).max(axis=0)
        right = logits[target, np.arange(40)] > others
        step = np.searchsorted(points, alpha, side="right") - 1
        if abs(points - alpha).min() > 1e-9:
            assert accuracies[step] == pytest.approx((weights * right).sum(), abs=1e-9)


@pytest.mark.parametrize("factor", [0.05, 0.7, 30.0])
def test_inverse_temperature_of_overconfident_and_dull_logits(factor):
    """Logits are right at the temperature that their own probabilities are drawn at."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 20_000))
    odds = np.exp(z)
    codes = (rng.random(20_000) > (odds / odds.sum(0)).cumsum(0)).sum(0)
    weights = torch.full((20_000,), 1 / 20_000, dtype=torch.float64)
    logits, target = torch.tensor(z / factor), torch.tensor(codes)
    found, _ = inverse_temperature(logits, target, weights, precision=0.0)
    assert found == pytest.approx(factor, rel=0.05)
    believed, _ = inverse_temperature(logits, target, weights, precision=1e6)
    assert believed == pytest.approx(1, abs=0.01)
