"""The log-loss of held-out shots, its slopes and its minima."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from scipy.special import log_softmax

from sktip._maths.log_loss import HeldOutShots


def test_log_loss_that_only_grows_gives_zero():
    votes = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    wrong = HeldOutShots(torch.zeros(2, 2), torch.tensor([0, 1]), torch.full((2,), 0.5))
    assert wrong.best_factor(votes).factor == 0
    right = HeldOutShots(torch.zeros(2, 2), torch.tensor([1, 0]), torch.full((2,), 0.5))
    assert right.best_factor(votes).factor > 5


def test_slopes_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    prior, votes = torch.tensor(rng.normal(size=(2, 5, 40)))
    codes, weights = (
        torch.tensor(rng.integers(5, size=40)),
        torch.tensor(rng.dirichlet(np.ones(40))),
    )
    shots = HeldOutShots(prior, codes, weights)
    losses = -log_softmax((prior + 2 * votes).numpy(), axis=0)[codes, np.arange(40)]
    assert shots.log_loss(votes, 2.0)[0] == pytest.approx(losses @ weights.numpy())
    for order in (0, 1):
        error = check_grad(
            lambda a, k=order: shots.log_loss(votes, float(a[0]))[k],
            lambda a, k=order: np.array([shots.log_loss(votes, float(a[0]))[k + 1]]),
            [2.0],
        )
        assert error < 1e-5


@pytest.mark.parametrize("factor", [0.05, 0.7, 30.0])
def test_inverse_temperature_of_overconfident_and_dull_logits(factor):
    """Logits are right at the temperature that their own probabilities are drawn at."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5, 20_000))
    odds = np.exp(z)
    codes = (rng.random(20_000) > (odds / odds.sum(0)).cumsum(0)).sum(0)
    weights = torch.full((20_000,), 1 / 20_000, dtype=torch.float64)
    logits, target = torch.tensor(z / factor), torch.tensor(codes)
    shots = HeldOutShots(torch.zeros_like(logits), target, weights)
    found = shots.inverse_temperature(logits, precision=0.0)
    assert found == pytest.approx(factor, rel=0.05)
    believed = shots.inverse_temperature(logits, precision=1e6)
    assert believed == pytest.approx(1, abs=0.01)


def test_an_overconfident_prior_does_not_make_the_votes_small():
    """Text and votes are equally informative, but the logits of the text are three times too large."""
    rng = np.random.default_rng(0)
    codes = torch.tensor(rng.integers(5, size=4000))
    own = torch.nn.functional.one_hot(codes, 5).T.double()
    text, votes = (own + torch.tensor(rng.normal(size=(5, 4000))) for _ in range(2))
    shots = HeldOutShots(3 * text, codes, torch.full((4000,), 1 / 4000, dtype=torch.float64))
    assert shots.best_factor(votes).factor < 2
    best, inverse = shots.best_sum(3 * votes, precision=0.0)
    assert best.factor == pytest.approx(1, rel=0.2)
    assert inverse == pytest.approx(1 / 3, rel=0.2)
