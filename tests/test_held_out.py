"""Held-out probabilities, and the wrong labels that cleanlab finds with them."""

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktip import FewShotClassifier, TipAdapterClassifier
from sktip._maths.unit import unit_norm
from sktip.model_selection import held_out_proba

#: Shots of the digits whose labels are made wrong, and the labels that they get.
WRONG = {3: "eight", 20: "one", 41: "nine", 77: "zero", 110: "two", 158: "five"}


@pytest.fixture(scope="module")
def mislabelled(digit_features):
    X, y = digit_features
    y = y.copy()
    for row, label in WRONG.items():
        assert y[row] != label
        y[row] = label
    return X, y


def codes_of(y):
    return np.searchsorted(np.unique(y), y)


@pytest.mark.parametrize("name", ["FewShotClassifier", "tip-cv", "gda-auto"])
def test_cleanlab_finds_the_wrong_labels(clip, mislabelled, name):
    X, y = mislabelled
    clf = make(name, clip, input="features", templates="the digit {}")
    probabilities = held_out_proba(clf, X, y)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    # All come before nearly all others, and most are bad enough for cleanlab's own threshold.
    quality = get_label_quality_scores(codes_of(y), probabilities, method="self_confidence")
    assert set(WRONG) <= set(np.argsort(quality)[: len(WRONG) + 4])
    suspects = find_label_issues(codes_of(y), probabilities, n_jobs=1)
    assert suspects[list(WRONG)].sum() >= 4
    assert suspects.sum() <= 2 * len(WRONG)


def test_a_classifier_that_saw_the_labels_hides_them(clip, mislabelled):
    """A nearest neighbour believes any label that it was given."""
    X, y = mislabelled
    clf = KNeighborsClassifier(1)
    seen = clf.fit(X, y).predict_proba(X)
    assert len(find_label_issues(codes_of(y), seen, n_jobs=1).nonzero()[0]) == 0
    held_out = held_out_proba(clf, X, y)
    own = held_out[np.arange(len(y)), codes_of(y)]
    assert own[list(WRONG)].max() == 0


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_label_does_not_change_what_is_said_about_its_shot(name, features):
    """The definition of held out, for each classifier."""
    X, y, W = features((4, 4, 4), d=6)
    clf = make(name, text_features=W)
    cv = [(np.setdiff1d(np.arange(12), rows), rows) for rows in np.arange(12).reshape(3, 4)]
    before = held_out_proba(clf, X, y, cv=cv)
    changed = y.copy()
    changed[:4] = (changed[:4] + 1) % 3
    after = held_out_proba(clf, X, changed, cv=cv)
    np.testing.assert_allclose(after[:4], before[:4], rtol=1e-6)


def test_more_wrong_labels_are_found_when_some_are_expected(clip, digit_features):
    """With 30 % of the labels permuted the second round, which weights them down, finds more."""
    X, right = digit_features
    found = {0.0: [], 0.3: []}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(right), 60, replace=False)
        y = right.copy()
        y[rows] = y[rng.permutation(rows)]
        wrong = y != right
        for label_noise, precision in found.items():
            clf = FewShotClassifier(clip, input="features")
            probabilities = held_out_proba(clf, X, y, label_noise=label_noise)
            own = probabilities[np.arange(len(y)), codes_of(y)]
            precision.append(wrong[np.argsort(own)[: wrong.sum()]].mean())
    assert np.mean(found[0.3]) > np.mean(found[0.0]) > 0.9


def test_it_is_cross_val_predict_with_folds_of_one_shot_per_class(features):
    X, y, _ = features((8, 8, 8))
    clf = LogisticRegression()
    cv = GroupKFold(4)
    groups = np.arange(24) % 8
    splits = list(cv.split(X, y, groups))
    expected = cross_val_predict(clf, X, y, cv=splits, method="predict_proba")
    np.testing.assert_allclose(held_out_proba(clf, X, y, cv=splits), expected)
    # An iterator of splits is read once, though it is needed twice.
    once = held_out_proba(clf, X, y, cv=iter(splits), label_noise=0.1)
    assert once.shape == expected.shape


def test_a_class_with_one_shot_is_known_by_its_text(clip, digit_features):
    X, y = digit_features
    rows = [int(np.flatnonzero(y == name)[0]) for name in np.unique(y)]
    clf = FewShotClassifier(clip, input="features", templates="the digit {}")
    probabilities = held_out_proba(clf, X[rows], y[rows])
    assert probabilities.shape == (10, 10)
    assert np.mean(probabilities.argmax(axis=1) == np.arange(10)) > 0.3
    with pytest.raises(ValueError, match="all shots of the classes .* in one fold"):
        held_out_proba(LogisticRegression(), X[rows], y[rows])


def test_one_of_two_classes_has_only_near_copies():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 16))
    X[:4] = X[0] + 1e-6 * rng.normal(size=(4, 16))
    y = np.repeat(["a", "b"], [4, 5])
    for clf in (FewShotClassifier(templates=None), LogisticRegression()):
        with pytest.raises(ValueError, match=r"all shots of the classes \['a'\] .* in one fold"):
            held_out_proba(clf, unit_norm(X), y)
    assert held_out_proba(FewShotClassifier(text_features=X[[0, 5]]), X, y).shape == (9, 2)


