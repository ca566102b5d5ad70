"""All classifiers: their formulas, and the behaviour that they share."""

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from sktip import (
    CLIPAdapterClassifier,
    GDAClassifier,
    ProKeRClassifier,
    ZeroShotClassifier,
)

SCALE = 30.0
TEMPLATES = ["a picture of the number {}", "the digit {}"]


@pytest.fixture(params=[name for name in CLASSIFIERS if name not in ("tip-f", "gda", "proker")])
def model(request):
    return make(request.param)


def balanced(labels, n_shots):
    """Rows of the first shots of each class, and all other rows."""
    shots = np.concatenate([np.flatnonzero(labels == name)[:n_shots] for name in set(labels)])
    return shots, np.setdiff1d(np.arange(len(labels)), shots)


# What all share.


def test_images_and_features_agree(model, clip, digits, digit_features):
    images, labels = digits
    F = digit_features[0]
    model.set_params(encoder=clip, templates=TEMPLATES)
    of_images = clone(model).fit(images[:40], labels[:40])
    of_features = clone(model).set_params(input="features").fit(F[:40], labels[:40])
    expected = of_features.predict_proba(F[40:60])
    np.testing.assert_allclose(of_images.predict_proba(images[40:60]), expected, atol=1e-4)
    # Fitted on images, and predicting from features.
    of_images.set_params(input="features")
    np.testing.assert_allclose(of_images.predict_proba(F[40:60]), expected, atol=1e-4)
    with pytest.raises(ValueError, match="X has 7 features, .* its encoder returns 128 features"):
        of_images.predict(F[:, :7])
    np.testing.assert_allclose(expected.sum(axis=1), 1, atol=1e-12)


def test_a_failed_fit_changes_nothing(model, features):
    X, y, W = features((4, 3, 5))
    model.set_params(text_features=W).fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="are not indices of"):
        model.set_params(text_features=W[:, :4]).fit(X[:, :4], y + 7)
    after = vars(model)
    assert {name for name in before if before[name] is not after[name]} == {"text_features"}


def test_a_class_without_shots_is_predicted_by_its_text(model, features):
    X, y, W = features((6, 6, 6, 6), d=16)
    seen = y != 2
    model.set_params(text_features=W).fit(X[seen], y[seen])
    assert model.predict_proba(X).shape == (len(X), 4)
    assert (model.predict(X[y == 2]) == 2).mean() > 0.5
    assert (model.predict(X[seen]) == y[seen]).mean() > 0.8


def test_without_text_the_shots_alone_answer(model, features):
    X, y, _ = features((6, 6, 6), d=16)
    with pytest.warns(UserWarning, match="there is no text prior"):
        model.fit(X, y)
    assert model.text_features_ is None
    assert model.score(X, y) > 0.9
    proba = model.predict_proba(X)
    assert np.isfinite(proba).all()
    # Said on purpose, it is no reason to warn.
    np.testing.assert_array_equal(
        model.set_params(templates=None).fit(X, y).predict_proba(X), proba
    )


def test_names_without_meaning_are_not_encoded(model, clip, digits):
    images, labels = digits
    model.set_params(encoder=clip, templates=None).fit(images[:40], labels[:40])
    assert model.text_features_ is None
    assert model.score(images[40:60], labels[40:60]) > 0.3


def test_works_in_a_pipeline_and_a_search(model, clip, digits, digit_features):
    images, labels = digits
    F, _ = digit_features
    model.set_params(encoder=clip, input="features")
    pipe = make_pipeline(clip, model).fit(images[:40], labels[:40])
    assert pipe.predict(images[40:50]).shape == (10,)
    grid = GridSearchCV(model, {"logit_scale": [10.0, 100.0]}, cv=2).fit(F[:60], labels[:60])
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()
    assert cross_val_score(model, F[:60], labels[:60], cv=2, scoring="neg_log_loss").max() < 0


def test_shots_do_not_harm(model, clip, digit_features):
    F, labels = digit_features
    zero_shot = ZeroShotClassifier(clip, input="features", templates=TEMPLATES)
    model.set_params(encoder=clip, input="features", templates=TEMPLATES)
    for n_shots in (1, 2, 4):
        shots, rest = balanced(labels, n_shots)
        bound = zero_shot.fit(F[shots], labels[shots]).score(F[rest], labels[rest])
        assert model.fit(F[shots], labels[shots]).score(F[rest], labels[rest]) >= bound - 0.03


# Zero-shot.


def test_zero_shot_logits(features):
    X, y, W = features()
    clf = ZeroShotClassifier(text_features=5 * W, logit_scale=SCALE)
    expected = SCALE * X @ W.T
    for fitted in (clone(clf).fit(), clone(clf).fit(X, y)):
        np.testing.assert_allclose(fitted.decision_function(X), expected, atol=1e-9)
        assert fitted.classes_.tolist() == [0, 1, 2]


def test_zero_shot_names_are_their_own_labels(clip, digits):
    images, labels = digits
    names = list(dict.fromkeys(labels.tolist()))
    assert names != sorted(names)
    clf = ZeroShotClassifier(clip, class_names=names, templates=TEMPLATES).fit()
    assert clf.classes_.tolist() == sorted(names)
    by_labels = ZeroShotClassifier(clip, templates=TEMPLATES).fit(images, labels)
    np.testing.assert_allclose(clf.text_features_, by_labels.text_features_, atol=1e-6)
    assert clf.score(images, labels) == by_labels.score(images, labels) > 0.4

    W = clip.encode_text(names, TEMPLATES)
    given = ZeroShotClassifier(text_features=W, class_names=names, logit_scale=SCALE).fit()
    np.testing.assert_allclose(given.text_features_, by_labels.text_features_, atol=1e-6)
    own = {name: [f"the digit {name}"] for name in names}
    of_mapping = ZeroShotClassifier(clip, class_names=names, templates=own).fit()
    assert of_mapping.classes_.tolist() == sorted(names)


