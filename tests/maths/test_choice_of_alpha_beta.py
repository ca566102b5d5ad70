"""Votes for held-out shots compared with a plain loop, and the accuracy for all alphas."""

import numpy as np
import pytest
import torch

from sktip._maths.alpha_beta import HeldOutShots, accuracy_steps
from sktip._maths.cache import CacheValues
from sktip._maths.folds import Split


def votes_of(splits, X, y, beta, **parameters):
    n_held_out = sum(len(split.held_out) for split in splits)
    shots = HeldOutShots(
        splits,
        torch.as_tensor(X),
        [torch.as_tensor(X[split.cached]) for split in splits],
        CacheValues(torch.as_tensor(y), 4),
        text_logits=None,
        shares=np.full(n_held_out, 1 / n_held_out),
        n_shots=n_held_out,
        **parameters,
    )
    return next(shots.votes(np.array([beta])))


def plain_votes(X, y, query, cached, beta):
    affinities = np.exp(-beta * (1 - X[cached] @ X[query]))
    return np.bincount(y[cached], affinities, minlength=4)


@pytest.mark.parametrize("beta", [0.0, 5.5])
def test_votes_of_folds(shots, beta):
    X, y, _ = shots
    splits = [Split(np.arange(4, 14), np.array([3, 1])), Split(np.arange(5), np.array([5]))]
    found = votes_of(splits, X, y, beta, balanced=False)
    pairs = [(query, split.cached) for split in splits for query in split.held_out]
    expected = [plain_votes(X, y, query, cached, beta) for query, cached in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_one_by_one_is_the_mean_of_all_pairings(shots):
    """A shot hidden from itself: its class is scaled to its full number of shots."""
    X, y, _ = shots
    rows, counts = np.arange(14), np.bincount(y)
    found = votes_of([Split(rows, rows)], X, y, 3.0, balanced=True, numbers=torch.arange(14))
    for query in range(14):
        expected = plain_votes(X, y, query, np.delete(rows, query), 3.0)
        expected[y[query]] *= counts[y[query]] / (counts[y[query]] - 1)
        np.testing.assert_allclose(found[query], expected, atol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_accuracy_is_a_step_function_of_alpha(seed):
    rng = np.random.default_rng(seed)
    z, c = rng.normal(size=(2, 40, 5)).round(1)
    target = rng.integers(5, size=40)
    weights = rng.dirichlet(np.ones(40))
    points, accuracies = accuracy_steps(z, c, target, weights)
    assert points[0] == 0
    assert (np.diff(points) > 0).all()
    for alpha in np.linspace(0.0003, 40, 4001):
        logits = z + alpha * c
        others = np.where(np.arange(5) == target[:, None], -np.inf, logits).max(axis=1)
        right = logits[np.arange(40), target] > others
        step = np.searchsorted(points, alpha, side="right") - 1
        if abs(points - alpha).min() > 1e-9:
            assert accuracies[step] == pytest.approx((weights * right).sum(), abs=1e-9)
