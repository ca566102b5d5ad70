"""What must hold for every classifier, on inputs that Hypothesis draws."""

import string
import warnings

import numpy as np
import pytest
from classifiers import CLASSIFIERS, EXTENDABLE, make
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sklearn.utils.validation import has_fit_parameter

from sktip import TipAdapterClassifier
from sktip._maths.unit import unit_norm

every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
pytestmark = pytest.mark.filterwarnings(
    "ignore:neither `encoder`", "ignore:every class has one shot", "error::RuntimeWarning"
)

#: Classifiers that are trained in batches.
SMALL_BATCHES = {"tip-f": {"batch_size": 100}, "clip-adapter": {"batch_size": 100}}
#: Of probabilities, by the type of the features.
TOLERANCE = {"f": 1e-4, "d": 1e-7}
LABELS = st.text(string.ascii_letters + string.digits + " _-éßЖ中", min_size=1, max_size=8)


@st.composite
def problems(draw, dtypes=(np.float64, np.float32)):
    """Shots around class centres, their labels, text features and queries."""
    n_per_class = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    d = draw(st.integers(4, 16))
    noise = draw(st.sampled_from([0.1, 0.5, 1.0]))
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y = rng.permutation(np.repeat(np.arange(len(n_per_class)), n_per_class))
    centres = rng.normal(size=(len(n_per_class), d))
    X = centres[y] + noise * rng.normal(size=(len(y), d))
    Q = np.repeat(centres, 2, axis=0) + noise * rng.normal(size=(2 * len(centres), d))
    text = centres + noise * rng.normal(size=centres.shape)
    return X.astype(dtype), y, text.astype(dtype), Q.astype(dtype), rng


def fit(name, X, y, text, **parameters):
    return make(name, text_features=text, **{"logit_scale": 20.0, **parameters}).fit(X, y)


def assert_close(actual, expected, dtype):
    """Equal probabilities, up to what rounding does to them."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[np.dtype(dtype).char])


@every_classifier
@given(problem=problems([np.float64]), with_text=st.booleans())
def test_order_weights_of_one_and_repetition(name, problem, with_text):
    """What is the same training set gives the same logits, whatever is chosen on it."""
    X, y, text, Q, rng = problem
    text = text if with_text else None
    cls, order = CLASSIFIERS[name][0], rng.permutation(len(y))

    def logits(X, y, sample_weight=None, **parameters):
        clf = make(name, text_features=text, logit_scale=20.0, **parameters)
        given = {} if sample_weight is None else {"sample_weight": sample_weight}
        return clf.fit(X, y, **given).decision_function(Q)

    def assert_same(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)

    assert_same(logits(X[order], y[order]), logits(X, y))
    if has_fit_parameter(cls, "sample_weight"):
        assert_same(logits(X, y, np.ones(len(y))), logits(X, y))
        weights = rng.integers(1, 4, len(y))
        rows = rng.permutation(np.repeat(np.arange(len(y)), weights))
        assert_same(logits(X[rows], y[rows]), logits(X, y, weights))
    # FewShotClassifier balances numbers of photos, of which near copies are one.
    if "class_weight" in cls().get_params() and name != "FewShotClassifier":
        counts = np.bincount(y)
        numbers = dict(enumerate(len(y) / np.count_nonzero(counts) / counts))
        assert_same(logits(X, y, class_weight="balanced"), logits(X, y, class_weight=numbers))


@every_classifier
def test_order_and_repetition_of_many_shots(name):
    """Beyond a thousand rows, some shots are enough for some choices: they are counted as shots, not as rows."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(40), 20)
    text = rng.normal(size=(40, 24))
    X, Q = text[y] + rng.normal(size=(len(y), 24)), text + rng.normal(size=text.shape)
    weights = rng.integers(1, 4, len(y))
    rows = rng.permutation(np.repeat(np.arange(len(y)), weights))
    order = rng.permutation(len(y))
    shuffled = fit(name, X[order], y[order], text, **SMALL_BATCHES.get(name, {}))
    given = fit(name, X, y, text, **SMALL_BATCHES.get(name, {})).decision_function(Q)
    np.testing.assert_allclose(shuffled.decision_function(Q), given, rtol=1e-6, atol=1e-6)
    if has_fit_parameter(CLASSIFIERS[name][0], "sample_weight"):
        clf = make(name, text_features=text, logit_scale=20.0).fit(X, y, sample_weight=weights)
        expected = fit(name, X[rows], y[rows], text).decision_function(Q)
        np.testing.assert_allclose(clf.decision_function(Q), expected, rtol=1e-6, atol=1e-6)


@every_classifier
@given(problem=problems(), size=st.integers(1, 9))
def test_batches(name, problem, size):
    X, y, text, Q, _ = problem
    Q = np.concatenate([Q] * 9)
    clf = fit(name, X, y, text)
    expected = clf.predict_proba(Q)
    parts = [clf.predict_proba(Q[start : start + size]) for start in range(0, len(Q), size)]
    assert_close(np.concatenate(parts), expected, X.dtype)


