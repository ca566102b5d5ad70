"""Labels, class names and text rows: the classes and their names."""

import re

import numpy as np
import pytest
from classifiers import EXTENDABLE, make
from sklearn.base import clone

from sktip import FewShotClassifier, RejectUnknown, TipAdapterClassifier, ZeroShotClassifier
from sktip._encoding.session import EncoderSession, open_encoder
from sktip.model_selection import held_out_proba

X = np.eye(4)
TEXT = np.eye(3, 4) + 0.1


def fitted(y, X=X, **parameters):
    return TipAdapterClassifier(**parameters).fit(X[: len(y)], y)


@pytest.mark.parametrize(
    "labels",
    [
        ["b", "a", "b", "a"],
        np.array(["b", "a", "b", "a"], dtype=object),
        [7, 3, 7, 3],
        np.array([7, 3, 7, 3], dtype=np.uint8),
        [True, False, True, False],
        [2.0, 1.0, 2.0, 1.0],
    ],
)
def test_labels_of_any_type(labels):
    names = {label: f"name of {label}" for label in labels}
    clf = fitted(labels, class_names=names, text_features=TEXT[:2], alpha=1000.0)
    assert clf.classes_.tolist() == sorted(set(labels))
    np.testing.assert_array_equal(clf.predict(X), labels)
    assert clf.predict(X).dtype == np.asarray(labels).dtype


def test_string_labels_are_the_names(clip, digit_features):
    F, labels = digit_features
    clf = TipAdapterClassifier(clip, input="features", templates=["the digit {}", "{}"]).fit(
        F, labels
    )
    assert clf.classes_.tolist() == sorted(set(labels))
    expected = clip.encode_text(sorted(set(labels)), ["the digit {}", "{}"])
    np.testing.assert_array_equal(clf.text_features_, expected)
    assert clf.logit_scale_ == open_encoder(clip).logit_scale


def test_sequence_is_indexed_by_integers_and_every_index_is_a_class(clip, digit_features):
    F, _ = digit_features
    clf = fitted(
        [2, 0], F, encoder=clip, input="features", class_names=["cat", "dog", "fish", "owl"]
    )
    assert clf.classes_.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(
        clf.text_features_, clip.encode_text(["cat", "dog", "fish", "owl"])
    )
    assert clf.cache_codes_.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("labels", "names", "mapping"),
    [
        (["n02", "n01"], ("cat", "dog"), "{'n01': 'cat', 'n02': 'dog'}"),
        ([True, False], ["no", "yes"], "{False: 'no', True: 'yes'}"),
        ([2.0, 1.0], ["cat", "dog"], "{1.0: 'cat', 2.0: 'dog'}"),
        (["n02", "n01"], ["cat", "dog", "owl"], "{'n01': '...', 'n02': '...'}"),
    ],
)
def test_names_of_other_labels_are_a_mapping_that_the_error_prints(labels, names, mapping):
    with pytest.raises(ValueError, match=re.escape(f"class_names={mapping}")):
        fitted(labels, class_names=names)


