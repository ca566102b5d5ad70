"""Scores against shots."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from tip_shots import NAMES, classifier

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip.inspection import ShotsCurveDisplay
from sktip.model_selection import FewShotSplit

pyplot = pytest.importorskip("matplotlib.pyplot")

SHOTS = [1, 2, 4]


@pytest.fixture
def samples(features):
    X, y, W = features((9, 9, 9), d=5)
    return X + 0.4 * np.random.default_rng(1).normal(size=X.shape), NAMES[y], W


def test_draws_means_and_spreads():
    rng = np.random.default_rng(0)
    scores = {"one": rng.uniform(size=(3, 4)), "two": rng.uniform(size=(3, 4)).tolist()}
    published = {"two": [0.2, np.nan, 0.4], "paper": 0.5}
    display = ShotsCurveDisplay(SHOTS, scores, published=published, score_name="hits")
    assert display.plot() is display
    for container, (name, values) in zip(display.errorbar_, scores.items(), strict=True):
        line, _, (bars,) = container.lines
        mean, spread = np.mean(values, axis=1), np.std(values, axis=1)
        np.testing.assert_array_equal(line.get_xdata(), SHOTS)
        np.testing.assert_allclose(line.get_ydata(), mean)
        for x, segment, m, s in zip(SHOTS, bars.get_segments(), mean, spread, strict=True):
            np.testing.assert_allclose(segment, [[x, m - s], [x, m + s]])
        assert container.get_label() == name
    two, paper = display.published_lines_
    np.testing.assert_array_equal(two.get_ydata(), published["two"])
    np.testing.assert_array_equal(paper.get_ydata(), [0.5] * 3)
    assert two.get_color() == display.errorbar_[1].lines[0].get_color()
    assert two.get_linestyle() == "--"
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["one", "two", "two, published", "paper, published"]
    assert display.ax_.get_ylabel() == "hits"
    assert display.ax_.get_xlabel() == "shots: labelled images per class"
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["1", "2", "4"]


def test_everything_drawn_is_inside_the_axes():
    scores = {"low": [[0.1, 0.3], [0.2, 0.2]], "high": [[0.5, 0.9], [0.6, 0.6]]}
    ax = ShotsCurveDisplay([1, 2], scores, published={"higher": 0.95}).plot().ax_
    low, high = ax.get_ylim()
    assert low < 0.1
    assert high > 0.95


@pytest.mark.filterwarnings("error")
def test_no_shots_at_all_are_drawn_beside_one():
    ax = ShotsCurveDisplay([0, 1, 2], {"text": [[0.5], [0.6], [0.7]]}).plot().ax_
    none, one, two = ax.transData.transform([(k, 0.5) for k in (0, 1, 2)])[:, 0]
    assert one - none == pytest.approx(two - one)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2"]


def test_a_point_may_be_missing():
    scores = {"tuned": [[np.nan, np.nan], [0.5, 0.7], [0.6, 0.8]]}
    line = ShotsCurveDisplay(SHOTS, scores).plot().errorbar_[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [np.nan, 0.6, 0.7])


def test_methods_differ_in_more_than_colour():
    scores = {f"method {i}": np.ones((3, 2)) for i in range(12)}
    lines = [bar.lines[0] for bar in ShotsCurveDisplay(SHOTS, scores).plot().errorbar_]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12
    assert len({line.get_marker() for line in lines[:8]}) == 8
    assert len({line.get_color() for line in lines[:7]}) == 7


def test_fits_what_a_plain_loop_fits(samples):
    X, y, W = samples
    names = {"class_names": ["bee", "cat", "dog"]}
    methods = {"zero": classifier(W, alpha=0.0, **names), "tip": classifier(W, **names)}
    cv = FewShotSplit(4, 3, random_state=0)
    display = ShotsCurveDisplay.from_estimator(
        methods, X, y, shots=[4, 1, 2], random_state=0, published={"tip": 0.5}
    )
    assert list(display.scores) == ["zero", "tip"]
    assert len(display.published_lines_) == 1
    np.testing.assert_array_equal(display.shots, SHOTS)
    for name, method in methods.items():
        for draw, (train, test) in enumerate(cv.split(X, y)):
            for row, k in enumerate(SHOTS):
                chosen = train[: 3 * k]
                expected = clone(method).fit(X[chosen], y[chosen]).score(X[test], y[test])
                assert display.scores[name][row, draw] == expected
    assert len(np.unique(display.scores["tip"])) > 1
    assert display.ax_.get_ylabel() == "Accuracy"


def test_all_methods_see_the_same_draws(samples):
    X, y, W = samples
    clf = classifier(W, class_names=["bee", "cat", "dog"])
    scores = ShotsCurveDisplay.from_estimator({"a": clf, "b": clf}, X, y, shots=[1, 3]).scores
    np.testing.assert_array_equal(scores["a"], scores["b"])


def test_splits_and_scoring_of_the_user(samples):
    X, y, W = samples
    clf = classifier(W, class_names=["bee", "cat", "dog"])
    splits = list(FewShotSplit(5, 2, random_state=3).split(X, y))
    held_out = [(train, test[:7]) for train, test in splits]
    display = ShotsCurveDisplay.from_estimator(
        clf, X, y, shots=[2, 5], cv=held_out, scoring="balanced_accuracy", n_jobs=2
    )
    assert list(display.scores) == ["TipAdapterClassifier"]
    for draw, (train, test) in enumerate(held_out):
        predicted = clone(clf).fit(X[train[:6]], y[train[:6]]).predict(X[test])
        expected = balanced_accuracy_score(y[test], predicted)
        assert display.scores["TipAdapterClassifier"][0, draw] == expected
    assert display.ax_.get_ylabel() == "Balanced accuracy"


def test_images(digits):
    images, labels = digits
    pipe = make_pipeline(CLIPFeatureTransformer("tiny", device="cpu"), TipAdapterClassifier())
    with pytest.warns(UserWarning, match="no text prior"):
        display = ShotsCurveDisplay.from_estimator(
            pipe,
            images,
            labels,
            shots=[1, 2],
            cv=FewShotSplit(2, 1, test_size=20, random_state=0),
        )
    assert display.scores["TipAdapterClassifier"].shape == (2, 1)


def test_on_axes_of_the_user():
    figure, ax = pyplot.subplots()
    display = ShotsCurveDisplay([1, 2], {"a": np.ones((2, 3))}).plot(ax)
    assert display.ax_ is ax
    assert display.figure_ is figure


def test_errors(samples):
    X, y, W = samples
    clf = classifier(W, class_names=["bee", "cat", "dog"])
    show = ShotsCurveDisplay.from_estimator
    with pytest.raises(ValueError, match="split 0 do not begin with 1 shots of every class"):
        show(clf, X, y, shots=[1, 2], cv=KFold(3))
    with pytest.raises(ValueError, match="do not begin with 6 shots"):
        show(clf, X, y, shots=[2, 6], cv=FewShotSplit(4, 1))
    for wrong in ([0.5], [0, 1], [1.0, 2.0]):
        with pytest.raises(ValueError, match="integers of at least 1"):
            show(clf, X, y, shots=wrong)
    with pytest.raises(ValueError, match="n_shots=12, but 3 classes have fewer"):
        show(clf, X, y, shots=[12])
    with pytest.raises(ValueError, match=r"scores of 'a' have the shape \(2, 3\); with 3 numbers"):
        ShotsCurveDisplay(SHOTS, {"a": np.ones((2, 3))}).plot()
    with pytest.raises(ValueError, match=r"scores of 'p' have the shape \(2,\); .* 3 numbers"):
        ShotsCurveDisplay(SHOTS, {"a": np.ones((3, 1))}, published={"p": [1, 2]}).plot()


def boxes(texts, figure):
    figure.canvas.draw()
    return [text.get_window_extent() for text in texts if text.get_text()]


def assert_none_overlap(found):
    for i, box in enumerate(found):
        assert not any(box.overlaps(other) for other in found[i + 1 :])


def test_many_numbers_of_shots_stay_legible():
    scores = {"one": np.random.default_rng(0).uniform(size=(121, 3)), "two": np.zeros((121, 3))}
    display = ShotsCurveDisplay(np.arange(1, 122), scores, published={"one": np.ones(121)}).plot()
    assert_none_overlap(boxes(display.ax_.get_xticklabels(), display.figure_))
    shown = [int(label.get_text()) for label in display.ax_.get_xticklabels()]
    assert (shown[0], shown[-1]) == (1, 121)
    line, _, (bars,) = display.errorbar_[0].lines
    # All means are on the line, and the bars are at the numbers that are written out.
    assert len(line.get_xdata()) == 121
    assert [segment[0][0] for segment in bars.get_segments() if len(segment)] == shown
    pyplot.close(display.figure_)


def test_a_curve_for_each_of_a_hundred_classes():
    rng = np.random.default_rng(0)
    scores = {f"class {code}": rng.uniform(size=(3, 2)) for code in range(100)}
    display = ShotsCurveDisplay(SHOTS, scores).plot()
    legend = display.ax_.get_legend()
    assert_none_overlap(boxes(legend.get_texts(), display.figure_))
    axes = display.ax_.get_window_extent()
    assert not axes.overlaps(legend.get_window_extent())
    assert legend.get_window_extent().xmax <= display.figure_.bbox.xmax
    assert axes.width > 600
    # The bars of one number of shots stay apart from those of the next.
    places = [
        bars.lines[0].get_transform().transform([(shots, 0.5) for shots in SHOTS])[:, 0]
        for bars in display.errorbar_
    ]
    assert (np.max(places, axis=0)[:-1] < np.min(places, axis=0)[1:]).all()
    looks = {
        (line.get_color(), line.get_marker(), line.get_linestyle())
        for line in (bars.lines[0] for bars in display.errorbar_)
    }
    assert len(looks) == 100
    pyplot.close(display.figure_)
