"""What all classifiers share: their state after fits and failures, and shots of weight 0."""

import numpy as np
import pandas as pd
import pytest
from classifiers import CLASSIFIERS, EXTENDABLE, make
from hypothesis import given
from hypothesis import strategies as st

from sktip import TipAdapterClassifier
from sktip.exceptions import ImageReadError

every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
WEIGHTED = ("tip", "tip-f", "gda", "gda-auto")
pytestmark = pytest.mark.filterwarnings("ignore:neither `encoder`", "ignore:every class has one")


def flat(value, key):
    """Arrays and other values of nested containers, by their places."""
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    else:
        return {key: value}
    return {k: v for own, part in pairs for k, v in flat(part, f"{key}[{own!r}]").items()}


def assert_same_state(actual, expected, rtol=0.0):
    """All attributes but the parameters are the same."""
    parameters = actual.get_params(deep=False)
    actual, expected = (
        flat({k: v for k, v in vars(clf).items() if k not in parameters}, "")
        for clf in (actual, expected)
    )
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(actual[key], value, rtol=rtol, atol=rtol, err_msg=key)
        else:
            np.testing.assert_array_equal(actual[key], value, err_msg=key)


class TestRefit:
    """Nothing of an earlier fit stays."""

    @every_classifier
    def test_on_images_after_a_table(self, clip, digits, digit_features, name):
        images, labels = digits
        table = pd.DataFrame(digit_features[0][:40], columns=[f"f{i}" for i in range(128)])
        clf = make(name, clip, input="features").fit(table, labels[:40])
        assert len(clf.feature_names_in_) == clf.n_features_in_ == 128
        clf.set_params(input="image").fit(images[:40], labels[:40])
        assert_same_state(clf, make(name, clip).fit(images[:40], labels[:40]))

    def test_other_parameters(self, features):
        X, y, W = features((3, 3, 3))
        clf = make("tip-f", text_features=W).fit(X, y)
        clf.set_params(fine_tune=False, text_features=None).fit(pd.DataFrame(X), y)
        assert_same_state(clf, TipAdapterClassifier().fit(X, y), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "zero-shot"])
def test_a_failed_fit_changes_nothing(clip, digits, name):
    images, labels = digits
    clf = make(name, clip).fit(images[:40], labels[:40])
    before = dict(vars(clf))
    with pytest.raises(ImageReadError, match="missing"):
        clf.set_params(class_names=[*sorted(set(labels)), "more"]).fit(
            [*images[:39], "missing.png"], labels[:40]
        )
    after = dict(vars(clf), class_names=None)
    assert after.keys() == before.keys()
    assert all(after[key] is value for key, value in before.items())


@every_classifier
def test_the_name_of_a_clip_as_encoder(clip, digits, name):
    images, labels = digits
    clf = make(name, "tiny").fit(images[:40], labels[:40])
    expected = make(name, clip).fit(images[:40], labels[:40])
    np.testing.assert_array_equal(clf.predict_proba(images[:9]), expected.predict_proba(images[:9]))


