"""ProKeR: its formula, and the choice of its values."""

import numpy as np
import pytest
from formulas import BETA, LAMBDA, SCALE, kernel, plain_correction
from sklearn.base import clone

from sktip import ProKeRClassifier

GAMMA = 0.3


@pytest.mark.parametrize("shots", [(3, 3, 3), (1, 1, 1), (1, 4, 2, 7), (5, 5)])
def test_logits_are_the_formula(features, shots):
    X, y, W = features(shots)
    Q = features((4,) * len(shots), seed=1)[0]
    clf = ProKeRClassifier(text_features=W, beta=BETA, lam=LAMBDA, gamma=GAMMA, logit_scale=SCALE)
    clf.fit(X, y)
    logits = Q @ W.T + GAMMA * plain_correction(Q, X, y, W, len(shots))
    logits /= clf.temperature_
    expected = logits if len(shots) > 2 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(clf.decision_function(Q), expected, rtol=1e-9, atol=1e-9)


def test_published_form(features):
    X, y, W = features((4, 4, 4))
    clf = ProKeRClassifier(text_features=W, beta=BETA, lam=LAMBDA, gamma=LAMBDA).fit(X, y)
    inverse = np.linalg.inv(kernel(X, X) / LAMBDA + np.eye(len(X)))
    published = X @ W.T + kernel(X, X) @ inverse @ (np.eye(3)[y] - X @ W.T)
    np.testing.assert_allclose(clf.decision_function(X) * clf.temperature_, published, atol=1e-9)


def test_one_shot_takes_the_published_values(features):
    X, y, W = features((1,) * 5)
    clf = ProKeRClassifier(text_features=W).fit(X, y)
    assert (clf.beta_, clf.lam_, clf.gamma_) == pytest.approx((3, 0.05, 0.05))


def test_auto_is_better_than_the_published_values(features):
    X, y, W = features((8,) * 10, d=32)
    Q, qy, _ = features((40,) * 10, d=32)
    W = W + np.random.default_rng(5).normal(size=W.shape) * 0.3  # A prior that misleads.

    def log_loss(clf):
        proba = clf.fit(X, y).predict_log_proba(Q)
        return -proba[np.arange(len(qy)), qy].mean()

    auto = ProKeRClassifier(text_features=W)
    fixed = ProKeRClassifier(text_features=W, gamma=0.07)
    assert log_loss(auto) < log_loss(fixed)
    assert auto.score(Q, qy) >= fixed.score(Q, qy)


@pytest.mark.parametrize("given", [{"beta": BETA}, {"lam": LAMBDA}, {"gamma": GAMMA}])
def test_given_values_stand(features, given):
    X, y, W = features((4, 4, 4))
    clf = ProKeRClassifier(text_features=W, **given).fit(X, y)
    (name, value) = next(iter(given.items()))
    assert getattr(clf, f"{name}_") == pytest.approx(value)
    assert clf.beta_ > 0
    assert clf.gamma_ != clf.lam_


def test_unequal_shots_and_classes_of_one(features):
    X, y, W = features((1, 6, 3, 1, 9))
    clf = ProKeRClassifier(text_features=W, logit_scale=SCALE).fit(X, y)
    assert clf.score(X, y) > 0.8


def test_temperature_makes_probabilities(features):
    """Without it, logits of size 1 would be close to no answer at all."""
    X, y, W = features((6,) * 8, d=32)
    Q, qy, _ = features((40,) * 8, d=32)
    clf = ProKeRClassifier(text_features=W).fit(X, y)
    proba = clf.predict_proba(Q)
    confidence = proba.max(axis=1).mean()
    assert abs(confidence - clf.score(Q, qy)) < 0.15
    scaled = clone(clf).set_params(logit_scale=10.0).fit(X, y)
    assert scaled.temperature_ > clf.temperature_


def test_too_many_rows(features, clip, digits):
    X, y, W = features((4, 4, 4))
    with pytest.raises(ValueError, match="12 shots make 12 rows, more than max_shots=10.*GDA"):
        ProKeRClassifier(text_features=W, max_shots=10).fit(X, y)
    images, labels = digits
    with pytest.raises(ValueError, match="20 shots of 3 views make 60 rows.*max_shots=50"):
        ProKeRClassifier(clip, n_views=3, max_shots=50).fit(images[:20], labels[:20])


def test_every_view_is_a_row(clip, digits):
    images, labels = digits
    clf = ProKeRClassifier(clip, n_views=2, random_state=0).fit(images[:60], labels[:60])
    assert clf.cache_keys_.shape == (120, 128)
    assert clf.dual_coef_.shape == (120, 10)
    np.testing.assert_array_equal(clf.classes_[clf.cache_codes_], labels[:60].repeat(2))
    np.testing.assert_allclose(np.linalg.norm(clf.cache_keys_, axis=1), 1, atol=1e-5)
    assert clf.score(images[60:], labels[60:]) > 0.6


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_ridge_without_a_solution_is_an_error(features, dtype):
    X, y, text = features((3, 4, 2), dtype=dtype)
    # Without sharpness all shots are the same.
    clf = ProKeRClassifier(text_features=text, beta=0.0, gamma=0.1, lam=1e-20)
    with pytest.raises(ValueError, match="no solution in double precision with lam="):
        clf.fit(X, y)
