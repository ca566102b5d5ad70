"""Imbalanced classes: weights of classes and of shots, and groups of shots."""

from contextlib import nullcontext
from itertools import product

import numpy as np
import pandas as pd
import pytest
from classifiers import CLASSIFIERS, make
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from sktip import (
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    TipAdapterClassifierCV,
)

WEIGHING = [
    TipAdapterClassifier(),
    TipAdapterClassifier(fine_tune=True, n_epochs=2, random_state=0),
    TipAdapterClassifierCV(),
    ProKeRClassifier(),
    FewShotClassifier(),
]
every = pytest.mark.parametrize(
    "clf", WEIGHING, ids=lambda clf: repr(clf).replace("Classifier", "")
)
WEIGHTED = [
    name for name, (cls, _) in CLASSIFIERS.items() if has_fit_parameter(cls, "sample_weight")
]
CHOOSING = {
    TipAdapterClassifierCV: "alpha_",
    GDAClassifier: "alpha_",
    ProKeRClassifier: "gamma_",
    FewShotClassifier: "means_weight_",
}
choosing = pytest.mark.parametrize("cls", CHOOSING)


@pytest.fixture
def unbalanced(features):
    X, y, W = features((2, 9, 4))
    return X, y, W


@every
def test_a_dict_multiplies_the_weights_of_the_shots(clf, unbalanced):
    if isinstance(clf, FewShotClassifier):
        pytest.skip("the weights of shots say how those of one class compare")
    X, y, W = unbalanced
    given = np.linspace(0.5, 2, len(X))
    clf = clone(clf).set_params(text_features=W)
    weighted = clone(clf).set_params(class_weight={0: 3.0, 1: 0.5}).fit(X, y, sample_weight=given)
    plain = clone(clf).fit(X, y, sample_weight=given * np.array([3.0, 0.5, 1.0])[y])
    np.testing.assert_allclose(weighted.decision_function(X), plain.decision_function(X), rtol=1e-6)


def test_balanced_is_the_inverse_of_the_counts(unbalanced):
    X, y, W = unbalanced
    clf = TipAdapterClassifier(text_features=W)
    balanced = clone(clf).set_params(class_weight="balanced").fit(X, y)
    counts = np.bincount(y)
    own = dict(enumerate(len(y) / (3 * counts)))
    by_hand = clone(clf).set_params(class_weight=own).fit(X, y)
    np.testing.assert_allclose(balanced.decision_function(X), by_hand.decision_function(X))
    assert not np.allclose(balanced.decision_function(X), clf.fit(X, y).decision_function(X))


def test_balanced_helps_the_rare(features):
    """A cache predicts the class that outnumbers the others."""
    X, y, W = features((1, 60, 1), d=32)
    Q, qy, _ = features((20, 20, 20), d=32)
    clf = TipAdapterClassifier(alpha=5.0, text_features=W, logit_scale=2.0)
    plain = clf.fit(X, y).score(Q, qy)
    assert clf.set_params(class_weight="balanced").fit(X, y).score(Q, qy) > plain + 0.1


@every
def test_weights_of_what_is_no_class(clf, unbalanced):
    """As in scikit-learn, more keys than classes are fine if every class has a weight."""
    X, y, W = unbalanced
    labels = np.array(["bee", "cat", "dog"])[y]
    clf = clone(clf).set_params(text_features=W, class_weight={"bee": 2.0, "dgo": 3.0})
    with pytest.raises(ValueError, match="'dog'.* not in class_weight"):
        clf.fit(X, labels)
    some = clf.set_params(class_weight={"cat": 2.0}).fit(X, labels).predict_proba(X)
    more = {"bee": 1, "cat": 2.0, "dog": 1, "owl": 5}
    np.testing.assert_array_equal(
        clf.set_params(class_weight=more).fit(X, labels).predict_proba(X), some
    )


def test_partial_fit_takes_a_dict(unbalanced):
    X, y, W = unbalanced
    clf = TipAdapterClassifier(text_features=W, class_weight={1: 0.25})
    whole = clone(clf).fit(X, y)
    part = clone(clf).fit(X[:8], y[:8]).partial_fit(X[8:], y[8:])
    np.testing.assert_allclose(part.decision_function(X), whole.decision_function(X), rtol=1e-9)


def test_partial_fit_cannot_stay_balanced(unbalanced):
    X, y, W = unbalanced
    clf = TipAdapterClassifier(text_features=W, class_weight="balanced").fit(X, y)
    with pytest.raises(
        ValueError, match=r"partial_fit does not support class_weight='balanced'.*dict"
    ):
        clf.partial_fit(X, y)


@pytest.mark.parametrize("cls", [TipAdapterClassifierCV, ProKeRClassifier])
def test_a_weight_of_two_is_the_shot_given_twice(cls, unbalanced):
    X, y, W = unbalanced
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    weights[:3] = 2, 1, 1
    twice = np.random.default_rng(1).permutation(np.repeat(np.arange(len(X)), weights))
    weighted = cls(text_features=W).fit(X, y, sample_weight=weights)
    repeated = cls(text_features=W).fit(X[twice], y[twice])
    np.testing.assert_allclose(
        weighted.decision_function(X), repeated.decision_function(X), rtol=1e-6
    )


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_any_size_end_in_answers_or_an_error(unbalanced, name):
    X, y, W = unbalanced
    sizes = (1e-300, 1e-30, 1e30, 1e300, np.inf, np.nan)
    # All shots, one shot, and one class.
    for rows, (i, size) in product((slice(None), 3, y == 1), enumerate(sizes)):
        dtype = (np.float64, np.float32)[i % 2]
        weights = np.ones(len(y))
        weights[rows] = size
        clf = make(name, text_features=W.astype(dtype))
        refused = pytest.raises(ValueError, match="sample_weight")
        # Tiny weights of some shots are no more than that.
        with refused if not 1e-12 < weights.sum() < 1e12 else nullcontext():
            clf.fit(X.astype(dtype), y, sample_weight=weights)
            assert np.isfinite(clf.predict_proba(X.astype(dtype))).all()