class TestNamesThatAreTheLabels:
    """A sequence with every label is matched by value, in any order, with its rows of text."""

    NAMES = ("dog", "owl", "cat", "bee")

    @pytest.fixture
    def problem(self, features):
        """Labels, text rows in the order of NAMES, and text rows in the order of the labels."""
        X, y, W = features((5, 5, 5, 5))
        return X, np.array(sorted(self.NAMES))[y], W[np.argsort(np.argsort(self.NAMES))], W

    @pytest.mark.parametrize("name", ["zero-shot", "tip-cv", "clip-adapter", "gda-auto"])
    def test_in_classifiers(self, name, problem):
        X, labels, rows, sorted_rows = problem
        clf = make(name, text_features=rows, class_names=self.NAMES, logit_scale=20.0)
        expected = make(name, text_features=sorted_rows, logit_scale=20.0).fit(X, labels)
        clf.fit(X, labels)
        assert clf.classes_.tolist() == sorted(self.NAMES)
        np.testing.assert_array_equal(clf.text_features_, expected.text_features_)
        np.testing.assert_array_equal(clf.predict_proba(X), expected.predict_proba(X))
        # Also where some of them have no shots.
        some = labels != "cat"
        clf.fit(X[some], labels[some])
        assert clf.classes_.tolist() == sorted(self.NAMES)
        np.testing.assert_array_equal(clf.text_features_, expected.text_features_)

    @pytest.mark.parametrize("name", EXTENDABLE)
    def test_in_partial_fit(self, name, problem):
        X, labels, rows, _ = problem
        order = np.argsort(labels, kind="stable")  # The first part has two of the classes.
        X, labels = X[order], labels[order]
        clf = make(name, text_features=rows, class_names=self.NAMES, logit_scale=20.0)
        whole = clone(clf).fit(X, labels)
        clf.partial_fit(X[:10], labels[:10]).partial_fit(X[10:], labels[10:])
        np.testing.assert_array_equal(clf.classes_, whole.classes_)
        np.testing.assert_array_equal(clf.text_features_, whole.text_features_)
        np.testing.assert_allclose(clf.predict_proba(X), whole.predict_proba(X), rtol=1e-6)
        with pytest.raises(ValueError, match=r"'cta' \(there is 'cat'\)"):
            clf.partial_fit(X[:1], ["cta"])

    def test_without_shots_first(self, problem):
        X, labels, rows, _ = problem
        clf = FewShotClassifier(text_features=rows, class_names=self.NAMES, logit_scale=20.0)
        later = clone(clf).fit().partial_fit(X, labels)
        np.testing.assert_array_equal(later.predict_proba(X), clf.fit(X, labels).predict_proba(X))

    def test_with_an_encoder(self, clip, digits):
        images, labels = digits
        names = list(dict.fromkeys(labels.tolist()))
        assert names != sorted(names)
        clf = ZeroShotClassifier(clip, class_names=names, templates="the digit {}").fit(
            images, labels
        )
        np.testing.assert_array_equal(
            clf.text_features_, clip.encode_text(sorted(names), "the digit {}")
        )

    def test_in_held_out_folds(self, problem):
        X, labels, rows, sorted_rows = problem
        alone = np.flatnonzero(labels != "cat").tolist() + [labels.tolist().index("cat")]
        X, labels = X[alone], labels[alone]
        clf = FewShotClassifier(text_features=rows, class_names=self.NAMES, logit_scale=20.0)
        expected = FewShotClassifier(text_features=sorted_rows, logit_scale=20.0)
        np.testing.assert_array_equal(
            held_out_proba(clf, X, labels), held_out_proba(expected, X, labels)
        )
        np.testing.assert_array_equal(
            RejectUnknown(clf).fit(X, labels).held_out_scores_,
            RejectUnknown(expected).fit(X, labels).held_out_scores_,
        )

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["dog", "owl", "cat", "bee", "cat"], "'cat' more than once"),
            (["dog", "owl", "cat", "wasp"], "Not in class_names: 'bee'"),
            (["dog", "owl", "cat"], "Not in class_names: 'bee'"),
        ],
    )
    def test_names_with_some_of_the_labels(self, problem, names, message):
        X, labels, _, _ = problem
        with pytest.raises(ValueError, match=message):
            FewShotClassifier(class_names=names).fit(X, labels)


def test_mapping_names_labels_and_adds_classes(clip, digit_features):
    F, _ = digit_features
    names = {"n03": "owl", "n01": "cat", "n02": "dog"}
    clf = fitted(["n02", "n01"], F, encoder=clip, input="features", class_names=names)
    assert clf.classes_.tolist() == ["n01", "n02", "n03"]
    np.testing.assert_array_equal(clf.text_features_, clip.encode_text(["cat", "dog", "owl"]))
    integers = fitted([5, 9], F, encoder=clip, input="features", class_names={9: "owl", 5: "cat"})
    np.testing.assert_array_equal(integers.text_features_, clip.encode_text(["cat", "owl"]))
    added = fitted(["a", "b"], F, encoder=clip, input="features", class_names={"c": "owl"})
    np.testing.assert_array_equal(added.text_features_, clip.encode_text(["a", "b", "owl"]))