class TestShotsOfWeightZero:
    """Shots of weight 0 are ignored."""

    @pytest.mark.parametrize("name", WEIGHTED)
    @pytest.mark.parametrize("prior", ["text", "no text"])
    @given(data=st.data())
    def test_fit(self, features, name, prior, data):
        X, y, W = features((4, 3, 5, 2))
        W = W if prior == "text" else None
        weights = np.array(
            data.draw(st.lists(st.sampled_from([0, 0.5, 1, 2]), min_size=14, max_size=14))
        )
        kept = weights > 0
        if len(set(y[kept])) < (1 if prior == "text" else 2):
            return
        X[np.flatnonzero(~kept)[:1]] = np.nan
        clf = make(name, text_features=W).fit(X, y, sample_weight=weights)
        assert_same_state(clf, make(name, text_features=W).fit(X[kept], y[kept], weights[kept]))

    @pytest.mark.parametrize("name", WEIGHTED)
    def test_a_class_of_such_shots(self, features, name):
        X, y, W = features((3, 3, 3))
        weights = (y != 1).astype(float)
        assert make(name).fit(X, y, sample_weight=weights).classes_.tolist() == [0, 2]
        named = make(name, text_features=W).fit(X, y, sample_weight=weights)
        assert named.classes_.tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match="weight.*zero"):
            make(name, text_features=W).fit(X, y, sample_weight=0 * weights)

    @pytest.mark.parametrize("name", EXTENDABLE)
    def test_partial_fit(self, features, name):
        X, y, W = features((4, 3, 5))
        weights = np.where(np.arange(len(y)) % 3 == 0, 0.0, 1.5)
        clf, expected = (make(name, text_features=W).fit(X, y) for _ in range(2))
        clf.partial_fit(X, y, sample_weight=weights)
        kept = weights > 0
        expected.partial_fit(X[kept], y[kept], sample_weight=weights[kept])
        assert_same_state(clf, expected)
        with pytest.raises(ValueError, match="weight.*zero"):
            make(name, text_features=W).partial_fit(X, y, sample_weight=0 * weights)
        clf.partial_fit(X, y, sample_weight=0 * weights)
        assert_same_state(clf, expected, rtol=1e-12)

    @pytest.mark.parametrize("name", ["tip", "gda"])
    def test_images_are_neither_read_nor_miscounted(self, clip, digits, name):
        images, labels = digits
        given = [*images[:5], "missing.png", *images[5:9]]
        y = [*labels[:5], "none", *labels[5:9]]
        weights = np.array([0.0, *[1.0] * 4, 0.0, *[1.0] * 4])
        clf = make(name, clip).fit(given, y, sample_weight=weights)
        assert_same_state(clf, make(name, clip).fit(images[1:9], labels[1:9], np.ones(8)))
        given[7] = "bad.png"
        with pytest.raises(ImageReadError, match=r"^image 7 \('bad.png'\): no such file"):
            clf.fit(given, y, sample_weight=weights)

    def test_bad_rows_are_called_by_their_number(self, features):
        X, y, W = features((3, 3, 3))
        X[6] = 0
        weights = np.where(np.arange(9) < 3, 0.0, 1.0)
        with pytest.raises(ValueError, match="row 6 of X is all zeros"):
            TipAdapterClassifier(text_features=W).fit(X, y, sample_weight=weights)
        X[6] = np.nan
        with pytest.raises(ValueError, match="row 6 has NaN"):
            TipAdapterClassifier(text_features=W).fit(X, y, sample_weight=weights)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["fit", "partial_fit"]), st.integers(0, 10**6)),
        st.tuples(st.just("logit_scale"), st.floats(1, 100)),
        st.tuples(st.just("alpha"), st.floats(0.1, 5)),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("name", EXTENDABLE)
@pytest.mark.parametrize("prior", ["text", "no text"])
@given(steps=STEPS)
def test_any_steps_are_one_fit_of_all_shots(features, name, prior, steps):
    """Shots since the last `fit`, and the parameters of now: that is all that counts."""
    X, y, W = features((6, 5, 4, 5))
    clf = make(name, text_features=W if prior == "text" else None, logit_scale=20.0)
    rows, weights, fitted = np.empty(0, int), np.empty(0), False
    steps = [*steps, ("partial_fit", 0)]
    for step, value in steps:
        if step in ("logit_scale", "alpha"):
            if step in clf.get_params() and not (name == "gda-auto" and step == "alpha"):
                clf.set_params(**{step: value})
            continue
        rng = np.random.default_rng(value)
        # Both classes 0 and 1, so that there are two; others by chance, and some of no weight.
        own = np.r_[
            np.flatnonzero(y == 0)[:1], np.flatnonzero(y == 1)[:1], rng.integers(20, size=5)
        ]
        weight = np.r_[1.0, 1.0, rng.choice([0.0, 0.5, 2.0], size=5)]
        getattr(clf, step)(X[own], y[own], sample_weight=weight)
        if step == "fit" or not fitted:
            rows, weights = own, weight
        else:
            rows, weights = np.r_[rows, own], np.r_[weights, weight]
        fitted = True
    whole = make(name).set_params(**clf.get_params(deep=False))
    assert_same_state(clf, whole.fit(X[rows], y[rows], sample_weight=weights), rtol=1e-6)
