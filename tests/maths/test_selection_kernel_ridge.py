"""The values of a kernel ridge regression, chosen on held-out shots."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from formulas import BETA, LAMBDA, plain_correction

from sktip._maths.kernel_ridge import residual_targets
from sktip._maths.selection.beliefs import published_ridge
from sktip._maths.selection.folds import fold_numbers
from sktip._maths.selection.kernel_ridge import chosen_values, held_out_predictions


def test_held_out_shots_in_closed_form(features):
    X, y, W = features((3, 3, 4))
    folds = [np.array([0, 4, 7]), np.array([2, 3]), np.array([9])]
    keys, codes, text = (torch.as_tensor(array) for array in (X, y, W))
    targets = residual_targets(keys, codes, text, 3)
    rows = [torch.as_tensor(fold) for fold in folds]
    found = held_out_predictions(keys, targets, rows, BETA, LAMBDA)
    for fold, predictions in zip(folds, found.split([3, 2, 1]), strict=True):
        kept = np.setdiff1d(np.arange(len(X)), fold)
        refitted = plain_correction(X[fold], X[kept], y[kept], W, 3)
        np.testing.assert_allclose(predictions.numpy(), refitted, atol=1e-9)


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
    chosen = chosen_values(
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
