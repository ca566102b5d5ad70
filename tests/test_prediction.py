"""What every classifier answers: in batches, in little memory, for rows of zeros and any array."""

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from scipy.special import log_softmax, softmax
from sklearn.base import clone

every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
NAMES_AND_TYPES = [(name, (np.float32, np.float64)[i % 2]) for i, name in enumerate(CLASSIFIERS)]
pytestmark = pytest.mark.filterwarnings(
    "ignore:neither `encoder`", "ignore:every class has one shot", "error::RuntimeWarning"
)


def fitted(name, features, prior="text", dtype=np.float64, **parameters):
    X, y, text = features((3, 4, 2, 3), dtype=dtype)
    text = text if prior == "text" else None
    return make(name, text_features=text, **{"logit_scale": 20.0, **parameters}).fit(X, y)


@pytest.mark.parametrize(("name", "dtype"), NAMES_AND_TYPES)
def test_answers_are_those_of_the_logits(name, features, dtype):
    clf = fitted(name, features, dtype=dtype)
    # Batches have at most 1,024 queries.
    Q = features((300,) * 4, seed=1, dtype=dtype)[0]
    logits = clf.decision_function(Q)
    assert logits.dtype == dtype
    assert logits.shape == (1200, 4)
    np.testing.assert_array_equal(clf.predict(Q), logits.argmax(axis=1))
    for answer, expected in (
        (clf.predict_proba(Q), softmax(logits.astype(float), axis=1)),
        (clf.predict_log_proba(Q), log_softmax(logits.astype(float), axis=1)),
    ):
        assert answer.dtype == np.float64
        np.testing.assert_allclose(answer, expected, rtol=1e-12)


@pytest.mark.parametrize(("name", "dtype"), NAMES_AND_TYPES)
def test_the_answer_to_a_row_does_not_depend_on_its_batch(name, features, dtype):
    clf = fitted(name, features, dtype=dtype)
    Q = np.random.default_rng(0).normal(size=(1100, 8)).astype(dtype)
    asked = [clf.decision_function]
    if hasattr(clf, "nearest_shots"):
        asked.append(lambda rows: clf.nearest_shots(rows)[1])
    for ask in asked:
        whole = ask(Q)
        for rows in (slice(1), slice(1000, 1050), slice(1024, None)):
            np.testing.assert_allclose(
                ask(Q[rows]), whole[rows], atol=1e-4 if dtype == np.float32 else 1e-11
            )


@pytest.mark.parametrize("prior", ["text", "no text"])
@pytest.mark.parametrize(("name", "dtype"), NAMES_AND_TYPES)
def test_a_row_of_zeros_is_answered_and_changes_no_other(name, features, prior, dtype):
    clf = fitted(name, features, prior, dtype)
    Q = features((20,) * 4, seed=1, dtype=dtype)[0]
    with_zeros = Q.copy()
    with_zeros[[0, 7]] = 0
    logits = clf.decision_function(with_zeros)
    np.testing.assert_array_equal(
        np.delete(logits, [0, 7], 0), np.delete(clf.decision_function(Q), [0, 7], 0)
    )
    expected = np.zeros(4)
    if name.startswith("tip"):
        alpha, beta = clf._alpha_beta()
        expected = alpha * np.exp(-beta) * np.bincount(clf.cache_codes_)
    elif hasattr(clf, "intercept_"):
        expected = clf.intercept_
    elif name.startswith("proker"):
        votes = np.exp(-clf.beta_) * clf.dual_coef_.sum(axis=0)
        expected = clf.gamma_ * votes / clf.temperature_
    np.testing.assert_allclose(logits[[0, 7]], [expected, expected], rtol=1e-4, atol=1e-6)
    # As scikit-learn's tools probe.
    assert clf.predict(np.zeros((1, 8))).shape == (1,)
    np.testing.assert_allclose(clf.predict_proba(np.zeros((3, 8))).sum(axis=1), 1)


