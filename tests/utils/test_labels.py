"""Labels of every kind, in `fit`, `partial_fit` and `classes=`; class names in every form."""

from collections import UserDict
from itertools import cycle

import numpy as np
import pandas as pd
import pytest
from classifiers import EXTENDABLE, make
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, ZeroShotClassifier
from sktip._utils.labels import check_labels
from sktip.prompts import fill_prompts

INTEGER_TYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
TEXT_ROWS = np.random.default_rng(0).normal(size=(400, 6))
X = np.eye(4, 6) + 0.1
NAMES = np.array(["cat", "dog"])
TINY = CLIPFeatureTransformer("tiny")


def tip(n_classes=None, **parameters):
    text = None if n_classes is None else TEXT_ROWS[:n_classes]
    return TipAdapterClassifier(text_features=text, **parameters)


class TestIntegers:
    """Whatever type they come in, classes are the numbers that they are."""

    @settings(max_examples=60)
    @given(dtype=st.sampled_from(INTEGER_TYPES), n_classes=st.integers(4, 400), data=st.data())
    def test_every_type_and_number_of_classes(self, dtype, n_classes, data):
        largest = min(n_classes - 1, np.iinfo(dtype).max)
        y = data.draw(st.lists(st.integers(0, largest), min_size=4, max_size=4))
        clf = tip(n_classes).fit(X, np.array(y, dtype))
        np.testing.assert_array_equal(clf.classes_, np.arange(n_classes))
        assert clf.classes_.dtype.kind == np.dtype(dtype).kind or clf.classes_.dtype.kind == "i"
        if n_classes - 1 <= np.iinfo(dtype).max:
            assert clf.classes_.dtype == dtype
        assert clf.classes_[clf.cache_codes_].tolist() == y
        expected = tip(n_classes).fit(X, y)
        np.testing.assert_array_equal(clf.predict(TEXT_ROWS[:50]), expected.predict(TEXT_ROWS[:50]))


class TestKinds:
    """One kind of labels for a classifier, whenever they come."""

    KINDS = {
        "text": ["a", "b", "a", "b"],
        "text as objects": np.array(["a", "b", "a", "b"], object),
        "numbers": [0, 1, 0, 1],
        "booleans": [True, False, True, False],
        "numbers as floats": [0.0, 1.0, 0.0, 1.0],
    }

    @pytest.mark.filterwarnings("ignore:neither `encoder`")
    @pytest.mark.parametrize(("name", "first"), list(zip(cycle(EXTENDABLE), KINDS)))
    def test_later_labels_are_of_the_kind_known(self, name, first):
        clf = make(name).fit(X, self.KINDS[first])
        before = dict(vars(clf))
        for i, (later, labels) in enumerate(self.KINDS.items()):
            where = ("y", "classes")[i % 2]
            more = (X, labels) if where == "y" else (X, self.KINDS[first], labels)
            if first.split()[0] == later.split()[0]:
                assert clone(clf).fit(X, self.KINDS[first]).partial_fit(*more).n_features_in_ == 6
                continue
            with pytest.raises(ValueError, match=f"{where} holds .*but the classes are"):
                clf.partial_fit(*more)
        assert all(vars(clf)[key] is value for key, value in before.items())

    @pytest.mark.filterwarnings("ignore:neither `encoder`")
    @pytest.mark.parametrize(
        ("classes", "message"),
        [
            ([0, 1, np.nan], "classes contains NaN"),
            ([0, 1, None], "None at index 2"),
            ([0, "cat"], "classes mixes text"),
            ([[0, 1], [2]], "several tags per photo use FewShotTagger"),
            (np.eye(2), r"is one-hot.*pass classes.argmax\(axis=1\).*Tip-Adapter are transposed"),
            (np.zeros((2, 2), int), "should be a 1d array"),
            ([0.5, 1.5], "Unknown label type"),
            ({0, 1}, "should be a 1d array"),
        ],
    )
    def test_announced_classes_are_checked(self, classes, message):
        with pytest.raises(ValueError, match=message):
            TipAdapterClassifier().partial_fit(X, [0, 1, 0, 1], classes=classes)
        clf = TipAdapterClassifier().fit(X, [0, 1, 0, 1])
        with pytest.raises(ValueError, match=message):
            clf.partial_fit(X, [0, 1, 0, 1], classes=classes)

    @pytest.mark.filterwarnings("ignore:neither `encoder`")
    @pytest.mark.parametrize("classes", [[2, 0, 2, 1, 0], np.array([2, 1], "u1"), (2,), range(3)])
    def test_announced_classes_in_any_order_and_twice(self, classes):
        clf = TipAdapterClassifier().partial_fit(X, [0, 1, 0, 1], classes=classes)
        assert clf.classes_.tolist() == [0, 1, 2]
        assert clf.classes_.dtype == np.int64
        assert clf.partial_fit(X, [0, 1, 0, 1], classes=[]).classes_.dtype == np.int64

    @pytest.mark.parametrize(
        ("y", "expected"),
        [
            (pd.Series(["a", "b"], dtype="category"), ["a", "b"]),
            (pd.Series([3, 5], dtype="category"), [3, 5]),
            (pd.Series([3, 5], dtype="Int64"), [3, 5]),
            (pd.Series([3, 5], dtype=object), [3, 5]),
            (pd.Series(["a", "b"], dtype="string"), ["a", "b"]),
            (pd.Series([True, False], dtype="boolean"), [True, False]),
            (pd.Categorical(["b", "a"]), ["b", "a"]),
            ([np.str_("a"), "b"], ["a", "b"]),
            ([np.bool_(True), False], [True, False]),
            ([np.uint8(3), 5], [3, 5]),
        ],
    )
    def test_columns_of_tables_and_numpy_scalars(self, y, expected):
        labels = check_labels(y)
        assert labels.tolist() == expected
        assert [type(label) for label in labels.tolist()] == [type(label) for label in expected]

    @pytest.mark.parametrize(("missing", "other"), [(None, "a"), (np.nan, 3), (pd.NA, True)])
    def test_missing_labels(self, missing, other):
        for y in ([other, missing], np.array([other, missing], object)):
            with pytest.raises(ValueError, match="contains NaN or None: .* at index 1"):
                check_labels(y)

    @pytest.mark.parametrize("y", [np.array(["2020-01-01", "2021-01-01"], "M8[D]"), [{}, {}]])
    def test_other_things_are_no_labels(self, y):
        with pytest.raises(ValueError, match="Unknown label type"):
            check_labels(y)