def test_class_names_in_any_form(clip, digit_features):
    """The columns do not depend on how the classes are named."""
    X, y = digit_features
    names = np.unique(y).tolist()
    text = clip.encode_text(names, "the digit {}")
    same = {
        "labels": (TipAdapterClassifier(clip, input="features", templates="the digit {}"), y),
        "rows": (TipAdapterClassifier(text_features=text, logit_scale=100), y),
        "codes": (TipAdapterClassifier(text_features=text, logit_scale=100), codes_of(y)),
    }
    found = {key: held_out_proba(clf, X[:60], labels[:60]) for key, (clf, labels) in same.items()}
    np.testing.assert_allclose(found["rows"], found["codes"], rtol=1e-5)
    assert (found["rows"].argmax(1) == found["labels"].argmax(1)).mean() > 0.85
    # A name without shots has its column.
    more = TipAdapterClassifier(
        clip, input="features", class_names={**{name: name for name in names}, "none": "nothing"}
    )
    assert held_out_proba(more, X, y, label_noise=0.1).shape == (200, 11)


def test_images_are_encoded_once(clip, digits, digit_features, encoded):
    images, y = digits
    X, _ = digit_features
    pairs = [
        (TipAdapterClassifier(clip), TipAdapterClassifier(clip, input="features")),
        (make_pipeline(clip, LogisticRegression()), LogisticRegression()),
    ]
    for of_images, of_features in pairs:
        found = held_out_proba(of_images, images[:60], y[:60], label_noise=0.1)
        expected = held_out_proba(of_features, X[:60], y[:60], label_noise=0.1)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert sum(encoded) == 120


def test_images_stay_images_in_every_form(clip, digits, forms):
    """As an array, a list of PIL images would lose rotation and colours."""
    X, y = clip.transform(forms), digits[1][:40]
    expected = held_out_proba(LogisticRegression(), X, y)
    pipeline = make_pipeline(clip, LogisticRegression())
    np.testing.assert_allclose(held_out_proba(pipeline, forms, y), expected, atol=1e-5)


@pytest.mark.parametrize("copied", ["exactly", "nearly", "as images"])
def test_copies_are_held_out_together(clip, digits, copied):
    """A nearest neighbour would find the copy."""
    images, y = digits
    images, y, clf = images[:40], [*y[:40], *y[:40]], KNeighborsClassifier(1)
    X = clip.transform(images)
    once, classes = held_out_proba(clf, X, y[:40]), np.unique(y)
    if copied == "as images":
        clf = make_pipeline(FunctionTransformer(clip.transform), clf)
        X = [*images, *images]
    else:
        noise = 1e-7 * np.random.default_rng(0).normal(size=X.shape)
        X = np.concatenate([X, X + noise * (copied == "nearly")])
    order = np.random.default_rng(0).permutation(80)
    found = np.empty((80, len(classes)))
    X = [X[i] for i in order]
    found[order] = held_out_proba(clf, X, np.take(y, order))
    np.testing.assert_allclose(found[:40], found[40:])
    assert (classes[found[:40].argmax(1)] == y[:40]).mean() < 1
    if copied != "as images":
        np.testing.assert_allclose(found[:40], once)


@pytest.mark.parametrize("cv", [None, 3, GroupKFold(4)])
def test_groups_are_held_out_together(features, cv):
    X, _, _ = features((6, 6, 6))
    groups = np.random.default_rng(0).permutation(np.arange(18) // 2)
    y = (groups % 3).astype(str)
    seen = []  # Groups of the shots of each fit.

    class Recorder(KNeighborsClassifier):
        def fit(self, X, y, groups):
            seen.append(set(groups))
            return super().fit(X, y)

    held_out_proba(Recorder(1), X, y, cv=cv, groups=groups)
    # Each group was left out of one fit.
    assert len(seen) == (4 if isinstance(cv, GroupKFold) else 3)
    assert sum(len(set(groups) - own) for own in seen) == 9


def test_the_order_of_the_shots_does_not_matter(clip, digit_features):
    X, y = digit_features
    order = np.random.default_rng(0).permutation(len(X))
    for clf in (FewShotClassifier(clip, input="features"), LogisticRegression()):
        expected = held_out_proba(clf, X, y, label_noise=0.1)[order]
        np.testing.assert_allclose(
            held_out_proba(clf, X[order], y[order], label_noise=0.1), expected, atol=1e-4
        )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cv": 1}, "cv=1 must be at least 2 folds"),
        ({"groups": [0, 1]}, "groups has the length"),
        ({"groups": [0] * 8}, "all shots of the classes .* are in one fold"),
        ({"label_noise": 1.0}, "label_noise=1.0"),
        ({"estimator": KNeighborsClassifier(), "label_noise": 0.1}, "does not take sample_weight"),
        ({"y": [0, 1, 0]}, "inconsistent numbers of samples"),
        ({"y": [0] * 8}, "one class"),
        ({"cv": [(np.arange(4), np.arange(4, 8))]}, "holds out shot 0 0 times"),
        ({"cv": [(np.arange(4), np.arange(4, 8))] * 2}, "times"),
    ],
)
def test_what_is_refused(parameters, message):
    given = {"estimator": LogisticRegression(), "X": np.eye(8), "y": [0, 1] * 4, **parameters}
    with pytest.raises(ValueError, match=message):
        held_out_proba(given.pop("estimator"), given.pop("X"), given.pop("y"), **given)
