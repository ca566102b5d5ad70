"""Folds of shots, and how much each shot counts."""

import numpy as np
import pytest

from sktip._maths.selection.folds import (
    balanced_folds,
    class_balanced_weights,
    fold_balanced_weights,
    fold_numbers,
    positions_in_class,
)

CODES = np.array([2, 0, 2, 1, 2, 0, 4, 2])


def test_positions_follow_the_order_given():
    np.testing.assert_array_equal(positions_in_class(CODES), [0, 0, 1, 0, 2, 1, 0, 3])
    assert len(positions_in_class(CODES[:0])) == 0


def test_positions_by_keys_do_not_hang_on_the_order_and_equal_shots_share_one():
    keys = np.array([0.3, 0.5, 0.1, 0.2, 0.3, 0.4, 0.9, 0.7])
    expected = np.array([1, 1, 0, 0, 1, 0, 0, 2])
    order = np.random.default_rng(0).permutation(len(CODES))
    np.testing.assert_array_equal(positions_in_class(CODES, keys), expected)
    np.testing.assert_array_equal(positions_in_class(CODES[order], keys[order]), expected[order])


@pytest.mark.parametrize("n_folds", [None, 2])
def test_each_shot_is_held_out_once_and_no_class_is_a_shot_short(n_folds):
    folds = balanced_folds(CODES, n_folds)
    held_out = np.concatenate([fold.held_out for fold in folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(len(CODES)))
    for fold in folds:
        only = np.isin(CODES, [1, 4])
        both = np.intersect1d(fold.held_out, fold.cached)
        assert only[both].all()
        assert set(np.flatnonzero(only)) <= set(fold.cached)
        if n_folds is None:
            assert np.bincount(CODES[fold.held_out]).max() == 1


def test_only_shots_are_in_no_fold():
    np.testing.assert_array_equal(fold_numbers(CODES) == -1, np.isin(CODES, [1, 4]))
    assert fold_numbers(CODES, 2).max() == 1


def test_weights_that_balance_classes():
    weights = class_balanced_weights(CODES)
    np.testing.assert_allclose(np.bincount(CODES, weights), [0.25, 0.25, 0.25, 0, 0.25])
    twice = class_balanced_weights(CODES, np.where(CODES == 2, 2.0, 1.0))
    np.testing.assert_allclose(np.bincount(CODES, twice), [0.2, 0.2, 0.4, 0, 0.2])


def test_weights_that_balance_folds():
    np.testing.assert_allclose(fold_balanced_weights([1, 3]), [1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_groups_are_never_on_both_sides():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    codes = rng.integers(5, size=30)[groups]
    mixed = rng.random(len(codes)) < 0.2
    codes[mixed] = rng.integers(5, size=mixed.sum())
    numbers = fold_numbers(codes, groups=groups)
    for group in np.unique(groups):
        assert len(np.unique(numbers[groups == group])) == 1
    for number in range(numbers.max() + 1):
        held_out = numbers == number
        # No class loses more than one group, and none is lost.
        pairs = np.unique(np.stack([codes, groups])[:, held_out], axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]
        assert set(codes[~held_out]) == set(codes)


def test_the_only_group_of_a_class_stays():
    codes, groups = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 2])
    np.testing.assert_array_equal(fold_numbers(codes, groups=groups), [-1, -1, 0, 1, 1])
    # Without group 0, class 2 would have no shot, so that its shot of class 1 stays too.
    codes, groups = np.array([2, 1, 1, 1]), np.array([0, 0, 1, 2])
    np.testing.assert_array_equal(fold_numbers(codes, groups=groups), [-1, -1, 1, 2])