def test_class_without_shots_is_predicted_by_its_text_alone():
    clf = fitted([0, 1], text_features=np.eye(3, 4), alpha=2.0, beta=3.0, logit_scale=10.0)
    query = np.array([[0.1, 0.0, 0.9, 0.1]])
    unit = query / np.linalg.norm(query)
    assert clf.predict(query) == [2]
    np.testing.assert_allclose(clf.decision_function(query)[0, 2], 10 * unit[0, 2], atol=1e-9)


def test_templates_by_label(clip, digit_features):
    F, _ = digit_features
    templates = {0: ["a {}", "the {}"], 1: ["darkness"]}
    clf = fitted(
        [0, 1], F, encoder=clip, input="features", class_names=["cat", "night"], templates=templates
    )
    np.testing.assert_array_equal(
        clf.text_features_[0], clip.encode_text(["cat"], ["a {}", "the {}"])[0]
    )
    np.testing.assert_array_equal(clf.text_features_[1], clip.encode_text(["darkness"], "{}")[0])
    with pytest.raises(ValueError, match=r"without an entry for \[1\]"):
        clf.set_params(templates={0: ["a {}"]}).fit(F[:2], [0, 1])


def test_text_features_overrule_the_encoders_text(clip, digit_features):
    F, _ = digit_features
    rows = clip.encode_text(["cat", "dog"])
    clf = fitted(["b", "a"], F, encoder=clip, input="features", text_features=rows)
    np.testing.assert_allclose(clf.text_features_, rows, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "parameters", "error", "message"),
    [
        (
            [0, 3],
            {"text_features": TEXT},
            ValueError,
            "labels 3 are not indices of text_features, which has length 3",
        ),
        ([0, -1], {"text_features": TEXT}, ValueError, "labels -1 are not indices"),
        (
            ["a", "b"],
            {"text_features": TEXT},
            ValueError,
            "3 rows for 2 classes",
        ),
        (
            ["a", "b"],
            {"class_names": ["x", "y", "z"]},
            ValueError,
            "Pass a mapping: class_names={'a': '...', 'b'",
        ),
        ([0, 1], {"class_names": []}, ValueError, "class_names is empty"),
        ([0, 1], {"class_names": {}}, ValueError, "class_names is empty"),
        ([0, 1], {"class_names": {"a": "x"}}, ValueError, "must go from label to name"),
        ([0, 1], {"class_names": {0: "x"}}, ValueError, "no name for the label 1"),
        ([0, 1], {"class_names": ["x", 5]}, TypeError, "class_names holds 5"),
        (
            ["a", "b"],
            {"class_names": {"c": "x"}, "text_features": TEXT[:2]},
            ValueError,
            "2 rows for 3",
        ),
        (["a", "a"], {}, ValueError, "found one class"),
        ([0, 0], {"class_names": ["x"]}, ValueError, "at least two classes"),
        ([0.5, 1.7], {}, ValueError, "Unknown label type"),
        (
            [0, 1],
            {"text_features": np.zeros((2, 4))},
            ValueError,
            "row 0 of text_features is all zeros",
        ),
        (
            [0, 1],
            {"text_features": np.full((2, 4), np.nan)},
            ValueError,
            "text_features contains NaN",
        ),
        (
            [0, 1],
            {"text_features": np.eye(2, 7)},
            ValueError,
            "X has 4 features, but text_features has 7",
        ),
        ([0, 1], {"class_names": "cat"}, ValueError, "class_names"),
        ([0, 1], {"alpha": -1.0}, ValueError, "alpha"),
        ([0, 1], {"logit_scale": 0.0}, ValueError, "logit_scale"),
    ],
)
def test_what_does_not_fit_together(labels, parameters, error, message):
    with pytest.raises(error, match=message):
        fitted(labels, **parameters)


def test_integer_labels_without_names_say_how_to_pass_them(clip, digit_features):
    with pytest.raises(ValueError, match=r"class_names=sorted\(set\(labels\)\)"):
        fitted([0, 1], digit_features[0], encoder=clip, input="features")


