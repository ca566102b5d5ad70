"""Every tool takes every encoder: of timm, several together, a user's class, and a Pipeline."""

import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktip import (
    FewShotClassifier,
    JointEncoder,
    RejectUnknown,
    TipAdapterClassifier,
    ZeroShotClassifier,
    predict_images,
)
from sktip.inspection import EvidenceDisplay
from sktip.model_selection import held_out_proba, suggest_shots


class GreyValues(TransformerMixin, BaseEstimator):
    """A user's own encoder."""

    def transform(self, images):
        small = [Image.fromarray(np.asarray(image)).convert("L").resize((8, 8)) for image in images]
        return np.stack([255.0 - np.asarray(picture).ravel() for picture in small])


def darkness(images):
    return np.stack([255.0 - np.asarray(image).ravel() for image in images])


@pytest.fixture(params=["timm", "own", "pipeline", "joint"])
def encoder(request, clip, timm_encoder):
    return {
        "timm": timm_encoder,
        "own": GreyValues(),
        "pipeline": make_pipeline(FunctionTransformer(darkness), FunctionTransformer(np.sqrt)),
        "joint": JointEncoder([clip, GreyValues()]),
    }[request.param]


@pytest.mark.parametrize("classifier", [FewShotClassifier, TipAdapterClassifier])
def test_images_and_features_give_the_same(encoder, digits, classifier):
    images, labels = digits
    clf = classifier(encoder).fit(images[:80], labels[:80])
    queries = images[80:120]
    probabilities = clf.predict_proba(queries)
    features = encoder.transform(images[:120])
    on_features = clone(clf).set_params(input="features").fit(features[:80], labels[:80])
    np.testing.assert_allclose(on_features.predict_proba(features[80:]), probabilities, atol=1e-3)
    loaded = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(loaded.predict_proba(queries), probabilities)
    if not hasattr(encoder, "model_name"):
        assert np.mean(clf.classes_[probabilities.argmax(axis=1)] == labels[80:120]) > 0.7


def test_the_tools(encoder, digits):
    images, labels = digits
    clf = FewShotClassifier(encoder).fit(images[:60], labels[:60])
    with pytest.warns(UserWarning, match="1 of 11 images could not be read"):
        answers = predict_images(clf, [*images[60:70], b"bad"], verbose=0)
    np.testing.assert_array_equal(answers.prediction[:10], clf.predict(images[60:70]))
    assert answers.error[10]
    assert held_out_proba(clf, images[:60], labels[:60]).shape == (60, 10)
    assert len(suggest_shots(encoder.transform(images[60:]), 3)) == 3
    rejecting = RejectUnknown(FewShotClassifier(encoder)).fit(images[:60], labels[:60])
    assert len(rejecting.predict(images[60:70])) == 10
    assert len(cross_val_predict(clf, images[:60], labels[:60], cv=2)) == 60


def test_text_is_that_of_clip(clip, timm_encoder, digits):
    images, labels = digits
    joint = JointEncoder([timm_encoder, clip])
    own, alone = (
        ZeroShotClassifier(one).fit(images[:40], labels[:40]).predict_proba(images[40:])
        for one in (joint, clip)
    )
    np.testing.assert_allclose(own, alone, atol=1e-4)


def test_an_evidence_display(encoder, digits):
    pytest.importorskip("matplotlib")
    images, labels = digits
    clf = TipAdapterClassifier(encoder).fit(images[:40], labels[:40])
    display = EvidenceDisplay.from_estimator(clf, images[40], shots=images[:40])
    assert display.figure_ is not None
