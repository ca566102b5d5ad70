"""forecast_accuracy: the truth is within its interval, and what it is fitted on."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from sktip import FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit, forecast_accuracy


@pytest.fixture(scope="module")
def digits(clip):
    images, names = load_digit_images(return_X_y=True)
    return clip.transform(images), names


@pytest.mark.parametrize("kind", ["text", "shots", "scikit-learn"])
@pytest.mark.filterwarnings("ignore:neither `encoder` nor")
def test_the_forecast_holds_the_accuracy_with_more_shots(clip, digits, kind):
    X, y = digits
    clf = {
        "text": FewShotClassifier(clip, input="features", templates="the digit {}"),
        "shots": FewShotClassifier(),
        "scikit-learn": LogisticRegression(C=10),
    }[kind]
    inside, errors = [], []
    for train, test in FewShotSplit(16, n_splits=2, random_state=0).split(X, y):
        shots = train[:80]
        forecast = forecast_accuracy(clf, X[shots], y[shots], n_shots=[16])
        assert forecast.now[0] < forecast.accuracy[0]
        truth = clf.fit(X[train], y[train]).score(X[test], y[test])
        inside.append(forecast.lower[0] <= truth <= forecast.upper[0])
        errors.append(forecast.accuracy[0] - truth)
    # How often intervals hold is simulated in `test_claims`.
    assert any(inside)
    assert abs(np.mean(errors)) < 0.05


def test_images_and_features_in_any_order_have_one_forecast(clip, digits):
    images, y = load_digit_images(return_X_y=True)
    clf = FewShotClassifier(clip, templates="the digit {}")
    forecast = forecast_accuracy(clf, images[:40], y[:40])
    assert forecast.n_shots.tolist() == [8, 16]
    order = np.random.default_rng(0).permutation(40)
    again = forecast_accuracy(clf.set_params(input="features"), digits[0][order], y[order])
    for key in ("accuracy", "lower", "measured_accuracy", "class_gains"):
        np.testing.assert_allclose(again[key], forecast[key], atol=1e-6)


def test_levels_hold_out_every_shot(clip, digits):
    """Names alone, then 1, 2, 4 shots and all that the four folds leave."""
    X, y = digits
    rows = next(FewShotSplit(8, random_state=0).split(X, y))[0]
    clf = FewShotClassifier(clip, input="features", templates="the digit {}")
    forecast = forecast_accuracy(clf, X[rows], y[rows])
    np.testing.assert_allclose(forecast.measured_shots, [0, 1, 2, 4, 6], atol=0.1)
    names = clf.set_params(class_names=sorted(set(y))).fit()
    assert forecast.measured_accuracy[0] == pytest.approx(names.score(X[rows], y[rows]))


def test_confused_classes_with_few_shots_gain_most():
    rng = np.random.default_rng(0)
    centres = np.eye(6, 16)
    centres[1] = centres[0] + 0.3 * centres[1]
    y = np.repeat(np.arange(6), [4, 4, 8, 8, 8, 8])
    X = centres[y] + 0.25 * rng.normal(size=(len(y), 16))
    forecast = forecast_accuracy(LogisticRegression(), X, y, n_shots=[16])
    assert set(forecast.class_gains[0].argsort()[-2:]) == {0, 1}


@pytest.mark.parametrize(
    ("y", "n_shots", "message"),
    [
        (np.arange(6), [2], "each class has one shot"),
        (np.repeat([0, 1], 3), [0], "must be numbers of shots per class"),
        (np.zeros(6), [2], "one class"),
    ],
)
def test_what_is_refused(y, n_shots, message):
    with pytest.raises(ValueError, match=message):
        forecast_accuracy(LogisticRegression(), np.eye(6), y, n_shots)
