"""Few-shot splits."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate, learning_curve

from sktip import TipAdapterClassifier
from sktip.model_selection import FewShotSplit

Y = np.repeat(["a", "b", "c"], [4, 9, 6])


def test_every_class_gives_its_shots_and_the_rest_tests():
    splits = list(FewShotSplit(3, n_splits=4, random_state=0).split(Y, Y))
    assert len(splits) == FewShotSplit(3, n_splits=4).get_n_splits(Y, Y) == 4
    for train, test in splits:
        assert np.unique(Y[train], return_counts=True)[1].tolist() == [3, 3, 3]
        np.testing.assert_array_equal(np.sort([*train, *test]), np.arange(len(Y)))
    assert len({tuple(train) for train, _ in splits}) == 4


def test_a_prefix_is_the_split_of_fewer_shots():
    for k in (1, 2, 3):
        for (long, _), (short, _) in zip(
            FewShotSplit(4, random_state=7).split(Y, Y),
            FewShotSplit(k, random_state=7).split(Y, Y),
            strict=True,
        ):
            np.testing.assert_array_equal(long[: 3 * k], short)


def test_reproducible_and_seeded():
    def first(seed):
        return next(FewShotSplit(2, random_state=seed).split(Y, Y))[0]

    np.testing.assert_array_equal(first(0), first(0))
    assert any((first(0) != first(seed)).any() for seed in range(1, 4))


@pytest.mark.parametrize(("test_size", "n"), [(None, 13), (5, 5), (100, 13), (0.5, 6)])
def test_size_of_the_test_set(test_size, n):
    train, test = next(FewShotSplit(2, test_size=test_size, random_state=0).split(Y, Y))
    assert len(test) == n
    assert not set(train) & set(test)


def test_inside_scikit_learn(features):
    X, y, W = features((12, 9, 15))
    clf = TipAdapterClassifier(text_features=W)
    cv = FewShotSplit(4, n_splits=2, random_state=0)
    assert len(cross_validate(clf, X, y, cv=cv)["test_score"]) == 2
    search = GridSearchCV(clf, {"alpha": [0.0, 1.0]}, cv=cv).fit(X, y)
    assert search.n_splits_ == 2
    sizes, _, scores = learning_curve(clf, X, y, cv=cv, train_sizes=[3, 6, 12])
    assert sizes.tolist() == [3, 6, 12]
    train, test = next(cv.split(X, y))
    expected = clone(clf).fit(X[train[:6]], y[train[:6]]).score(X[test], y[test])
    assert scores[1, 0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_shots": 5}, r"1 classes have fewer samples: 'a' \(4\)"),
        ({"n_shots": 7}, r"2 classes have fewer samples: 'a' \(4\), 'c' \(6\)"),
        ({"n_shots": 0}, "'n_shots' parameter of FewShotSplit"),
        ({"n_splits": 0}, "'n_splits' parameter"),
        ({"n_shots": 2, "test_size": 1.5}, "'test_size' parameter"),
        ({"n_shots": 2, "test_size": 0}, "'test_size' parameter"),
    ],
)
def test_impossible_splits(parameters, message):
    with pytest.raises(ValueError, match=message):
        next(FewShotSplit(**parameters).split(Y, Y))


def test_nothing_left_to_test():
    with pytest.raises(ValueError, match="none remains for testing"):
        next(FewShotSplit(2).split(["a", "b"] * 2, ["a", "b"] * 2))
    with pytest.raises(ValueError, match="needs y"):
        next(FewShotSplit(2).split(Y, None))