def test_zero_shot_keys_of_a_mapping_are_labels(clip):
    clf = ZeroShotClassifier(clip, class_names={7: "seven", 3: "three"}, templates="{}").fit()
    assert clf.classes_.tolist() == [3, 7]
    expected = clip.encode_text(["three", "seven"], "{}")
    np.testing.assert_allclose(clf.text_features_, expected, atol=1e-6)


def test_zero_shot_does_not_look_at_shots(clip):
    clf = ZeroShotClassifier(clip).fit(["no such file", "nor this"], ["cat", "dog"])
    assert clf.classes_.tolist() == ["cat", "dog"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "neither shots nor text"),
        ({"encoder": True}, "pass class_names"),
        ({"encoder": True, "class_names": ["cat", "cat"]}, "'cat' more than once"),
        ({"encoder": True, "class_names": ["cat"]}, "at least two classes"),
        ({"encoder": True, "class_names": {}}, "empty"),
    ],
)
def test_zero_shot_without_anything_to_go_by(clip, parameters, message):
    if parameters.pop("encoder", False):
        parameters["encoder"] = clip
    with pytest.raises(ValueError, match=message):
        ZeroShotClassifier(**parameters).fit()


def test_zero_shot_checks_the_width_of_queries(features):
    X, _, W = features()
    with pytest.raises(ValueError, match="5 features, but .* is expecting 8"):
        ZeroShotClassifier(text_features=W).fit().predict(X[:, :5])
    with pytest.raises(ValueError, match="X has 5 features, but text_features has 8"):
        ZeroShotClassifier(text_features=W).fit(X[:, :5], np.arange(len(X)) % 3)


# CLIP-Adapter.


def test_adapter_logits(features):
    X, y, W = features((4, 4, 4))
    clf = CLIPAdapterClassifier(text_features=W, ratio=0.3, logit_scale=SCALE, n_epochs=5)
    down, up = clf.fit(X, y).coefs_
    assert down.shape == (8, 2)
    assert up.shape == (2, 8)
    mixed = 0.3 * np.maximum(np.maximum(X @ down, 0) @ up, 0) + 0.7 * X
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(clf.decision_function(X), SCALE * mixed @ W.T, atol=1e-9)


def test_adapter_learns_and_is_reproducible(digit_features, clip):
    F, labels = digit_features
    clf = CLIPAdapterClassifier(clip, input="features", random_state=3, n_epochs=30, ratio=0.6)
    clf.fit(F[:80], labels[:80])
    assert len(clf.loss_curve_) == clf.n_iter_ == 30
    # The first epoch only warms up.
    assert clf.loss_curve_[-1] < 0.8 * clf.loss_curve_[0]
    again = clone(clf).fit(F[:80], labels[:80])
    np.testing.assert_array_equal(again.coefs_[0], clf.coefs_[0])
    other = clone(clf).set_params(random_state=4).fit(F[:80], labels[:80])
    assert np.abs(other.coefs_[0] - clf.coefs_[0]).max() > 0.01


def test_adapter_with_ratio_0_is_zero_shot(features):
    X, y, W = features()
    clf = CLIPAdapterClassifier(text_features=W, ratio=0, n_epochs=2).fit(X, y)
    np.testing.assert_allclose(clf.decision_function(X), 100 * X @ W.T, atol=1e-9)


def test_adapter_learns_from_single_views(clip, digits, monkeypatch):
    from sktip._maths import adapter

    images, labels = digits
    seen = {}
    train = adapter.train_adapter

    def spy(views, *args, **kwargs):
        seen["views"] = views.shape
        return train(views, *args, **kwargs)

    monkeypatch.setattr(adapter, "train_adapter", spy)
    clf = CLIPAdapterClassifier(clip, n_views=3, n_epochs=2, random_state=0)
    clf.fit(images[:30], labels[:30])
    assert seen["views"] == (30, 3, 128)


# Without training, shots alone choose the values: they must not do worse than the text.


def log_loss(clf, X, y):
    return -log_softmax(clf.decision_function(X), axis=1)[np.arange(len(y)), y].mean()


@pytest.mark.parametrize("cls", [GDAClassifier, ProKeRClassifier])
@pytest.mark.parametrize("shots", [(1,) * 12, (8,) * 12, (1, 5, 2, 9) * 3])
def test_values_chosen_on_shots_suit_queries(features, cls, shots):
    X, y, W = features(shots, d=32)
    Q, qy, _ = features((40,) * len(shots), d=32)
    zero_shot = ZeroShotClassifier(text_features=W, logit_scale=SCALE).fit()
    clf = cls(text_features=W, logit_scale=SCALE).fit(X, y)
    assert clf.score(Q, qy) >= zero_shot.score(Q, qy) - 0.015
    assert log_loss(clf, Q, qy) <= log_loss(zero_shot, Q, qy) + 0.02


@pytest.mark.parametrize("name", ["tip-f", "clip-adapter"])
@pytest.mark.parametrize(
    ("parameter", "dtype"), [("learning_rate", np.float32), ("weight_decay", np.float64)]
)
def test_a_training_that_diverges_is_an_error(features, name, dtype, parameter):
    X, y, text = features((3, 4, 2), dtype=dtype)
    clf = make(name, text_features=text, **{parameter: 1e30})
    with pytest.raises(ValueError, match=f"diverged in epoch .*{parameter}="):
        clf.fit(X, y)
