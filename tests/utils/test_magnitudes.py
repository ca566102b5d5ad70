"""Parameters that overflow are named in `fit` or at prediction; results are finite."""

import copy
import math

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from hypothesis import example, given
from hypothesis import strategies as st

from sktip import GDAClassifier, TipAdapterClassifierCV
from sktip._base import MAGNITUDES
from sktip._encoding.session import EncoderSession
from sktip._utils.magnitudes import check_finite, check_magnitudes

pytestmark = pytest.mark.filterwarnings(
    "ignore:neither `encoder`", "ignore:every class has one shot", "error::RuntimeWarning"
)
#: Lists of numbers, which have a test of their own.
LISTS = ("alphas", "betas")
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
priors = pytest.mark.parametrize("prior", ["text", "no text"])


def refused(clf, X, y, name, **fit_parameters):
    """Check that `fit` names the parameter, and leaves the classifier as it was."""
    before = copy.deepcopy(vars(clf))
    with pytest.raises(ValueError, match=name):
        clf.fit(X, y, **fit_parameters)
    np.testing.assert_equal(vars(clf), before)


@pytest.mark.parametrize("name", CLASSIFIERS)
@dtypes
@priors
@given(data=st.data())
def test_finite_answers_or_an_error_that_names_the_parameter(features, name, dtype, prior, data):
    X, y, text = features((3, 4, 2), dtype=dtype)
    clf = make(name, text_features=text if prior == "text" else None)
    numbers = sorted(set(MAGNITUDES).intersection(clf.get_params(deep=False)).difference(LISTS))
    changed = data.draw(st.sampled_from(numbers))
    value = 10.0 ** data.draw(st.integers(-320, 308))
    try:
        clf.set_params(**{changed: value}).fit(X, y)
        answers = clf.predict_proba(X)
        logits = clf.decision_function(X)
    except ValueError as error:
        assert changed in str(error)  # noqa: PT017
        return
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    np.testing.assert_array_equal(clf.predict(X), logits.argmax(axis=1))


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("value", [1e30, 1e39, 1e308])
def test_a_logit_scale_that_overflows_is_refused_by_fit(features, name, value):
    X, y, text = features((3, 4, 2), dtype=np.float32)
    clf = make(name, text_features=text).fit(X, y)
    refused(clf.set_params(logit_scale=value), X, y, "logit_scale=.* too large for float32")


@dtypes
@priors
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("tip-f", {"learning_rate": 1e30}),
        ("tip-f", {"learning_rate": 1e30, "n_epochs": 1}),
        ("tip-f", {"learning_rate": 1e3, "n_epochs": 5}),
        ("tip-f", {"learning_rate": 1e12, "n_epochs": 1}),
        ("clip-adapter", {"learning_rate": 1e12}),
        ("tip-f", {"weight_decay": 1e30}),
        ("clip-adapter", {"learning_rate": 1e30}),
        ("clip-adapter", {"learning_rate": 1e30, "weight_decay": 0.0, "ratio": 1.0}),
        ("clip-adapter", {"weight_decay": 1e30}),
    ],
)
def test_a_training_that_diverges_is_an_error(features, dtype, prior, name, parameters):
    X, y, text = features((3, 4, 2), dtype=dtype)
    clf = make(name, text_features=text if prior == "text" else None).fit(X, y)
    first, value = next(iter(parameters.items()))
    far = dtype == np.float32 and value > 1e15
    message = f"{first}=.* is too large for float32" if far else f"diverged in epoch .*{first}="
    refused(clf.set_params(**parameters), X, y, message)


def test_learned_keys_that_diverge_in_a_fold_are_an_error(features):
    X, y, text = features((4, 4, 4))
    clf = TipAdapterClassifierCV(text_features=text).fit(X, y)
    clf.set_params(fine_tune=True, learning_rate=1e30, n_epochs=2)
    refused(clf, X, y, "diverged in epoch 1.*learning_rate=1e\\+30")


@dtypes
@priors
@pytest.mark.parametrize("lam", [1e-20, 1e-300])
def test_a_kernel_ridge_without_a_solution_is_an_error(features, dtype, prior, lam):
    X, y, text = features((3, 4, 2), dtype=dtype)
    text = text if prior == "text" else None
    clf = make("proker", text_features=text).fit(X, y)
    if dtype == np.float32 and lam < np.finfo(dtype).tiny:
        refused(clf.set_params(lam=lam), X, y, "lam=1e-300 is too small for float32")
        return
    # Without sharpness all shots are the same.
    refused(clf.set_params(lam=lam, beta=0.0), X, y, "no solution in double precision with lam=")


