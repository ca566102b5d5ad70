"""Rows that are near copies of each other."""

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from sktip._maths.copies import distance_of_copies, in_order, near_groups


def rows_of(n, width, seed=0):
    """Random unit rows whose columns have less and less variance, as features have."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, width)) * np.arange(1, width + 1) ** -0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def noisy(rows, share, seed=1):
    """Copies at a squared distance of `share`."""
    noise = np.random.default_rng(seed).normal(size=rows.shape)
    return rows + np.sqrt(share) * noise / np.linalg.norm(noise, axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "width"), [(1, 5), (60, 20), (2600, 30), (2600, 100)])
def test_groups_are_those_of_all_pairs(n, width):
    rows = np.vstack([rows_of(n, width), noisy(rows_of(n, width)[: n // 2], 0.03)])
    rows = np.vstack([rows, rows[:1]]).astype(np.float32)
    distances = ((rows**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1)) - 2 * rows @ rows.T
    expected = connected_components(distances <= 0.04)[1]
    np.testing.assert_array_equal(near_groups(rows, 0.04), expected)


def test_thousands_of_copies_of_one_row_are_one_group():
    rows = np.vstack([rows_of(500, 128), noisy(np.repeat(rows_of(1, 128, seed=5), 4000, 0), 0.01)])
    groups = near_groups(rows.astype(np.float32), 0.04)
    np.testing.assert_array_equal(groups, np.minimum(np.arange(4500), 500))


def test_groups_do_not_depend_on_the_order():
    rows = np.vstack([rows_of(1500, 64), noisy(rows_of(1500, 64), 0.03)]).astype(np.float32)
    order = np.random.default_rng(3).permutation(len(rows))
    limit = distance_of_copies(rows)
    assert distance_of_copies(rows[order]) == pytest.approx(limit, rel=1e-5)
    expected = in_order(near_groups(rows, limit)[order])
    np.testing.assert_array_equal(near_groups(rows[order], limit), expected)


@pytest.mark.parametrize("n_copies", [0, 1, 4, 200])
def test_the_chosen_distance_lies_between_copies_and_other_rows(n_copies):
    rows, one = rows_of(300, 256), rows_of(1, 256, seed=9)
    copies = [noisy(rows if n_copies < 9 else one, 0.02, seed) for seed in range(n_copies)]
    limit = distance_of_copies(np.vstack([rows, *copies]).astype(np.float32))
    assert 0.02 < limit < 0.3
