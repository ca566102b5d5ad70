"""A method of one's own: two functions of arrays make an estimator of images, names and features."""

import numpy as np
import pytest
from sklearn.base import clone

from sktip.base import BaseFewShotClassifier
from sktip.export import to_module


class MeansAndNames(BaseFewShotClassifier):
    def learn(self, features, codes, text, logit_scale):
        means = [features[codes == code].mean(axis=0) for code in range(codes.max() + 1)]
        return {"coef": logit_scale * (np.array(means) + (0 if text is None else text))}

    @staticmethod
    def logits(features, coef):
        return features @ coef.T


def test_images_names_and_features_give_the_same_answers(clip, digits):
    images, labels = (list(part[:60]) for part in digits)
    of_images = MeansAndNames(clip, templates="the digit {}").fit(images[:40], labels[:40])
    of_features = clone(of_images).set_params(input="features")
    of_features.fit(clip.transform(images[:40]), labels[:40])
    assert (
        of_images.predict(images[40:]).tolist()
        == of_images.classes_[
            of_features.predict_proba(clip.transform(images[40:])).argmax(axis=1)
        ].tolist()
    )
    assert of_images.score(images[40:], labels[40:]) > 0.7


def test_the_formula_is_exported(features):
    X, y, text = features((4, 3, 2), d=8)
    clf = MeansAndNames(text_features=text).fit(X, y)
    import torch

    logits = to_module(clf)(torch.as_tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(logits, clf.decision_function(X), rtol=1e-4)


def test_a_failed_fit_changes_nothing_and_a_missing_method_is_named(features):
    X, y, text = features((4, 3, 2), d=8)
    clf = MeansAndNames(text_features=text).fit(X, y)
    before = clf.predict_proba(X)
    with pytest.raises(ValueError, match="inconsistent"):
        clf.fit(X, y[:-1])
    np.testing.assert_array_equal(clf.predict_proba(X), before)
    with pytest.raises(NotImplementedError, match="has no `learn`"):
        BaseFewShotClassifier(text_features=text).fit(X, y)
