"""BackOff: answers from a tree of classes."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from sktip import BackOff, FewShotClassifier, ZeroShotClassifier, predict_images
from sktip.utils import split_encoder

TREE = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "a": "top", "b": "top", "c": "top"}


def sample(n_per_class, seed):
    """Classes of a pair are near each other."""
    rng = np.random.default_rng(seed)
    names = np.array(["a1", "a2", "b1", "b2", "c"])
    centres = np.array([[3, 1.0], [3, -1], [-3, 1], [-3, -1], [0, 4]])
    codes = np.repeat(np.arange(5), n_per_class)
    return centres[codes] + rng.normal(size=(len(codes), 2)), names[codes]


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_coverage_on_new_images(coverage):
    """The guarantee is a mean over draws of the shots."""
    held = []
    for seed in range(20):
        clf = BackOff(LogisticRegression(), TREE, coverage=coverage).fit(*sample(8, seed))
        X, y = sample(100, 1000 + seed)
        held.append(clf.holds(clf.predict(X), y).mean())
    assert abs(np.mean(held) - coverage) < 0.03


def test_answers_are_the_deepest_nodes_above_the_threshold():
    X, y = sample(20, 0)
    clf = BackOff(LogisticRegression(), TREE).fit(X, y)
    assert clf.nodes_.tolist() == ["top", "a", "b", "c", "a1", "a2", "b1", "b2"]
    assert clf.depths_.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    masses = dict(zip(clf.nodes_.tolist(), clf.predict_node_proba(X).T, strict=True))
    np.testing.assert_allclose(masses["top"], 1)
    np.testing.assert_allclose(masses["a"], masses["a1"] + masses["a2"])
    answers = clf.predict(X)
    assert set(answers) > {"a", "a1", "c"}
    for i, answer in enumerate(answers):
        assert answer == "top" or masses[answer][i] > clf.threshold_
        below = [child for child, parent in TREE.items() if parent == answer]
        assert all(masses[child][i] <= clf.threshold_ for child in below)


def test_within_a_subtree():
    X, y = sample(20, 0)
    clf = BackOff(LogisticRegression(), TREE).fit(X, y)
    inside = clf.predict_proba(X, within="a")
    np.testing.assert_allclose(inside[:, :2].sum(axis=1), 1)
    assert set(clf.predict(X, within="a")) <= {"a", "a1", "a2"}
    with pytest.raises(ValueError, match="'z' is not a node of the tree"):
        clf.predict(X, within="z")


def test_images_and_split(clip, digits):
    images, labels = digits
    tree = dict.fromkeys(("zero", "two", "four", "six", "eight"), "even")
    clf = BackOff(FewShotClassifier(clip, templates="the digit {}"), tree, coverage=0.8)
    clf.fit(images[:60], labels[:60])
    answers = clf.predict(images[60:])
    assert clf.holds(answers, labels[60:]).mean() > 0.7
    encoder, classifier = split_encoder(clf)
    features = encoder.transform(images[60:])
    np.testing.assert_array_equal(classifier.predict(features), answers)


def test_trees():
    X, y = np.eye(3)[[0, 1, 2] * 6], np.array([3, 4, 5] * 6)
    names = {3: "x", 4: "y", 5: "z"}
    zero = ZeroShotClassifier(text_features=np.eye(3), class_names=names)
    assert BackOff(zero, {3: 30, 4: 30}).fit(X, y).nodes_.tolist() == [-1, 30, 5, 3, 4]
    assert BackOff(zero, {}, root=0).fit(X, y).nodes_.tolist() == [0, 3, 4, 5]
    mixed = BackOff(zero, {3: "few", 4: "few", "few": "all", 5: "all"}).fit(X, y)
    assert mixed.predict(np.eye(3)).tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="tree has a cycle: 3 -> 30 -> 3"):
        BackOff(zero, {3: 30, 30: 3}).fit(X, y)
    with pytest.raises(ValueError, match="root=30 is a class or a node below the root"):
        BackOff(zero, {3: 30, 4: 30}, root=30).fit(X, y)
    with pytest.warns(
        UserWarning, match="needs at least 19 shots .* there are 18: every answer is -1"
    ):
        clf = BackOff(zero, {}, coverage=0.95).fit(X, y)
    assert set(clf.predict(X)) == {-1}


def test_nodes_and_labels_that_do_not_exist():
    X, y = sample(20, 0)
    clf = BackOff(LogisticRegression(), TREE)
    for call in (clf.predict, clf.predict_proba, clf.predict_node_proba, lambda X: clf.holds(y, y)):
        with pytest.raises(NotFittedError):
            call(X)
    clf.fit(X, y)
    assert clf.holds(["top", "a", "b2"], ["c", "b1", "b2"]).tolist() == [True, False, True]
    # Each sorts beside a class.
    for label in ("a0", "a11", "z"):
        with pytest.raises(ValueError, match=f"y holds '{label}'.*none of the classes"):
            clf.holds(["a"], [label])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        clf.holds(["a", "b"], ["a1"])
    with pytest.raises(ValueError, match="'z' is not a node"):
        clf.holds(["z"], ["a1"])


def test_the_tree_of_the_fit_stays():
    X, y = sample(20, 0)
    tree = dict(TREE)
    clf = BackOff(LogisticRegression(), tree).fit(X, y)
    before, held = clf.predict(X), clf.holds(clf.predict(X), y)
    tree.update({"a1": "b", "b1": "a"})
    clf.root = "b"
    np.testing.assert_array_equal(clf.predict(X), before)
    np.testing.assert_array_equal(clf.holds(before, y), held)


def test_keys_of_a_tree():
    """As people have them: with None for no parent, NumPy's numbers, and both forms of accents."""
    X, y = sample(20, 0)
    composed, apart = "caf\u00e9", "cafe\u0301"
    y = np.where(y == "c", composed, y)
    tree = {"a1": "a", "a2": np.str_("a"), apart: "a", "a": None, "b1": None, "b2": float("nan")}
    clf = BackOff(LogisticRegression(), tree).fit(X, y)
    assert clf.nodes_.tolist() == ["any", "a", "b1", "b2", "a1", "a2", composed]
    assert clf.holds(["a", composed], [composed, composed]).all()
    codes = np.unique(y, return_inverse=True)[1]
    clf = BackOff(LogisticRegression(), {np.int64(0): 7, 1: np.int64(7)}).fit(X, codes)
    assert clf.nodes_.tolist() == [-1, 2, 3, 4, 7, 0, 1]
    with pytest.raises(
        ValueError, match="none of the classes, such as 0; its keys are such as '0'"
    ):
        BackOff(LogisticRegression(), {"0": "even", "1": "odd"}).fit(X, codes)


def test_the_table_has_the_probability_of_the_answer(clip, digits):
    images, labels = digits
    tree = dict.fromkeys(("four", "seven", "nine"), "angular")
    clf = BackOff(FewShotClassifier(clip, templates="the digit {}"), tree, coverage=0.95)
    clf.fit(images[:60], labels[:60])
    clf.threshold_ = 0.8
    answers = predict_images(clf, images[60:120], verbose=0)
    masses = clf.predict_node_proba(images[60:120])
    own = [clf.nodes_.tolist().index(node) for node in answers.prediction]
    assert {"angular", "any", "one"} < set(answers.prediction)
    np.testing.assert_allclose(answers.probability, masses[np.arange(60), own], atol=1e-6)
