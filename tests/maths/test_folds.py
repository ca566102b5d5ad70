"""Which shots are held out together."""

import numpy as np
import pytest

from sktip._maths.folds import (
    balanced_folds,
    class_balanced_weights,
    held_out_folds,
    scored_folds,
)

N_CLASSES, WIDTH = 6, 64


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def shots_of(n_shots, n_classes=N_CLASSES, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.tile(np.arange(n_classes), n_shots)
    return unit(1 + rng.normal(size=(len(codes), WIDTH))), codes


def test_folds_hold_one_shot_of_every_class_whatever_the_order():
    shots, codes = shots_of(5)
    folds = balanced_folds(shots, codes)
    for fold in range(5):
        assert sorted(codes[folds == fold]) == list(range(N_CLASSES))
    order = np.random.default_rng(1).permutation(len(shots))
    np.testing.assert_array_equal(balanced_folds(shots[order], codes[order]), folds[order])


def test_uneven_classes_fill_the_first_folds():
    shots, codes = shots_of(5)
    kept = (codes > 0) | (np.arange(len(codes)) == 0)
    folds = balanced_folds(shots[kept], codes[kept])
    np.testing.assert_array_equal(np.bincount(folds), [6, 5, 5, 5, 5])
    np.testing.assert_array_equal(balanced_folds(shots[kept], codes[kept], max_folds=2), folds % 2)


@pytest.mark.parametrize("noise", [0, 1e-6, 0.1])
def test_copies_share_a_fold(noise):
    shots, codes = shots_of(3)
    copies = unit(shots + noise * unit(np.random.default_rng(1).normal(size=shots.shape)))
    folds = balanced_folds(np.vstack([shots, copies]), np.append(codes, codes))
    np.testing.assert_array_equal(folds[: len(shots)], folds[len(shots) :])
    assert folds.max() == 2


def test_a_weight_deals_like_a_repeated_shot():
    shots, codes = shots_of(4)
    weights = np.random.default_rng(1).integers(1, 4, size=len(codes))
    rows = np.repeat(np.arange(len(codes)), weights)
    repeated = balanced_folds(shots[rows], codes[rows])
    np.testing.assert_array_equal(repeated, balanced_folds(shots, codes, weights)[rows])


def test_rounding_hardly_changes_the_folds():
    shots, codes = shots_of(8, 200)
    moved = shots + 1e-6 * np.random.default_rng(1).normal(size=shots.shape)
    assert (balanced_folds(moved, codes) == balanced_folds(shots, codes)).mean() > 0.99


def test_shots_of_a_group_share_a_fold():
    shots, codes = shots_of(6)
    # Two shots of one class in each group, but for one that has shots of three classes.
    groups = np.arange(len(shots)) // (2 * N_CLASSES) * N_CLASSES + codes
    groups[:3] = 99
    # A copy joins the groups of both.
    shots[3 + 4 * N_CLASSES] = shots[3]
    folds = balanced_folds(shots, codes, groups=groups)
    for group in np.unique(groups):
        assert len(np.unique(folds[groups == group])) == 1
    assert np.unique(folds).tolist() == list(range(folds.max() + 1))
    assert len(np.unique(folds[codes == 3])) == 2
    for code in range(4, N_CLASSES):
        assert sorted(folds[codes == code]) == [0, 0, 1, 1, 2, 2]


def test_no_shots_have_no_folds():
    assert len(balanced_folds(np.zeros((0, WIDTH)), np.zeros(0, int))) == 0


def test_the_only_shot_of_a_class_is_never_held_out():
    shots, codes = shots_of(3)
    kept = (codes > 1) | (np.arange(len(codes)) < 2)
    shots, codes = shots[kept], codes[kept]
    # A copy is no second shot.
    shots, codes = np.vstack([shots, shots[:1]]), np.append(codes, codes[0])
    folds, numbers = held_out_folds(shots, codes)
    np.testing.assert_array_equal(folds == -1, codes < 2)
    assert numbers[0] == numbers[-1]
    assert len(np.unique(numbers)) == len(shots) - 1
    np.testing.assert_array_equal(folds[codes > 1], balanced_folds(shots, codes)[codes > 1])


def test_no_more_folds_are_held_out_than_enough():
    shots, codes = shots_of(5)
    everything, _ = held_out_folds(shots, codes)
    folds, _ = held_out_folds(shots, codes, enough=13)
    np.testing.assert_array_equal(folds, np.where(everything < 2, everything, -1))
    # One fold at least; and copies do not count.
    assert held_out_folds(shots, codes, enough=1)[0].max() == 0
    twice, _ = held_out_folds(shots.repeat(2, axis=0), codes.repeat(2), enough=13)
    np.testing.assert_array_equal(twice, folds.repeat(2))


def test_only_shots_are_scored_beside_classes_with_more():
    shots, codes = shots_of(3)
    only = (codes > 1) | (np.arange(len(codes)) < 2)
    folds = scored_folds(shots[only], codes[only], np.ones(only.sum()), max_folds=8)
    np.testing.assert_array_equal(folds, balanced_folds(shots[only], codes[only]))
    # With fewer tests than classes, nothing is held out.
    few = np.append(np.arange(N_CLASSES), N_CLASSES)
    assert (scored_folds(shots[few], codes[few], np.ones(len(few)), max_folds=8) == -1).all()


def test_scored_folds_have_enough_shots():
    shots, codes = shots_of(8, 100)
    folds = scored_folds(shots, codes, np.ones(len(codes)), max_folds=8)
    np.testing.assert_array_equal(np.bincount(folds + 1), [200] + 6 * [100])


def test_every_class_has_the_same_total_weight():
    codes = np.array([2, 0, 2, 1, 2, 0])
    even = class_balanced_weights(codes)
    np.testing.assert_allclose(np.bincount(codes, even), even.sum() / 3)
    assert class_balanced_weights(codes[1:4]).sum() == pytest.approx(3)
    weighted = class_balanced_weights(codes, np.array([1.0, 1, 2, 5, 1, 3]))
    np.testing.assert_allclose(np.bincount(codes, weighted), weighted.sum() / 3)
    assert weighted[2] == 2 * weighted[0]
