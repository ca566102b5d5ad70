"""Splits of a user's own: positions, masks, and what cannot be used."""

import numpy as np
import pytest

from sktip import TipAdapterClassifierCV

Y = np.repeat([0, 1, 2], 4)
FOLDS = [
    (np.flatnonzero(np.arange(12) % 4 != k), np.flatnonzero(np.arange(12) % 4 == k))
    for k in range(4)
]


def masks(rows):
    return np.isin(np.arange(12), rows)


@pytest.mark.parametrize(
    ("form", "scoring", "fine_tune"),
    [
        (masks, None, False),
        (lambda rows: masks(rows).tolist(), "accuracy", True),
        (list, "balanced_accuracy", False),
        (lambda rows: rows - 12, None, True),
    ],
    ids=["mask", "list of booleans", "list", "negative"],
)
def test_masks_and_positions_are_the_same(features, form, scoring, fine_tune):
    X, y, W = features((4, 4, 4))
    cv = [(form(train), form(test)) for train, test in FOLDS]
    parameters = {
        "scoring": scoring,
        "betas": [2.0, 5.5],
        "fine_tune": fine_tune,
        "n_epochs": 1,
        "random_state": 0,
    }
    clf = TipAdapterClassifierCV(text_features=W, cv=cv, **parameters).fit(X, y)
    expected = TipAdapterClassifierCV(text_features=W, cv=FOLDS, **parameters).fit(X, y)
    np.testing.assert_array_equal(clf.scores_, expected.scores_)
    assert (clf.alpha_, clf.beta_) == (expected.alpha_, expected.beta_)


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([FOLDS[0], (FOLDS[1][0], [])], "test part of split 1 is empty"),
        ([(FOLDS[1][0], np.zeros(12, bool))], "test part of split 0 is empty"),
        ([([], FOLDS[1][0])], "train part of split 0 is empty"),
        ([(FOLDS[0][0], [12])], "test part of split 0 does not index 12 shots"),
        ([(FOLDS[0][0], np.ones(5, bool))], "test part of split 0 does not index 12 shots"),
        ([(FOLDS[0][0], [0.5])], "test part of split 0 does not index 12 shots"),
        ([], "cv has no splits"),
    ],
)
def test_what_cannot_be_used(features, cv, message):
    X, _, W = features((4, 4, 4))
    clf = TipAdapterClassifierCV(text_features=W, cv=cv)
    with pytest.raises(ValueError, match=message):
        clf.fit(X, Y)
    assert not hasattr(clf, "classes_")