def test_width_must_be_the_encoders(clip):
    with pytest.raises(ValueError, match="X has 4 features, but the encoder's embedding has 128"):
        fitted(["a", "b"], encoder=clip, input="features")


class TestRows:
    """Rows of X that cannot be features."""

    def test_lengths(self):
        with pytest.raises(ValueError, match=r"lengths \[4, 3\]"):
            TipAdapterClassifier(text_features=TEXT).fit(X, [0, 1, 2])

    def test_empty(self, clip):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            TipAdapterClassifier(text_features=TEXT).fit(np.empty((0, 4)), [])
        with pytest.raises(ValueError, match="X is empty"):
            TipAdapterClassifier(clip).fit([], [])

    def test_missing_labels(self):
        with pytest.raises(ValueError, match="y contains NaN"):
            TipAdapterClassifier(text_features=TEXT).fit(X, [0, 1, np.nan, 2])


class TestImagesOfAClassifier:
    """Bad images inside fit and predict."""

    def test_named_by_index_and_path(self, clip, digits, tmp_path):
        images, labels = digits
        missing = tmp_path / "missing.png"
        with pytest.raises(ValueError, match=r"image 3 .*missing\.png.*no such file"):
            TipAdapterClassifier(clip).fit([*images[:3], missing], labels[:4])
        clf = TipAdapterClassifier(clip).fit(images[:20], labels[:20])
        with pytest.raises(ValueError, match="image 0 .*no such file"):
            clf.predict([missing])
        with pytest.raises(TypeError, match="wrap it in a list"):
            clf.predict(str(missing))

    def test_an_encoder_that_gives_nan_does_not_make_a_class_of_it(self, clip, digits, tmp_path):
        from sklearn.base import clone

        images, labels = digits
        lenient = clone(clip).set_params(on_error="nan")
        with pytest.raises(ValueError, match=r"image 3 .*no\.png.*no such file"):
            TipAdapterClassifier(lenient).fit([*images[:3], tmp_path / "no.png"], labels[:4])

    def test_infinite_features_of_an_encoder(self, clip, digits, monkeypatch):
        images, labels = digits
        views_of = EncoderSession.views

        def endless(self, images, *args, **kwargs):
            for row, views in enumerate(views_of(self, images, *args, **kwargs)):
                yield views * np.float32(np.inf if row == 2 else 1)

        clf = TipAdapterClassifier(clip).fit(images[:20], labels[:20])
        monkeypatch.setattr(EncoderSession, "views", endless)
        with pytest.raises(ValueError, match=r"infinite features of .*image 2 \(1 in all\)"):
            clf.predict(images[:5])

    def test_labels_are_checked_before_anything_is_encoded(self, digits):
        clf = TipAdapterClassifier("no such model")
        images, labels = digits
        with pytest.raises(ValueError, match=r"lengths \[5, 4\]"):
            clf.fit(images[:5], labels[:4])
        with pytest.raises(ValueError, match="y to be passed"):
            clf.fit(images[:5], None)


def test_an_interrupted_fit_changes_nothing(monkeypatch):
    clf = fitted([0, 1, 0, 1], text_features=TEXT)
    before = dict(vars(clf.set_params(fine_tune=True)))

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("sktip._maths.fine_tune.loss_and_gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X[::-1], [0, 1, 0, 1])
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[key] is value for key, value in before.items())


@pytest.mark.parametrize("kind", [list, lambda y: np.array(y, dtype=object)])
def test_labels_of_mixed_types_are_refused(features, kind):
    X, _, W = features((1, 1, 1))
    with pytest.raises(ValueError, match="mixes text with other labels: 'cat' at index 0, 3 at i"):
        TipAdapterClassifier(text_features=W).fit(X, kind(["cat", "dog", 3]))
    with pytest.raises(ValueError, match="nan at index 1"):
        TipAdapterClassifier(text_features=W).fit(X, kind(["cat", float("nan"), "dog"]))