@pytest.mark.parametrize("name", EXTENDABLE)
@given(problem=problems(), with_text=st.booleans(), data=st.data())
def test_shots_in_parts(name, problem, with_text, data):
    X, y, text, Q, _ = problem
    text = text if with_text else None
    cuts = sorted(data.draw(st.sets(st.integers(1, len(y) - 1), max_size=3)))
    weights = data.draw(st.sampled_from([None, np.linspace(0.5, 2, len(y))]))
    clf = make(name, text_features=text, logit_scale=20.0)
    for rows in np.split(np.arange(len(y)), cuts):
        own = None if weights is None else weights[rows]
        clf.partial_fit(X[rows], y[rows], classes=np.unique(y), sample_weight=own)
    whole = make(name, text_features=text, logit_scale=20.0).fit(X, y, sample_weight=weights)
    assert_close(clf.predict_proba(Q), whole.predict_proba(Q), X.dtype)


@every_classifier
@given(problem=problems(), data=st.data())
def test_renaming_of_labels(name, problem, data):
    X, y, text, Q, _ = problem
    n = len(text)
    clf = fit(name, X, y, text)
    names = np.array(data.draw(st.lists(LABELS, min_size=n, max_size=n, unique=True)))
    numbers = np.array(
        data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=n, max_size=n, unique=True))
    )
    for labels, class_names in (
        (names, None),
        (numbers, dict.fromkeys(numbers.tolist(), "name")),
    ):
        order = np.argsort(labels)
        renamed = fit(name, X, labels[y], text[order], class_names=class_names)
        np.testing.assert_array_equal(renamed.classes_, labels[order])
        expected = clf.predict_proba(Q)
        assert_close(renamed.predict_proba(Q), expected[:, order], X.dtype)
        first, second = np.sort(expected)[:, -1:-3:-1].T
        sure = first - second > 1e-3
        np.testing.assert_array_equal(renamed.predict(Q)[sure], labels[clf.predict(Q)][sure])


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("tip", {"alpha": 0.0}),
        ("tip-f", {"alpha": 0.0}),
        ("tip-cv", {"alphas": [0.0]}),
        ("gda", {"alpha": 0.0}),
        ("clip-adapter", {"ratio": 0.0}),
    ],
)
@given(problem=problems())
def test_without_the_shots_it_is_zero_shot(name, off, problem):
    X, y, text, Q, _ = problem
    zero_shot = fit("zero-shot", X, y, text)
    np.testing.assert_allclose(
        fit(name, X, y, text, **off).decision_function(Q),
        zero_shot.decision_function(Q),
        rtol=0, atol=1e-4 if X.dtype == np.float32 else 1e-9,
    )  # fmt: skip


@given(problem=problems())
def test_kernel_ridge_without_its_correction_is_zero_shot(problem):
    X, y, text, Q, _ = problem
    clf = fit("proker", X, y, text, gamma=0.0)
    logits = fit("zero-shot", X, y, text, logit_scale=1.0).decision_function(Q)
    np.testing.assert_allclose(clf.temperature_ * clf.decision_function(Q), logits, atol=1e-5)


@given(problem=problems(), order=st.sampled_from("CF"))
def test_a_sharp_cache_knows_its_shots(problem, order):
    X, y, _, _, _ = problem
    X = unit_norm(X)
    others = (1 - X @ X.T)[y[:, None] != y]
    assume(others.min() > 1e-3)
    # So sharp that all shots of other classes together have less than half a vote.
    beta = np.log(2 * len(y)) / others.min()
    clf = TipAdapterClassifier(alpha=1.0, beta=beta).fit(np.asarray(X, order=order), y)
    np.testing.assert_array_equal(clf.predict(X), y)


