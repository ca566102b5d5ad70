"""The list of estimators, from which tests, tables and the API page derive; encoder and classifier."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import sktip
from sktip import FewShotClassifier, RejectUnknown, TipAdapterClassifier
from sktip.utils import all_estimators, split_encoder


def test_all_estimators_are_public_and_constructible():
    estimators = all_estimators()
    assert [name for name, _ in estimators] == sorted(name for name, _ in estimators)
    assert ("TipAdapterClassifier", sktip.TipAdapterClassifier) in estimators
    for name, cls in estimators:
        assert cls.__name__ == name
        assert cls().get_params() is not None


def test_filter():
    kinds = [all_estimators(type_filter=kind) for kind in ("classifier", "transformer")]
    assert sorted([*kinds[0], *kinds[1]]) == all_estimators()
    assert [name for name, _ in kinds[1]] == ["CLIPFeatureTransformer", "TimmFeatureTransformer"]
    with pytest.raises(ValueError, match="type_filter='regressor' is unknown; pass 'classifier'"):
        all_estimators(type_filter="regressor")


def estimators_of_images(clip):
    probe = LogisticRegression(C=100)
    tip = TipAdapterClassifier(clip, n_views=2, random_state=0)
    return {
        "classifier": tip,
        "pipeline": make_pipeline(clip, StandardScaler(), probe),
        "pipeline of one step": Pipeline([("only", tip)]),
        "rejecting": RejectUnknown(make_pipeline(clip, probe)),
        "rejecting few-shot": RejectUnknown(FewShotClassifier(clip)),
        "search": GridSearchCV(make_pipeline(clip, probe), {"logisticregression__C": [1]}, cv=2),
    }


@pytest.mark.parametrize("name", estimators_of_images(None))
def test_encoder_and_classifier_predict_as_the_whole(clip, digits, name):
    images, labels = digits
    whole = estimators_of_images(clip)[name].fit(images[:60], labels[:60])
    before = whole.predict(images[60:90])
    encoder, classifier = split_encoder(whole)
    np.testing.assert_array_equal(classifier.predict(encoder.transform(images[60:90])), before)
    # Nothing was changed.
    np.testing.assert_array_equal(whole.predict(images[60:90]), before)


def test_an_unfitted_classifier_can_be_fitted_on_features(clip, digits):
    images, labels = digits
    encoder, classifier = split_encoder(TipAdapterClassifier(clip))
    assert encoder is clip
    assert not hasattr(classifier, "classes_")
    assert classifier.fit(encoder.transform(images[:30]), labels[:30]).n_features_in_ == 128


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        TipAdapterClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RejectUnknown(LogisticRegression()),
    ],
)
def test_what_has_no_encoder(estimator):
    with pytest.raises(ValueError, match="has no encoder for the images.*make_pipeline"):
        split_encoder(estimator)
    assert split_encoder(estimator, optional=True)[0] is None
