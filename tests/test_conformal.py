"""Conformal prediction sets by MAPIE, around classifiers of features and of images."""

import numpy as np
import pytest
from classifiers import make
from mapie.classification import CrossConformalClassifier, SplitConformalClassifier

from sktip.datasets import load_digit_images

#: What is promised of new images, and how far 400 of them may stray from it.
LEVEL, TOLERANCE = 0.9, 0.05


@pytest.fixture(scope="module")
def digits(clip):
    """Numbered features of 1,000 digits: 100 shots, 500 to conformalize with, 400 queries."""
    images, names = load_digit_images(return_X_y=True)
    classes = np.unique(names)
    codes = np.searchsorted(classes, names)[:1000]
    images = np.stack(images[:1000])
    return images, clip.transform(images), codes, classes.tolist()


def covered(sets, y):
    return sets[np.arange(len(y)), y, 0].mean()


@pytest.mark.parametrize("name", ["tip-cv", "gda-auto", "FewShotClassifier"])
def test_split_on_features(clip, digits, name):
    _, F, y, class_names = digits
    clf = make(name, clip, input="features", class_names=class_names).fit(F[:100], y[:100])
    conformal = SplitConformalClassifier(clf, confidence_level=LEVEL, prefit=True)
    conformal.conformalize(F[100:600], y[100:600])
    predictions, sets = conformal.predict_set(F[600:])
    np.testing.assert_array_equal(predictions, clf.predict(F[600:]))
    assert sets.shape == (400, 10, 1)
    assert covered(sets, y[600:]) == pytest.approx(LEVEL, abs=TOLERANCE)
    # Sets that hold every class would be covered too.
    assert sets.sum(axis=1).mean() < 5


def test_images_and_their_features_have_the_same_sets(clip, digits):
    images, F, y, class_names = digits
    found = []
    for X, input in ((images, "image"), (F, "features")):
        clf = make("tip", clip, input=input, class_names=class_names).fit(X[:100], y[:100])
        conformal = SplitConformalClassifier(clf, confidence_level=LEVEL, prefit=True)
        conformal.conformalize(X[100:200], y[100:200])
        found.append(conformal.predict_set(X[600:700])[1])
    assert (found[0] != found[1]).mean() < 0.01
    assert covered(found[0], y[600:700]) > 0.75


def test_cross_fitted(clip, digits):
    """Without images to spare: every fold of the shots is conformalized by the others."""
    _, F, y, class_names = digits
    clf = make("proker", clip, input="features", class_names=class_names)
    conformal = CrossConformalClassifier(clf, confidence_level=LEVEL, cv=5, random_state=0)
    conformal.fit_conformalize(F[:200], y[:200])
    sets = conformal.predict_set(F[600:])[1]
    assert covered(sets, y[600:]) == pytest.approx(LEVEL, abs=2 * TOLERANCE)


def test_paths_are_given_as_an_array(clip, digits, tmp_path):
    from PIL import Image

    images, _, y, class_names = digits
    paths = np.array([str(tmp_path / f"{row}.png") for row in range(300)])
    for path, image in zip(paths, images[:300], strict=True):
        Image.fromarray(image).save(path)
    clf = make("tip", clip, class_names=class_names).fit(paths[:100], y[:100])
    conformal = SplitConformalClassifier(clf, confidence_level=LEVEL, prefit=True)
    conformal.conformalize(paths[100:200], y[100:200])
    assert covered(conformal.predict_set(paths[200:])[1], y[200:300]) > 0.75