class TestRowsOfAnySize:
    """The length of a row has no effect; only a row of zeros has no direction."""

    @every_classifier
    @given(problem=problems(), exponent=st.integers(-1000, 1000))
    @example(problem=None, exponent=-1000)
    def test_same_answers(self, name, problem, exponent):
        if problem is None:
            rng = np.random.default_rng(0)
            text = np.eye(3, 5)
            problem = (
                rng.normal(size=(9, 5)),
                np.arange(9) % 3,
                text,
                rng.normal(size=(4, 5)),
                rng,
            )
        X, y, text, Q, _ = problem
        # Powers of two, so that nothing but the exponent changes.
        scale = X.dtype.type(2.0) ** (exponent if X.dtype == np.float64 else exponent // 9)
        expected = fit(name, X, y, text).predict_proba(Q)
        assert_close(
            fit(name, scale * X, y, scale * text).predict_proba(scale * Q), expected, X.dtype
        )

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @given(
        rows=st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=1, max_size=5),
        exponent=st.integers(-1074, 1023),
    )
    def test_unit_norm(self, dtype, rows, exponent):
        with np.errstate(under="ignore", over="ignore"):
            X = (np.array(rows) * 2.0**exponent).astype(dtype)
        assume(np.isfinite(X).all())
        before = X.copy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            unit = unit_norm(X)
        np.testing.assert_array_equal(X, before)
        assert unit.dtype == dtype
        lengths = np.linalg.norm(unit, axis=1)
        np.testing.assert_allclose(lengths, X.any(axis=1), atol=8 * np.finfo(dtype).eps)
        exact = X.astype(np.longdouble)
        exact /= np.where(X.any(axis=1), np.sqrt((exact**2).sum(axis=1)), 1)[:, None]
        np.testing.assert_allclose(unit, exact.astype(float), atol=8 * np.finfo(dtype).eps)

    @every_classifier
    def test_denormals(self, name):
        """A row of the smallest number that there is, is a row like any other."""
        y = np.arange(8) % 4
        for smallest in (5e-324, np.float32(1e-45)):
            corners = np.eye(4, dtype=np.asarray(smallest).dtype)[y]
            tiny, text = smallest * corners, corners[:4]
            assert tiny[0, 0] > 0
            expected = fit(name, corners, y, text).predict_proba(corners)
            found = fit(name, tiny, y, text).predict_proba(tiny)
            assert_close(found, expected, corners.dtype)

    @every_classifier
    def test_zero_rows_are_no_shots(self, name, features):
        X, y, text = features((3, 3, 3))
        broken = X.copy()
        broken[4] = 0
        if name != "zero-shot":
            with pytest.raises(ValueError, match=r"row 4 of X is all zeros \(1 in all\)"):
                fit(name, broken, y, text)
        without = fit(name, broken, y, None)
        assert np.isfinite(without.predict_proba(np.zeros((1, X.shape[1])))).all()

    @every_classifier
    def test_nan_and_infinity(self, name, features):
        X, y, text = features((3, 3, 3))
        for value, dtype in ((np.nan, np.float64), (np.inf, np.float32), (-np.inf, np.float16)):
            broken = X.astype(dtype)
            broken[4, 2] = value
            clf = fit(name, X.astype(dtype), y, text)
            with pytest.raises(ValueError, match="NaN or infinity: row 4 has"):
                clf.predict(broken)
            if name != "zero-shot":
                with pytest.raises(ValueError, match="NaN or infinity: row 4 has"):
                    clf.fit(broken, y)
            with pytest.raises(ValueError, match=r"(?i)text_features contains (NaN|infinity)"):
                fit(name, X, y, broken[[3, 4, 5]])


LAYOUTS = {
    "F": np.asfortranarray,
    "C": np.copy,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "mapped": lambda X: X,
    "list": np.ndarray.tolist,
}
#: All pairs of a layout and a type, of a classifier and a layout, and of a classifier and a type.
PAIRWISE = [
    (name, layout, dtype)
    for i, name in enumerate(CLASSIFIERS)
    for layout, dtype in zip(
        LAYOUTS,
        np.roll([np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_], i),
        strict=True,
    )
]


@pytest.mark.parametrize(("name", "layout", "dtype"), PAIRWISE)
def test_arrays_of_any_kind(name, layout, dtype, features, tmp_path):
    """Type and memory layout of arrays have no effect, and nothing is written to them."""
    X, y, text = features((3, 1, 4), d=6)
    X = np.abs(100 * X).astype(dtype)
    X[:, 0] = 1
    expected = fit(name, X.astype(np.float64), y, text).predict_proba(X.astype(np.float64))
    other = LAYOUTS[layout](X)
    if layout == "mapped":
        np.save(tmp_path / "X.npy", X)
        other = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif layout != "list":
        other.flags.writeable = False
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not writable")
        actual = fit(name, other, y, text).predict_proba(other)
    tolerance = 1e-4 if getattr(other, "dtype", dtype) == np.float32 else 1e-9
    np.testing.assert_allclose(actual, expected, atol=tolerance)


class TestSizes:
    """One shot, one query, a thousand classes."""

    @every_classifier
    def test_one_shot(self, name, features):
        X, y, text = features((1, 1, 1))
        probabilities = fit(name, X[:1], [1], text).predict_proba(X[:1])
        assert probabilities.shape == (1, 3)
        assert probabilities.sum() == pytest.approx(1)
        # One shot of each of two classes.
        clf = fit(name, X[y < 2], y[y < 2], None)
        assert clf.decision_function(X[:1]).shape == (1,)
        np.testing.assert_array_equal(clf.predict(X[y < 2]), y[y < 2])

    @every_classifier
    # Of one shot per class, scikit-learn would ask whether it is a regression.
    @pytest.mark.filterwarnings("error:.*regression problem")
    def test_a_thousand_classes(self, name):
        rng = np.random.default_rng(0)
        y = np.concatenate([np.arange(1000), np.arange(0, 1000, 3)])
        text = rng.normal(size=(1000, 64)).astype(np.float32)
        X = text[y] + 0.3 * rng.normal(size=(len(y), 64)).astype(np.float32)
        clf = fit(name, X, y, text)
        probabilities = clf.predict_proba(X[:50])
        assert probabilities.shape == (50, 1000)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
        assert clf.score(X, y) > 0.95