class TestClassNames:
    """Names are matched to labels explicitly, never by chance."""

    @pytest.mark.parametrize("make_set", [set, frozenset])
    def test_sets_have_no_order(self, make_set):
        names = make_set(["cat", "dog"])
        with pytest.raises(ValueError, match="class_names is a .*whose names have no order"):
            tip(2, class_names=names).fit(X, [0, 1, 0, 1])
        with pytest.raises(ValueError, match="class_names is a .*whose names have no order"):
            ZeroShotClassifier(text_features=TEXT_ROWS[:2], class_names=names).fit()
        with pytest.raises(TypeError, match="whose names have no order"):
            fill_prompts(names)

    @pytest.mark.parametrize("as_mapping", [pd.Series, UserDict, dict])
    def test_an_index_says_whose_name_it_is(self, clip, as_mapping):
        names = as_mapping({"n2": "dog", "n1": "cat", "n3": "owl"})
        clf = TipAdapterClassifier(clip, input="features", class_names=names)
        clf.fit(np.eye(2, 128), ["n1", "n2"])
        assert clf.classes_.tolist() == ["n1", "n2", "n3"]
        np.testing.assert_array_equal(clf.text_features_, clip.encode_text(["cat", "dog", "owl"]))
        named = ZeroShotClassifier(clip, class_names=names, templates=clf.templates).fit()
        np.testing.assert_array_equal(named.text_features_, clf.text_features_)
        assert clf.get_params(deep=False)["class_names"] is names

    def test_a_series_of_integers(self, clip):
        names = pd.Series(["dog", "cat"], index=[7, 3])
        clf = TipAdapterClassifier(clip, input="features", class_names=names)
        clf.fit(np.eye(2, 128), np.array([3, 7], "u1"))
        np.testing.assert_array_equal(clf.text_features_, clip.encode_text(["cat", "dog"]))
        assert clf.classes_.dtype == np.uint8

    def test_labels_of_a_wider_type_come_from_keys(self):
        names = {300: "far", 0: "a", 1: "b"}
        clf = tip(3, class_names=names).fit(X, np.array([0, 1, 0, 1], "u1"))
        assert clf.classes_.tolist() == [0, 1, 300]

    @pytest.mark.parametrize(
        ("names", "y", "message"),
        [
            (pd.Series(["cat", "dog"]), ["a", "b", "a", "b"], r"class_names.tolist\(\)"),
            (pd.Series(["cat", "dog"], index=[0, 0]), [0, 1, 0, 1], "0 more than once"),
            (pd.DataFrame({"a": ["cat"]}), [0, 1, 0, 1], "is a table"),
            ({0: "cat", "a": "dog"}, [0, 1, 0, 1], "mixes text with other labels"),
            ({0: "no", 1: "yes"}, [True, False, True, False], "keys of class_names are numbers"),
        ],
    )
    def test_what_does_not_say_it(self, names, y, message):
        with pytest.raises(ValueError, match=message):
            tip(2, class_names=names).fit(X, y)

    def test_prompts_of_a_mapping(self):
        with pytest.raises(TypeError, match=r"list\(class_names.values\(\)\)"):
            fill_prompts({"n1": "cat"})
        with pytest.raises(TypeError, match="to_dict"):
            fill_prompts(["cat", "dog"], pd.Series(["a {}", "b {}"], index=["dog", "cat"]))


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (lambda: make("gda", class_names=NAMES).fit(X, np.array([0, 1, 0, 9])), "labels 9 are"),
        (lambda: make("gda").fit(X, [*np.array(["cat", "dog", "cat"]), 3]), "'cat' at index 0"),
        (lambda: make("gda").fit(X, ["cat", "dog", "cat", np.float64("nan")]), "nan at index 3"),
        (lambda: make("gda").fit(X, NAMES[[0, 1, 0, 1]]).partial_fit(X, [0, 1, 0, 1]), "as 'cat'"),
        (lambda: ZeroShotClassifier(TINY, class_names=NAMES[[0, 0]]).fit(), "has 'cat' more"),
        (lambda: fill_prompts(NAMES, {"cat": ["a {}"]}), "entry for ['dog']"),
        (lambda: fill_prompts(NAMES, np.array(["a cat"])), "the template 'a cat'"),
        (lambda: fill_prompts(np.array([1, 2])), "class name 0 is 1 of type int"),
    ],
)
@pytest.mark.filterwarnings("ignore:neither `encoder`")
def test_messages_show_labels_as_python_writes_them(call, shown):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert shown in str(caught.value)
    assert "np." not in str(caught.value)


def test_a_warning_of_a_cut_off_prompt_too():
    with pytest.warns(UserWarning, match=r"\(class 'cat'\)"):
        TINY.encode_text(NAMES, "a photo of a {}" + 90 * " and more")
