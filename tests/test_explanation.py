"""Why an answer: parts that add up to the logits, and shots that add up to a part, exactly."""

import numpy as np
import pytest
from sklearn.base import clone

from sktip import FewShotClassifier, GDAClassifier, ProKeRClassifier

SCALE = 30.0
PARTS = ("text", "means", "correction", "unlabeled")
EXPLAINING = [FewShotClassifier, GDAClassifier, ProKeRClassifier]
every = pytest.mark.parametrize("cls", EXPLAINING)


def check_sums(clf, Q, labels=None):
    """Compare parts and shots with the logits; return the explanation."""
    why = clf.explain(3 * Q, labels)
    total = sum(why[name] for name in PARTS)
    found = total if len(clf.classes_) > 2 else total[:, 1] - total[:, 0]
    np.testing.assert_allclose(found, clf.decision_function(Q), rtol=1e-9, atol=1e-9)
    traced = np.arange(len(Q)), np.searchsorted(clf.classes_, why.labels)
    one_by_one = (why.text + why.unlabeled)[traced] + why.prior + why.shots.sum(axis=1)
    np.testing.assert_allclose(one_by_one, total[traced], rtol=1e-9, atol=1e-9)
    return why


@every
@pytest.mark.parametrize("shots", [(3, 1, 4, 2, 5), (3, 5)])
def test_parts_add_up_to_the_logits(cls, features, shots):
    X, y, W = features(shots, d=16)
    Q = features((2,) * len(shots), d=16, seed=1)[0]
    weights = np.linspace(0, 2, len(y))
    clf = cls(text_features=W, logit_scale=SCALE).fit(X, y, sample_weight=weights)
    why = check_sums(clf, Q)
    np.testing.assert_array_equal(why.labels, clf.predict(Q))
    # The first shot weighs nothing, and is no shot.
    assert why.shots.shape == (len(Q), len(X) - 1)
    np.testing.assert_array_equal(why.shot_labels, y[1:])
    labels = np.arange(len(Q)) % len(shots)
    np.testing.assert_array_equal(check_sums(clf, Q, labels).labels, labels)


@every
def test_without_text(cls, features):
    X, y, _ = features((3, 2, 4), d=16)
    with pytest.warns(UserWarning, match="no text prior"):
        clf = cls().fit(X, y)
    np.testing.assert_allclose(clf.explain(X).text, 0, atol=1e-9)
    if cls is GDAClassifier:
        why = clf.set_params(alpha=1.0).fit(X, y).explain(X)
        np.testing.assert_allclose(why.means, clf.decision_function(X), rtol=1e-9)
        assert (why.shots, why.shot_labels, why.prior) == (None, None, None)
    else:
        check_sums(clf, X)


@pytest.mark.parametrize("cls", [FewShotClassifier, GDAClassifier])
def test_after_partial_fit(cls, features):
    """A class whose label comes first is new, so that all codes move."""
    X, y, W = features((3, 4, 2, 5), d=16)
    names = dict(enumerate("abcd"))
    clf = cls(text_features=W, class_names=names, logit_scale=SCALE)
    late = y == 0
    weights = np.linspace(1, 2, len(y))
    parts = clone(clf).partial_fit(X[~late], y[~late], sample_weight=weights[~late])
    parts.partial_fit(X[late], y[late], sample_weight=weights[late])
    why = check_sums(parts, X)
    order = np.append(np.flatnonzero(~late), np.flatnonzero(late))
    np.testing.assert_array_equal(why.shot_labels, y[order])
    expected = clf.fit(X, y, sample_weight=weights).explain(X)
    np.testing.assert_allclose(why.shots, expected.shots[:, order], rtol=1e-7, atol=1e-9)


