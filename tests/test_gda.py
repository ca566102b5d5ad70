"""Gaussian discriminant analysis: its formula, its sums, and the choice of alpha."""

import numpy as np
import pytest
from formulas import ALPHA, SCALE, plain_logits
from sklearn.base import clone

from sktip import GDAClassifier
from sktip._encoding.session import open_encoder


@pytest.mark.parametrize("shots", [(3, 3, 3), (2, 2, 2), (1, 4, 2, 7), (20, 30, 17)])
def test_logits_are_the_published_formula(features, shots):
    X, y, W = features(shots)
    Q = features((4,) * len(shots), seed=1)[0]
    clf = GDAClassifier(text_features=W, alpha=ALPHA, logit_scale=SCALE).fit(X, y)
    np.testing.assert_allclose(clf.decision_function(Q), plain_logits(Q, X, y, W), atol=1e-9)
    linear = Q @ clf.coef_.T + clf.intercept_
    np.testing.assert_allclose(clf.decision_function(Q), linear, atol=1e-9)


def test_means_and_covariance_are_those_of_the_shots(features):
    X, y, W = features((5, 3, 9))
    clf = GDAClassifier(text_features=W).fit(X, y)
    means = np.array([X[y == code].mean(axis=0) for code in range(3)])
    np.testing.assert_allclose(clf.means_, means, atol=1e-9)
    np.testing.assert_allclose(clf.covariance_, np.cov((X - means[y]).T, bias=True), atol=1e-9)


def test_one_shot_has_no_covariance(features):
    X, y, W = features((1, 1, 1))
    clf = GDAClassifier(text_features=W, alpha=ALPHA, logit_scale=SCALE).fit(X, y)
    means = X[np.argsort(y)]
    expected = SCALE * X @ W.T + ALPHA * (X @ means.T - np.log(3) - 0.5)
    np.testing.assert_allclose(clf.decision_function(X), expected, atol=1e-9)
    # The same images again are no spread either.
    twice = clone(clf).fit(np.repeat(X, 3, axis=0), np.repeat(y, 3))
    np.testing.assert_allclose(twice.decision_function(X), expected, atol=1e-9)


def test_singular_covariance(features):
    X, y, W = features((2, 2, 2), d=40)
    clf = GDAClassifier(text_features=W, alpha=ALPHA, logit_scale=SCALE).fit(X, y)
    np.testing.assert_allclose(clf.decision_function(X), plain_logits(X, X, y, W), atol=1e-8)


@pytest.mark.parametrize("alpha", [ALPHA, "auto"])
@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fit_is_a_refit(features, alpha, weighted):
    X, y, W = features((5, 1, 4, 6), d=12)
    weights = np.random.default_rng(0).uniform(0.2, 3, len(y)) if weighted else None
    whole = GDAClassifier(text_features=W, alpha=alpha).fit(X, y, sample_weight=weights)
    parts = clone(whole)
    for rows in np.array_split(np.arange(len(y)), 5):
        parts.partial_fit(X[rows], y[rows], sample_weight=weights[rows] if weighted else None)
    np.testing.assert_allclose(parts.coef_, whole.coef_, rtol=0, atol=1e-8)
    np.testing.assert_allclose(parts.intercept_, whole.intercept_, rtol=0, atol=1e-8)
    assert parts.alpha_ == pytest.approx(whole.alpha_, rel=1e-6)


@pytest.mark.parametrize("alpha", [ALPHA, "auto"])
def test_partial_fit_with_new_classes(clip, digit_features, alpha):
    F, labels = digit_features
    order = np.argsort(labels != "three", kind="stable")  # Threes first.
    F, labels = F[order], labels[order]
    whole = GDAClassifier(clip, input="features", alpha=alpha).fit(F, labels)
    parts = clone(whole).partial_fit(F[:30], labels[:30]).partial_fit(F[30:], labels[30:])
    np.testing.assert_array_equal(parts.classes_, whole.classes_)
    np.testing.assert_allclose(
        parts.decision_function(F[:20]), whole.decision_function(F[:20]), atol=1e-3
    )
    np.testing.assert_allclose(parts.means_, whole.means_, atol=1e-8)
    np.testing.assert_allclose(parts.scatter_, whole.scatter_, atol=1e-8)


