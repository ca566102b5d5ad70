"""Votes for held-out shots compared with a plain loop, and the accuracy for all alphas."""

import numpy as np
import pytest
import torch

from sktip._maths.alpha_beta import HeldOutShots, HeldOutVotes, accuracy_steps
from sktip._maths.folds import Split

SCALE = 12.0


def votes_of(splits, X, y, W, **parameters):
    n_held_out = sum(len(split.held_out) for split in splits)
    return HeldOutVotes(
        splits,
        torch.as_tensor(X),
        torch.as_tensor(X),
        torch.as_tensor(y),
        text=torch.as_tensor(W),
        shares=np.full(n_held_out, 1 / n_held_out),
        logit_scale=SCALE,
        n_classes=4,
        **parameters,
    )


def plain_votes(X, y, query, cached, beta):
    affinities = np.exp(-beta * (1 - X[cached] @ X[query]))
    return np.bincount(y[cached], affinities, minlength=4)


@pytest.mark.parametrize("beta", [0.0, 5.5])
def test_votes_of_folds(shots, beta):
    X, y, W = shots
    splits = [Split(np.arange(4, 14), np.array([3, 1])), Split(np.arange(5), np.array([5]))]
    found = votes_of(splits, X, y, W, balanced=False).at(beta).numpy()
    pairs = [(query, split.cached) for split in splits for query in split.held_out]
    expected = np.stack([plain_votes(X, y, query, cached, beta) for query, cached in pairs], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_one_by_one_is_the_mean_of_all_pairings(shots):
    """A shot hidden from itself: its class is scaled to its full number of shots."""
    X, y, W = shots
    rows, counts = np.arange(14), np.bincount(y)
    held_out = votes_of([Split(rows, rows)], X, y, W, balanced=True, numbers=torch.arange(14))
    found = held_out.at(3.0).numpy()
    for query in range(14):
        expected = plain_votes(X, y, query, np.delete(rows, query), 3.0)
        expected[y[query]] *= counts[y[query]] / (counts[y[query]] - 1)
        np.testing.assert_allclose(found[:, query], expected, atol=1e-12)


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