def test_what_shots_of_gda_do_not_say_is_the_same_for_all_classes(features):
    """So that they alone tell the classes apart, one without shots included."""
    X, y, W = features((3, 1, 4, 2), d=16)
    given = y != 1
    weights = np.linspace(0.5, 2, given.sum())
    clf = GDAClassifier(text_features=W, logit_scale=SCALE)
    clf.fit(X[given], y[given], sample_weight=weights)
    priors = [check_sums(clf, X, np.full(len(X), c)).prior for c in range(4)]
    np.testing.assert_allclose(priors, [priors[0]] * 4, rtol=1e-9)
    assert not check_sums(clf, X, np.full(len(X), 1)).shots.any()


def test_a_shot_of_gda_moves_the_logit_by_what_its_class_mean_says(features):
    """The formula, written out: about the centre of the class means, with P held fixed."""
    X, y, W = features((3, 2, 4), d=16)
    clf = GDAClassifier(text_features=W, logit_scale=SCALE).fit(X, y)
    covariance = clf.scatter_ / len(X)
    P = 16 * np.linalg.inv((len(X) - 1) * covariance + np.trace(covariance) * np.eye(16))
    centre = clf.means_.mean(axis=0)
    row = np.flatnonzero(y == 1)[1]
    shot, query = X[row] - centre, X[0] - centre
    expected = clf.alpha_ / 2 * (query - (clf.means_[1] - centre) / 2) @ P @ shot
    found = clf.explain(X[:1], [1]).shots[0]
    assert found[row] == pytest.approx(expected, rel=1e-9)
    assert not found[y != 1].any()


def test_without_its_shots_gda_has_no_trace_of_them(features):
    X, y, W = features((3, 2, 4), d=16)
    clf = GDAClassifier(text_features=W, alpha=2.0, logit_scale=SCALE).fit(X, y)
    why = clf.explain(X)
    assert (why.shots, why.shot_labels, why.prior) == (None, None, None)
    np.testing.assert_allclose(why.text, SCALE * X @ W.T, rtol=1e-9)
    np.testing.assert_allclose(why.text + why.means, clf.decision_function(X), rtol=1e-9)


def test_shots_of_proker_are_all_that_is_beside_the_text(features):
    X, y, W = features((3, 2, 4), d=16)
    clf = ProKeRClassifier(text_features=W, logit_scale=SCALE).fit(X, y)
    why = check_sums(clf, X[::-1], y[::-1])
    np.testing.assert_allclose(why.prior, 0, atol=1e-9)
    np.testing.assert_allclose(why.text, X[::-1] @ W.T / clf.temperature_, rtol=1e-9)
    similar = np.exp(-clf.beta_ * (1 - X[0] @ X[5]))
    expected = clf.gamma_ / clf.temperature_ * similar * clf.dual_coef_[5, y[0]]
    assert why.shots[-1, 5] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cls", [GDAClassifier, ProKeRClassifier])
def test_views_of_a_shot_are_one_column(cls, clip, digits):
    images, labels = digits
    clf = cls(clip, n_views=3, random_state=0).fit(images[:30], labels[:30])
    # What is set now is for the next fit.
    why = clf.set_params(n_views=1).explain(images[30:34])
    assert why.shots.shape == (4, 30)
    np.testing.assert_array_equal(why.shot_labels, labels[:30])
    total = (why.text + why.means + why.correction).max(axis=1)
    own = np.arange(4), np.searchsorted(clf.classes_, why.labels)
    np.testing.assert_allclose(why.text[own] + why.prior + why.shots.sum(axis=1), total, rtol=1e-9)
    if cls is ProKeRClassifier:
        np.testing.assert_allclose(why.prior, 0, atol=1e-4)


@every
def test_errors(cls, features):
    X, y, W = features((3, 2, 4), d=16)
    clf = cls(text_features=W).fit(X, y)
    with pytest.raises(ValueError, match="labels has 2 classes for 3 queries"):
        clf.explain(X[:3], [0, 1])
    with pytest.raises(ValueError, match="labels has 9 at index 1, which is not a class"):
        clf.explain(X[:2], [0, 9])