def test_weights_are_repeats(features):
    X, y, W = features((4, 3, 5))
    weights = np.random.default_rng(0).integers(0, 3, len(y))
    weighted = GDAClassifier(text_features=W, alpha=ALPHA).fit(X, y, sample_weight=weights)
    repeated = GDAClassifier(text_features=W, alpha=ALPHA).fit(
        X.repeat(weights, axis=0), y.repeat(weights)
    )
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-8)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, atol=1e-8)


def test_every_view_is_a_sample(clip, digits):
    images, labels = digits
    clf = GDAClassifier(clip, alpha=ALPHA, n_views=3, random_state=0)
    clf.fit(images[:40], labels[:40])
    assert clf.class_counts_.sum() == 120
    views = np.stack(list(open_encoder(clip).views(images[:40], 3, 0))).reshape(120, -1)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    single = GDAClassifier(clip, input="features", alpha=ALPHA).fit(views, labels[:40].repeat(3))
    np.testing.assert_allclose(
        clf.decision_function(images[40:50]),
        single.decision_function(clip.transform(images[40:50])),
        rtol=1e-3,
        atol=1e-3,
    )
    # One shot of several views has a covariance, and something to leave out only from two on.
    one_each = [int(np.flatnonzero(labels == name)[0]) for name in np.unique(labels)]
    auto = GDAClassifier(clip, n_views=4, random_state=0)
    auto.fit([images[row] for row in one_each], labels[one_each])
    assert auto.alpha_ > 0
    assert auto.shot_features_.shape == (10, 4, 128)
    with pytest.raises(ValueError, match="n_views=2, but earlier shots have 4 views"):
        auto.set_params(n_views=2).partial_fit(images[:2], labels[:2])


def test_shots_are_kept_for_a_later_choice_only(features):
    X, y, W = features((4, 4, 4))
    given = GDAClassifier(text_features=W, alpha=ALPHA).fit(X, y)
    assert given.shot_codes_ is None
    with pytest.raises(ValueError, match="earlier shots, but they were not kept"):
        given.set_params(alpha="auto").partial_fit(X, y)
    auto = GDAClassifier(text_features=W).fit(X, y)
    assert auto.shot_features_.shape == (12, 1, 8)
    assert auto.set_params(alpha=1.0).partial_fit(X, y).shot_codes_ is None


@pytest.mark.filterwarnings("ignore:neither `encoder`")
@pytest.mark.parametrize("scale", [10.0, 100.0, 1000.0])
def test_text_that_says_nothing_is_not_trusted(features, scale):
    """However confident useless text is, the answers of the shots are given."""
    shots = (4,) * 20
    X, y, _ = features(shots, d=32)
    Q, target, _ = features((10,) * 20, d=32)
    text = features((1,) * 20, d=32, seed=7)[2]
    beside = GDAClassifier(text_features=text, logit_scale=scale).fit(X, y).score(Q, target)
    alone = GDAClassifier(logit_scale=scale).fit(X, y).score(Q, target)
    given = GDAClassifier(text_features=text, logit_scale=scale, alpha=0).fit(X, y)
    assert given.score(Q, target) < 0.3
    assert beside > alone - 0.1


@pytest.mark.parametrize("n_shots", [2, 4])
def test_weak_shots_do_not_overrule_strong_text(n_shots):
    losses = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        y, target = np.tile(np.arange(25), n_shots), np.repeat(np.arange(25), 20)
        truth = rng.normal(size=(25, 100))
        X, Q = (truth[of] + 3 * rng.normal(size=(len(of), 100)) for of in (y, target))
        clf = GDAClassifier(text_features=truth, logit_scale=30).fit(X, y)
        zero_shot = clone(clf).set_params(alpha=0).fit(X, y).score(Q, target)
        losses.append(zero_shot - clf.score(Q, target))
        assert clf.set_params(alpha=1e6).fit(X, y).score(Q, target) < zero_shot - 0.2
    assert np.mean(losses) < 0.01


def test_choice_of_alpha_does_not_hang_on_the_scale(features):
    """The same text at another logit scale: alpha follows, and the answers stay."""
    X, y, W = features((4,) * 20, d=32)
    Q = features((10,) * 20, d=32, seed=1)[0]
    sharp, dull = (GDAClassifier(text_features=W, logit_scale=s).fit(X, y) for s in (300, 30))
    assert sharp.alpha_ == pytest.approx(10 * dull.alpha_, rel=0.2)
    assert (sharp.predict(Q) == dull.predict(Q)).mean() > 0.97
