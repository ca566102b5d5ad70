"""The values of a kernel ridge regression, chosen on held-out shots."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from formulas import BETA, LAMBDA, plain_correction

from sktip._maths.kernel_ridge import dual_coefficients, residual_targets, ridge_factor
from sktip._maths.selection import kernel_ridge
from sktip._maths.selection.beliefs import published_ridge
from sktip._maths.selection.folds import fold_numbers
from sktip._maths.selection.kernel_ridge import fit_ridge, held_out_predictions


def solved_with_last_rows_held_out(X, y, W, sizes, weights=None):
    """Predictions for folds of these sizes at the end of the rows."""
    keys, codes, text = (torch.as_tensor(array) for array in (X, y, W))
    weights = None if weights is None else torch.as_tensor(weights)
    factor = ridge_factor(keys, BETA, LAMBDA, weights)
    duals = dual_coefficients(factor, keys, codes, text, len(W))
    first = len(X) - sum(sizes)
    targets = residual_targets(keys, codes, text, slice(0, len(W)))
    return held_out_predictions(factor[first:, first:], targets[first:], duals[first:], sizes)


@pytest.mark.parametrize("sizes", [[3, 2, 1], [4], [5, 5]])
def test_held_out_shots_in_closed_form(features, sizes):
    X, y, W = features((3, 3, 4))
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    found = solved_with_last_rows_held_out(X, y, W, sizes)
    stop = len(X) - sum(sizes)
    for predictions in found.split(sizes):
        fold = np.arange(stop, stop + len(predictions))
        stop += len(predictions)
        kept = np.setdiff1d(np.arange(len(X)), fold)
        refitted = plain_correction(X[fold], X[kept], y[kept], W, 3)
        np.testing.assert_allclose(predictions.numpy(), refitted, atol=1e-9)


def test_a_weight_of_two_is_the_shot_given_twice(features):
    X, y, W = features((3, 3, 4))
    weights = np.array([2.0, 1, 1, 2, 1, 2, 1, 1, 1, 1])
    twice = np.repeat(np.arange(len(X)), weights.astype(int))
    weighted = solved_with_last_rows_held_out(X, y, W, [2], weights)
    repeated = solved_with_last_rows_held_out(X[twice], y[twice], W, [2])
    np.testing.assert_allclose(weighted.numpy(), repeated.numpy(), atol=1e-9)


@pytest.mark.parametrize(
    ("n_shots", "beta", "lam"),
    [(1, 3, 0.05), (16, 1.7, 0.1), (8, 1.66, 0.07), (100, 1.7, 0.1), (2**1.5, 1.975, 0.05)],
)
def test_published_values_are_interpolated(n_shots, beta, lam):
    assert published_ridge(n_shots) == pytest.approx((beta, lam), rel=1e-3)


@pytest.mark.parametrize("n_views", [1, 3])
def test_logits_are_those_of_all_views_held_out_at_the_values_chosen(features, n_views):
    X, y, W = features((3, 1, 4))
    rng = np.random.default_rng(0)
    views = (X[:, None] + 0.1 * rng.normal(size=(len(X), n_views, 8))).reshape(-1, 8)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    tried = []
    chosen = fit_ridge(
        torch.as_tensor(views),
        y,
        torch.as_tensor(W),
        n_views=n_views,
        n_classes=3,
        logit_scale=20.0,
        beta=None,
        lam=None,
        gamma=0.2,
        progress=lambda: nullcontext(lambda beta, lam: tried.append((beta, lam))),
    )
    assert (chosen.beta, chosen.lam) in tried
    assert chosen.gamma == 0.2
    numbers, codes, start = fold_numbers(y).repeat(n_views), y.repeat(n_views), 0
    for number in range(numbers.max() + 1):
        rows, kept = np.flatnonzero(numbers == number), np.flatnonzero(numbers != number)
        correction = plain_correction(
            views[rows], views[kept], codes[kept], W, 3, beta=chosen.beta, lam=chosen.lam
        )
        found = chosen.logits[start : start + len(rows)].numpy()
        np.testing.assert_allclose(found, views[rows] @ W.T + 0.2 * correction, atol=1e-9)
        start += len(rows)
    assert start == len(chosen.logits)


def test_of_many_rows_some_folds_are_held_out(features, monkeypatch):
    X, y, W = features((6,) * 5)
    monkeypatch.setattr(kernel_ridge, "ALL_HELD_OUT", 20)
    monkeypatch.setattr(kernel_ridge, "SEARCHED_ROWS", 20)
    monkeypatch.setattr(kernel_ridge, "HELD_OUT_ROWS", 12)
    given = {"n_views": 1, "n_classes": 5, "logit_scale": 20.0, "beta": None, "gamma": None}
    tensors = torch.as_tensor(X), y, torch.as_tensor(W)
    chosen = fit_ridge(*tensors, **given, lam=None, progress=nullcontext)
    assert chosen.lam == 0.05
    assert chosen.beta == pytest.approx(published_ridge(6)[0])
    numbers = fold_numbers(y)
    for number, found in enumerate(chosen.logits.numpy().reshape(2, 5, 5)):
        rows, kept = np.flatnonzero(numbers == number), np.flatnonzero(numbers != number)
        correction = plain_correction(
            X[rows], X[kept], y[kept], W, 5, beta=chosen.beta, lam=chosen.lam
        )
        np.testing.assert_allclose(found, X[rows] @ W.T + chosen.gamma * correction, atol=1e-9)
    expected = np.linalg.solve(
        np.exp(-chosen.beta * (1 - X @ X.T)) + chosen.lam * np.eye(len(X)), np.eye(5)[y] - X @ W.T
    )
    np.testing.assert_allclose(chosen.duals.numpy(), expected, atol=1e-9)
