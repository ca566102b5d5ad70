"""An encoder is opened once per call, and estimators keep no part of it."""

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from sklearn.base import clone

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._utils.fitting import fits


@pytest.fixture
def looked_up(monkeypatch):
    """Models that were looked up, one entry for each time."""
    from sktip import _encoder

    names, load = [], _encoder.load_clip
    monkeypatch.setattr(
        _encoder, "load_clip", lambda name, *rest: names.append(name) or load(name, *rest)
    )
    return names


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_model_is_looked_up_once_in_a_call(clip, digits, looked_up, name):
    images, labels = digits
    clf = make(name, clone(clip)).fit(images[:30], labels[:30])
    assert looked_up == ["tiny"]
    clf.predict(images[:3])
    assert looked_up == ["tiny"] * 2
    if hasattr(clf, "partial_fit"):
        clf.partial_fit([*images[:2], images[0]], [*labels[:2], "a new one"])
        assert looked_up == ["tiny"] * 3
    for value in vars(clf).values():
        inside = value.values() if isinstance(value, dict) else [value]
        assert not any(isinstance(one, EncoderSession) for one in inside)


def test_a_method_that_another_one_calls_shares_it(clip, digits, looked_up):
    class Twice(TipAdapterClassifier):
        @fits
        def fit(self, X, y):
            super().fit(X, y)
            self.n_right_ = (self.predict(X) == y).sum()
            return self.partial_fit(X, y)

    images, labels = digits
    clf = Twice(clone(clip)).fit(images[:30], labels[:30])
    assert looked_up == ["tiny"]
    assert clf.n_right_ > 3
    assert len(clf.cache_keys_) == 60
    assert "_call" not in vars(clf)


def test_features_are_the_mean_of_views(digits):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", n_views=3, random_state=0)
    session, images = open_encoder(encoder), digits[0][:4]
    means = np.stack(list(session.views(images, 3, 0))).mean(axis=1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(session.features(images), expected, atol=1e-6)
    np.testing.assert_array_equal(session.features(images), encoder.transform(images))
    assert session.width == session.probe.size == expected.shape[1]