@dtypes
@priors
def test_shots_without_spread(features, dtype, prior):
    """Discriminants of equal shots, or of one shot per class, use the identity."""
    X, y, text = features((1, 1, 1), dtype=dtype)
    text = text if prior == "text" else None
    for shots, labels in ((X, y), (np.repeat(X, 5, 0), np.repeat(y, 5))):
        clf = GDAClassifier(text_features=text).fit(shots, labels)
        np.testing.assert_array_equal(clf.predict(X), y)


@pytest.mark.parametrize(("name", "value"), [("alpha", 1e39), ("beta", 1e30)])
def test_what_is_set_after_fit_is_checked_at_prediction(features, name, value):
    X, y, text = features((3, 4, 2), dtype=np.float32)
    clf = make("tip", text_features=text).fit(X, y).set_params(**{name: value})
    for ask in (clf.predict, clf.predict_proba, clf.decision_function, clf.nearest_shots):
        with pytest.raises(ValueError, match=f"{name}=.* is too large for float32"):
            ask(X)


def test_values_of_a_search(features):
    X, y, text = features((3, 4, 2), dtype=np.float32)
    clf = TipAdapterClassifierCV(text_features=text)
    with pytest.raises(ValueError, match="alphas=1e\\+39 is too large for float32"):
        clf.set_params(alphas=[1, 1e39]).fit(X, y)
    with pytest.raises(ValueError, match="betas=1e\\+30 is too large for float32"):
        clf.set_params(alphas=None, betas=[1e30, 5]).fit(X, y)


def test_a_nan_is_no_score(features):
    """A scorer that fails for some alphas does not choose them; one that always fails is refused."""
    X, y, text = features((4, 4, 4))

    def of_calm_classifiers(estimator, X, y):
        sure = estimator.predict_proba(X).max(axis=1).mean()
        return np.nan if sure > 0.9 else estimator.score(X, y)

    clf = TipAdapterClassifierCV(text_features=text, logit_scale=1.0, scoring=of_calm_classifiers)
    assert np.isfinite(clf.fit(X, y).best_score_)
    assert clf.predict_proba(X).max(axis=1).mean() < 0.95
    with pytest.raises(ValueError, match="returns NaN for every alpha and beta"):
        clf.set_params(scoring=lambda estimator, X, y: np.nan).fit(X, y)


def test_infinite_features_of_an_encoder(clip, digits, monkeypatch):
    images, labels = digits
    views_of = EncoderSession.views

    def endless(self, images, *args, **kwargs):
        for row, views in enumerate(views_of(self, images, *args, **kwargs)):
            yield views * np.float32(np.inf if row == 2 else 1)

    clf = make("tip", clip).fit(images[:20], labels[:20])
    monkeypatch.setattr(EncoderSession, "views", endless)
    with pytest.raises(ValueError, match=r"infinite features of .*image 2 \(1 in all\)"):
        clf.predict(images[:5])


@dtypes
@given(exponent=st.floats(-330, 308), name=st.sampled_from(["alpha", "betas"]))
@example(exponent=-math.inf, name="alpha")
def test_bounds(dtype, exponent, name):
    value = 10.0**exponent
    limits = np.finfo(dtype)
    most = float(1 / limits.eps) if name == "betas" else math.sqrt(limits.max / 1e8)
    allowed = value <= most and (value == 0 or value >= limits.tiny)
    for values in (value, [value], np.array([0, value])):
        if allowed:
            check_magnitudes(dtype, **{name: values})
        else:
            with pytest.raises(
                ValueError, match=f"{name}=.* is too (large|small) for {limits.dtype}"
            ):
                check_magnitudes(dtype, **{name: values})
    check_magnitudes(dtype, alpha=None, beta="auto")


@dtypes
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_check_finite(dtype, bad):
    array = np.zeros((3, 4), dtype)
    check_finite("logits", array, alpha=1.0)
    array += np.finfo(dtype).max  # A sum of these is infinite, they are not.
    check_finite("logits", array, alpha=1.0)
    array[1, 2] = bad
    with pytest.raises(ValueError, match="logits are not finite.*alpha=3"):
        check_finite("logits", array, alpha=3.0)