@choosing
def test_frames_of_one_video_are_held_out_together(cls, features):
    """Held out alone, a frame finds its neighbour, and the shots seem to know more than they do."""
    X, y, W = features((3,) * 6, d=32)
    rng = np.random.default_rng(0)
    X, y, groups = X.repeat(4, axis=0), y.repeat(4), np.arange(len(X)).repeat(4)
    X = X + 0.1 * rng.normal(size=X.shape)
    W = W + 0.4 * rng.normal(size=W.shape)
    name = CHOOSING[cls]
    alone = cls(text_features=W, logit_scale=20).fit(X, y)
    together = cls(text_features=W, logit_scale=20).fit(X, y, groups=groups)
    assert getattr(together, name) != getattr(alone, name)
    if cls is not TipAdapterClassifierCV:
        return
    # The best score is that of queries whose video is not in the cache.
    by_group = groups.astype(str)
    named = cls(text_features=W, logit_scale=20).fit(X, y, groups=by_group)
    assert named.alpha_ == pytest.approx(together.alpha_)
    assert together.best_score_ < alone.best_score_


@choosing
def test_groups_are_as_many_as_the_shots(cls, unbalanced):
    X, y, W = unbalanced
    with pytest.raises(ValueError, match="groups has the length 3, expected 15"):
        cls(text_features=W).fit(X, y, groups=[1, 2, 3])


@choosing
@pytest.mark.parametrize(
    "groups",
    [
        ["video"] * 13 + [None, "video"],
        [3] * 13 + [np.nan, 3],
        np.array(["video"] * 13 + [np.nan, "video"], object),
        pd.Series([3] * 13 + [None, 3]),
    ],
    ids=["list of text", "list", "array of objects", "column"],
)
def test_groups_have_no_missing_values(cls, unbalanced, groups):
    X, y, W = unbalanced
    with pytest.raises(ValueError, match="groups contains NaN or None: .* at index 13"):
        cls(text_features=W).fit(X, y, groups=groups)


@pytest.mark.parametrize("cls", [GDAClassifier, FewShotClassifier])
def test_groups_are_kept_for_more_shots(cls, unbalanced):
    X, y, W = unbalanced
    groups = np.arange(len(X)) // 2
    weights = np.append(0, np.ones(len(X) - 1))
    clf = cls(text_features=W)
    whole = clone(clf).fit(X, y, groups=groups, sample_weight=weights)
    part = clone(clf).fit(X[:8], y[:8], groups=groups[:8], sample_weight=weights[:8])
    part.partial_fit(X[8:], y[8:], groups=groups[8:])
    np.testing.assert_array_equal(part.shot_groups_, groups[1:])
    assert getattr(part, CHOOSING[cls]) == pytest.approx(getattr(whole, CHOOSING[cls]))
    with pytest.raises(ValueError, match="groups must be given for all shots or for none"):
        part.partial_fit(X[:2], y[:2])


@pytest.mark.parametrize("seed", [0, 1])
def test_groups_make_honest_probabilities_of_many_frames(seed):
    """Twelve shots per class that are frames of three videos know what three shots know."""
    rng = np.random.default_rng(seed)
    truth, offset = rng.normal(size=(6, 32)), 2 * rng.normal(size=32)
    W = 2 + truth + rng.normal(size=truth.shape)
    y, qy = np.tile(np.arange(6), 3), rng.integers(6, size=300)
    X, Q = (offset + truth[of] + 2.5 * rng.normal(size=(len(of), 32)) for of in (y, qy))
    # More noise than copies have, which are found without groups.
    frames = X.repeat(4, axis=0) + 1.2 * rng.normal(size=(4 * len(X), 32))
    losses, confidences = [], []
    for groups in (None, np.arange(len(X)).repeat(4)):
        clf = FewShotClassifier(text_features=W, logit_scale=20)
        proba = clf.fit(frames, y.repeat(4), groups=groups).predict_proba(Q)
        losses.append(-np.log(proba[np.arange(len(Q)), qy]).mean())
        confidences.append(proba.max(axis=1).mean() - clf.score(Q, qy))
    assert losses[1] < losses[0] / 1.5
    assert abs(confidences[1]) < confidences[0] / 2


def test_groups_without_shots(unbalanced):
    _, _, W = unbalanced
    with pytest.raises(ValueError, match="no shots for groups"):
        FewShotClassifier(text_features=W).fit(groups=[1, 2])


def test_a_splitter_gets_the_groups(unbalanced):
    from sklearn.model_selection import GroupKFold

    X, y, W = unbalanced
    clf = TipAdapterClassifierCV(text_features=W, cv=GroupKFold(3))
    assert clf.fit(X, y, groups=np.arange(len(X)) // 2).alpha_ >= 0
