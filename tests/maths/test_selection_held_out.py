"""Votes for held-out shots compared with a plain loop, and the values chosen by them."""

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad
from scipy.special import log_softmax

from sktip._maths.selection.alpha_beta import best_values, most_probable_values, papers_values
from sktip._maths.selection.folds import Fold, balanced_folds, class_balanced_weights, one_by_one
from sktip._maths.selection.held_out import HeldOutVotes

SCALE, BETAS = 12.0, np.array([1.0, 5.5, 20.0])


def votes_of(folds, X, y, W, *, balanced):
    weights = class_balanced_weights(y[np.concatenate([fold.held_out for fold in folds])])
    keys = torch.as_tensor(X)
    return HeldOutVotes(
        folds,
        keys,
        [keys[fold.cached] for fold in folds],
        torch.as_tensor(y),
        text=None if W is None else torch.as_tensor(W),
        weights=weights,
        logit_scale=SCALE,
        n_classes=4,
        balanced=balanced,
    )


def plain_votes(X, y, query, cached, beta):
    affinities = np.exp(-beta * (1 - X[cached] @ X[query]))
    return np.bincount(y[cached], affinities, minlength=4)


@pytest.mark.parametrize("beta", [0.0, 5.5])
def test_votes_of_folds(shots, beta):
    X, y, W = shots
    folds = [Fold(np.array([3, 1]), np.arange(4, 14)), Fold(np.array([5]), np.arange(5))]
    found = votes_of(folds, X, y, W, balanced=False).at(beta).numpy()
    pairs = [(query, fold.cached) for fold in folds for query in fold.held_out]
    expected = np.stack([plain_votes(X, y, query, cached, beta) for query, cached in pairs], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_one_by_one_is_the_mean_of_all_pairings(shots):
    """A shot hidden from itself: its class is scaled to its full number of shots."""
    X, y, W = shots
    found = votes_of(one_by_one(14), X, y, W, balanced=True).at(3.0).numpy()
    counts = np.bincount(y)
    for query in range(14):
        expected = plain_votes(X, y, query, np.delete(np.arange(14), query), 3.0)
        expected[y[query]] *= counts[y[query]] / (counts[y[query]] - 1)
        np.testing.assert_allclose(found[:, query], expected, atol=1e-12)


def test_log_loss_and_its_slopes(shots):
    X, y, W = shots
    held_out = votes_of(balanced_folds(y), X, y, W, balanced=True)
    votes, own = held_out.at(5.5), held_out.shots
    logits = SCALE * (X @ W.T).T[:, np.concatenate([f.held_out for f in balanced_folds(y)])]
    losses = -log_softmax(logits + 2 * votes.numpy(), axis=0)
    expected = losses[own.codes.numpy(), np.arange(14)] @ own.weights.numpy()
    assert own.log_loss(votes, 2.0)[0] == pytest.approx(expected)
    for order in (0, 1):
        error = check_grad(
            lambda a, k=order: own.log_loss(votes, float(a[0]))[k],
            lambda a, k=order: np.array([own.log_loss(votes, float(a[0]))[k + 1]]),
            [2.0],
        )
        assert error < 1e-5


@pytest.mark.parametrize("alphas", [None, np.array([0.5, 2.0])])
@pytest.mark.parametrize("prior", ["text", "no text"])
def test_logits_are_those_that_were_scored(shots, prior, alphas):
    X, y, W = shots
    held_out = votes_of(one_by_one(14), X, y, W if prior == "text" else None, balanced=True)
    chosen = most_probable_values(held_out, alphas=alphas, betas=BETAS, spread=1.5)
    losses = -log_softmax(chosen.logits, axis=1)[np.arange(14), y]
    assert chosen.score == pytest.approx(-losses @ held_out.shots.weights.numpy(), abs=1e-6)
    assert chosen.score in chosen.scores

    seen = []
    scored = best_values(held_out, lambda z: seen.append(z) or z.std(), alphas=alphas, betas=BETAS)
    assert scored.score == scored.logits.std() == max(z.std() for z in seen)


def test_nothing_held_out():
    chosen = papers_values(np.array([0.1, 0.8, 9.0]), BETAS)
    assert (chosen.alpha, chosen.beta) == (0.8, 5.5)
    assert chosen.scores.shape == (3, 3)
    assert chosen.logits is None