def test_two_classes_and_a_row_of_zeros(features):
    X, y, text = features((3, 3))
    clf = make("tip", text_features=text).fit(X, y)
    np.testing.assert_allclose(clf.decision_function(np.zeros((2, 8))), [0, 0])


@every_classifier
def test_a_bad_row_is_called_by_its_place_in_all_of_x(name, features):
    clf = fitted(name, features)
    Q = features((300,) * 4, seed=1)[0]
    Q[[1130, 1199], 3] = np.nan, np.inf
    with pytest.raises(ValueError, match="row 1130 has NaN .2 rows in all"):
        clf.predict(Q)


@pytest.mark.parametrize("dtype", ["f2", "i1", "longdouble", ">f8"])
def test_queries_of_another_type_are_converted(features, dtype):
    clf = fitted("tip", features)
    Q = np.rint(8 * features((300,) * 4, seed=1)[0])
    np.testing.assert_allclose(clf.predict_proba(Q.astype(dtype)), clf.predict_proba(Q), atol=1e-12)
    with pytest.raises(ValueError, match="0 sample"):
        clf.predict(Q[:0])


def test_rows_of_the_shots_that_are_zeros_are_called_by_their_place(features):
    X, y, text = features((3, 3, 3))
    X[4] = 0
    weights = np.ones(9)
    weights[:2] = 0
    with pytest.raises(ValueError, match=r"row 4 of X is all zeros \(1 in all\)"):
        make("tip", text_features=text).fit(X, y, sample_weight=weights)


MEMORY = """
import ctypes
import numpy as np
from classifiers import make

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

rng = np.random.default_rng(0)
# The copies that are not made: of X, in another type; of all logits.
for n, d, n_classes, dtype, kind in (12_000, 512, 8, "f2", "f8"), (12_000, 32, 1000, "f4", "f4"):
    y = np.arange(max(16, n_classes)) % n_classes
    shots, text = (rng.normal(size=(rows, d)).astype(kind) for rows in (len(y), n_classes))
    X = rng.standard_normal((n, d), np.float32).astype(dtype)
    for name in ("tip", "clip-adapter", "proker", "FewShotClassifier"):
        model = make(name, text_features=text).fit(shots, y)
        for method in ("predict", "predict_proba"):
            ask = getattr(model, method)
            ask(X[:2000])  # What is imported or allocated once is not the call's.
            peaks = []
            for _ in range(2):  # Nor is what the allocator holds back now and then.
                ctypes.CDLL(None).malloc_trim(0)
                with open("/proc/self/clear_refs", "w") as file:
                    file.write("5")  # The peak counts from here.
                before = status("VmRSS")
                answer = ask(X)
                peaks.append(status("VmHWM") - before - answer.nbytes)
                del answer
            print(name, method, n, min(peaks) / 1e6)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory():
    # In a separate process, since torch's memory is only visible in that of the process.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,  # where `classifiers` is
    )
    assert done.returncode == 0, done.stderr
    extra = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    assert len(extra) == 16
    assert not [(what, megabytes) for what, megabytes in extra if float(megabytes) > 40]


@every_classifier
def test_answers_are_finite_or_an_error_says_so(name, features):
    """In float32, products of large numbers overflow, and small ones are 0."""
    X, y, text = features((3, 4, 2), dtype=np.float32)
    clf = make(name, text_features=text)
    numbers = {"logit_scale", "alpha", "beta", "gamma", "lam"} & {*clf.get_params()}
    for parameter, value in product(sorted(numbers), (1e-300, 1e30)):
        changed = clone(clf).set_params(**{parameter: value})
        try:
            logits = changed.fit(X, y).decision_function(X)
        except ValueError:
            continue
        assert np.isfinite(logits).all()


def test_values_set_after_fit_may_overflow(features):
    clf = fitted("tip", features, dtype=np.float32).set_params(alpha=1e38, beta=0.0)
    for ask in (clf.predict, clf.predict_proba, clf.decision_function):
        with pytest.raises(ValueError, match="logits are not finite, .* overflow float32"):
            ask(clf.cache_keys_)
