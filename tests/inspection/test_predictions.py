"""Images with their predictions."""

import numpy as np
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sktip import FewShotClassifier, RejectUnknown
from sktip.exceptions import ImageReadError
from sktip.inspection import PredictionsDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(scope="module")
def fitted(clip, digits):
    images, labels = digits
    return FewShotClassifier(clip, templates="the digit {}").fit(images[:40], labels[:40])


def test_titles_and_frames(digits):
    images = digits[0][:4]
    answers, labels = ["one", "two", "$a$ or $b$", "nine"], ["one", "six", "$a$ or $b$", "$x_{"]
    display = PredictionsDisplay.from_predictions(
        images, answers, labels, [0.5, 0.999, 0.001, np.nan], n_columns=3
    )
    assert [ax.get_title() for ax in display.axes_] == [
        "one\n50 %", "two\n>99 %", "$a$ or $b$\n<1 %", "nine"
    ]  # fmt: skip
    assert [ax.get_xlabel() for ax in display.axes_] == ["", "label: six", "", "label: $x_{"]
    frames = [ax.spines["left"] for ax in display.axes_]
    assert [frame.get_linestyle() == "--" for frame in frames] == [False, True, False, True]
    assert frames[0].get_edgecolor() != frames[1].get_edgecolor()
    for ax, image in zip(display.axes_, images, strict=True):
        np.testing.assert_array_equal(ax.get_images()[0].get_array()[:, :, 0], image)
    places = [ax.get_subplotspec() for ax in display.axes_]
    assert [(place.rowspan.start, place.colspan.start) for place in places] == [
        (0, 0), (0, 1), (0, 2), (1, 0)
    ]  # fmt: skip
    display.figure_.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in display.axes_]
    assert not any(one.overlaps(two) for one in boxes[:3] for two in boxes[3:])


def test_predictions_alone(digits):
    display = PredictionsDisplay.from_predictions(digits[0][:2], ["one", "two"])
    assert [ax.get_title() for ax in display.axes_] == ["one", "two"]
    assert not any(ax.spines["left"].get_visible() for ax in display.axes_)


@pytest.mark.parametrize(
    ("order", "expected"),
    [(None, [0, 1, 2]), ("least_certain", [4, 0, 2]), ("most_certain", [1, 0, 2])],
)
def test_order(digits, tmp_path, order, expected):
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i in expected:  # Only what is shown is read.
        Image.fromarray(digits[0][i]).save(paths[i])
    display = PredictionsDisplay.from_predictions(
        paths, list("abcde"), proba=[0.5, 0.9, 0.5, np.nan, 0.2], order=order, n_images=3
    )
    np.testing.assert_array_equal(display.indices, expected)
    assert [ax.get_title()[0] for ax in display.axes_] == ["abcde"[i] for i in expected]
    paths[expected[1]].unlink()
    with pytest.raises(ImageReadError, match=rf"image {expected[1]} .*no such file"):
        PredictionsDisplay.from_predictions(paths, list("abcde"))


@pytest.mark.parametrize("order", [None, "most_certain"])
def test_estimators_of_images_and_of_features(fitted, clip, digits, digit_features, order):
    images, labels = digits
    F = digit_features[0]
    on_features = FewShotClassifier(clip, input="features", templates="the digit {}")
    on_features.fit(F[:40], labels[:40])
    search = GridSearchCV(on_features, {"class_weight": [None]}, cv=2).fit(F[:40], labels[:40])
    probabilities = fitted.predict_proba(images[40:])
    rows = np.arange(5) if order is None else np.argsort(-probabilities.max(axis=1))[:5]
    for estimator in (fitted, make_pipeline(clip, on_features), on_features, search):
        pictures = (
            {} if hasattr(estimator, "steps") or estimator is fitted else {"images": images[40:]}
        )
        X = F[40:] if pictures else images[40:]
        display = PredictionsDisplay.from_estimator(
            estimator, X, labels[40:], order=order, n_images=5, **pictures
        )
        np.testing.assert_array_equal(display.indices, rows)
        np.testing.assert_array_equal(display.y_pred, fitted.predict(images[40:])[rows])
        np.testing.assert_array_equal(display.y_true, labels[40:][rows])
        np.testing.assert_allclose(display.proba, probabilities.max(axis=1)[rows], atol=1e-5)


def test_any_classifier(clip, digits, digit_features):
    images, labels = digits
    probe = make_pipeline(clip, LogisticRegression()).fit(images[:40], labels[:40])
    assert PredictionsDisplay.from_estimator(probe, images[40:43]).proba.shape == (3,)
    svm = LinearSVC().fit(digit_features[0][:40], labels[:40])
    display = PredictionsDisplay.from_estimator(svm, digit_features[0][:3], images=images[:3])
    assert display.proba is None


def test_an_unknown_image_has_no_probability(clip, digits):
    images, labels = digits
    clf = RejectUnknown(FewShotClassifier(clip, templates="the digit {}"), unknown_label="?")
    clf.fit(images[:100], labels[:100]).threshold_ = np.inf
    display = PredictionsDisplay.from_estimator(clf, images[100:102])
    assert [ax.get_title() for ax in display.axes_] == ["?", "?"]


def test_in_the_place_of_axes_of_the_user(digits):
    figure, (_, right) = pyplot.subplots(1, 2)
    display = PredictionsDisplay.from_predictions(digits[0][:3], ["a", "b", "c"], ax=right)
    assert display.figure_ is figure
    figure.canvas.draw()
    place = right.get_position()
    for ax in display.axes_:
        assert place.x0 - 1e-9 <= ax.get_position().x0 <= ax.get_position().x1 <= place.x1 + 1e-9
    assert not right.axison


def test_errors(fitted, digits, digit_features):
    images, labels = digits
    show = PredictionsDisplay.from_predictions
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        show(images[:3], labels[:2])
    with pytest.raises(ValueError, match="order='random' must be one of"):
        show(images[:3], labels[:3], order="random")
    with pytest.raises(ValueError, match="needs the probabilities"):
        show(images[:3], labels[:3], order="least_certain")
    for name in ("n_images", "n_columns"):
        with pytest.raises(ValueError, match=f"{name} == 0"):
            show(images[:3], labels[:3], **{name: 0})
    on_features = LogisticRegression().fit(digit_features[0][:40], labels[:40])
    with pytest.raises(ValueError, match="X is features; pass the images"):
        PredictionsDisplay.from_estimator(on_features, digit_features[0])
    with pytest.raises(NotFittedError):
        PredictionsDisplay.from_estimator(LogisticRegression(), images)
