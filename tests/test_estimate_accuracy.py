"""estimate_accuracy: its error and its alarm."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip import FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit, estimate_accuracy


@pytest.fixture(scope="module")
def digits(clip):
    images, names = load_digit_images(return_X_y=True)
    return images, clip.transform(images), names


@pytest.mark.parametrize("kind", ["alike", "three classes", "upside down"])
def test_accuracy_and_alarm(clip, digits, kind):
    images, X, y = digits
    clf = FewShotClassifier(clip, input="features", templates="the digit {}")
    errors, alarms = [], []
    shown = np.isin(y, ["two", "six", "nine"]) | (kind != "three classes")
    for train, rest in FewShotSplit(16, n_splits=2, test_size=400, random_state=0).split(X, y):
        clf.fit(X[train], y[train])
        test = rest[shown[rest]]
        new = clip.transform(images[test][:, ::-1, ::-1]) if kind == "upside down" else X[test]
        estimate, truth = estimate_accuracy(clf, new), clf.score(new, y[test])
        errors.append(estimate.accuracy - truth)
        alarms.append(estimate.drift)
    if kind == "upside down":
        assert all(alarms)
        return
    # How often alarms are wrong and intervals hold is simulated in `test_claims`.
    assert not all(alarms)
    assert np.abs(errors).mean() < 0.05


@pytest.mark.filterwarnings("ignore:neither `encoder` nor")
def test_images_a_pipeline_and_features_agree(clip, digits):
    images, X, y = digits
    expected = estimate_accuracy(FewShotClassifier().fit(X[:60], y[:60]), X[60:160])
    pipe = make_pipeline(clip, FewShotClassifier()).fit(images[:60], y[:60])
    found = estimate_accuracy(pipe, images[60:160])
    assert found.accuracy == pytest.approx(expected.accuracy, abs=1e-5)
    assert found.p_value == pytest.approx(expected.p_value, abs=1e-3)
    assert expected.class_shares.sum() == pytest.approx(1)


def test_the_classifier_stays_as_it_is(clip, digits):
    _, X, y = digits
    clf = FewShotClassifier(clip, input="features").fit(X[:60], y[:60])
    before = clf.predict_proba(X[60:80])
    estimate_accuracy(clf, X[60:160])
    np.testing.assert_array_equal(clf.predict_proba(X[60:80]), before)
    assert clf.class_shares_ is None


def test_what_is_refused(clip, digits):
    _, X, y = digits
    with pytest.raises(ValueError, match="needs a FewShotClassifier"):
        estimate_accuracy(LogisticRegression().fit(X[:60], y[:60]), X)
    names = sorted(set(y))
    clf = FewShotClassifier(clip, input="features", class_names=names).fit()
    with pytest.raises(ValueError, match="fitted without shots"):
        estimate_accuracy(clf, X)
