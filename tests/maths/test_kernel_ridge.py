"""Kernel ridge regression: predictions for held-out shots, and the published values."""

import numpy as np
import pytest
import torch
from formulas import BETA, LAMBDA, plain_correction

from sktip._maths.kernel_ridge import (
    dual_coefficients,
    held_out_predictions,
    published_values,
    residual_targets,
    ridge_factor,
)


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
    [(1, 3, 0.05), (16, 1.7, 0.1), (8, 1.66, 0.07), (100, 1.7, 0.1), (2**1.5, 2.05, 0.05)],
)
def test_published_values_are_interpolated(n_shots, beta, lam):
    assert published_values(n_shots) == pytest.approx((beta, lam), rel=1e-3)
