"""BackOff: answers from a tree of classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sktip import BackOff, FewShotClassifier, ZeroShotClassifier
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
