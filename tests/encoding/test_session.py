"""An encoder is opened once per call, and estimators keep no part of it."""

import numpy as np
import pytest
from classifiers import CLASSIFIERS, make
from sklearn.base import clone

from sktip import CLIPFeatureTransformer
from sktip._encoding.session import EncoderSession, open_encoder


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_keeps_no_model(clip, digits, name):
    images, labels = digits
    clf = make(name, clone(clip)).fit(images[:30], labels[:30])
    clf.predict(images[:3])
    for value in vars(clf).values():
        inside = value.values() if isinstance(value, dict) else [value]
        assert not any(isinstance(one, EncoderSession) for one in inside)


def test_features_are_the_mean_of_views(digits):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", n_views=3, random_state=0)
    session, images = open_encoder(encoder), digits[0][:4]
    means = np.stack(list(session.views(images, 3, 0))).mean(axis=1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(session.features(images), expected, atol=1e-6)
    np.testing.assert_array_equal(session.features(images), encoder.transform(images))
    assert session.width == session.probe.size == expected.shape[1]
