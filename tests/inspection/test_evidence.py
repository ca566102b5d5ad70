"""One prediction, taken apart."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer
from tip_shots import NAMES, SCALE, classifier

from sktip import FewShotClassifier, GDAClassifier, ProKeRClassifier, TipAdapterClassifier
from sktip.exceptions import ImageReadError
from sktip.inspection import CacheEvidenceDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture
def fitted(shots):
    X, y, W = shots
    weights = np.linspace(0.5, 2, len(y))
    return classifier(W).fit(X, NAMES[y], sample_weight=weights)


@pytest.fixture
def query(features):
    return features((1, 1), seed=3)[0][0]


def test_parts_are_the_classifiers(fitted, query):
    display = CacheEvidenceDisplay.from_estimator(fitted, query, n_shots=3)
    np.testing.assert_allclose(display.prior, SCALE * fitted.text_features_ @ query)
    logits = fitted.decision_function([query])[0]
    np.testing.assert_allclose(display.prior + display.cache, logits, atol=1e-9)
    np.testing.assert_array_equal(display.classes, fitted.classes_)
    found = (display.indices, display.weights, display.labels)
    for mine, arrays in zip(found, fitted.nearest_shots([query], 3), strict=True):
        np.testing.assert_array_equal(mine, arrays[0])


def test_bars_differ_as_logits_do(fitted, query):
    display = CacheEvidenceDisplay.from_estimator(fitted, query, n_classes=3)
    logits = fitted.decision_function([query])[0]
    top = np.argsort(-logits)[:3]
    ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert ticks == NAMES[top].tolist()
    prior, cache = display.prior_bars_.patches, display.cache_bars_.patches
    widths = display.prior[top] - display.prior[top].min()
    np.testing.assert_allclose([bar.get_width() for bar in prior], widths)
    np.testing.assert_allclose([bar.get_width() for bar in cache], display.cache[top])
    np.testing.assert_allclose([bar.get_x() for bar in cache], widths)
    ends = np.array([bar.get_x() + bar.get_width() for bar in cache])
    np.testing.assert_allclose(ends[0] - ends, logits[top[0]] - logits[top], atol=1e-9)
    heights = [bar.get_y() + bar.get_height() / 2 for bar in cache]
    np.testing.assert_allclose(heights, display.ax_.get_yticks())
    bottom, top_of_axis = display.ax_.get_ylim()
    assert bottom > heights[-1] > heights[0] > top_of_axis
    assert display.ax_.get_xlim()[1] > ends[0]


def test_probabilities_are_written(fitted, query):
    display = CacheEvidenceDisplay.from_estimator(fitted, query)
    assert len(display.cache_bars_) == 4
    probabilities = np.sort(fitted.predict_proba([query])[0])[::-1]
    texts = [text.get_text() for text in display.ax_.texts]
    for text, probability in zip(texts, probabilities, strict=True):
        if 0.005 <= probability < 0.995:
            assert text == f"{100 * probability:.0f} %"
        else:
            assert text == ("<1 %" if probability < 0.5 else ">99 %")
    winner = fitted.predict([query])[0]
    assert display.ax_.get_title() == f"prediction: {winner} ({texts[0]})"
    assert display.ax_.get_xlabel() == "logit, above the lowest text prior shown"
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["text prior", "cache: votes of all shots"]


@pytest.mark.parametrize("cls", [FewShotClassifier, GDAClassifier, ProKeRClassifier])
def test_whatever_explains_is_drawn(cls, shots, query):
    X, y, W = shots
    clf = cls(text_features=W, logit_scale=SCALE).fit(X, NAMES[y])
    why = clf.explain([query])
    display = CacheEvidenceDisplay.from_estimator(clf, query, n_shots=3, n_classes=3)
    assert display.cache is None
    assert display.cache_bars_ is None
    logits = clf.decision_function([query])[0]
    top = np.argsort(-logits)[:3]
    drawn = np.zeros(3)
    for name in ("prior", "means", "correction", "unlabeled"):
        part, bars = getattr(display, name), getattr(display, f"{name}_bars_")
        expected = why["text" if name == "prior" else name][0]
        assert (part is None) == (not expected.any())
        assert (bars is None) == (part is None)
        if part is not None:
            np.testing.assert_array_equal(part, expected)
            widths = [bar.get_width() for bar in bars]
            np.testing.assert_allclose(widths, part[top] - part[top].min(), atol=1e-12)
            np.testing.assert_allclose([bar.get_x() for bar in bars], drawn, atol=1e-12)
            drawn += widths
    np.testing.assert_allclose(drawn[0] - drawn, logits[top[0]] - logits[top], atol=1e-9)
    assert display.ax_.get_title().startswith(f"prediction: {clf.predict([query])[0]} (")
    assert display.ax_.get_xlabel() == "logit, each part above its lowest shown"
    # The shots that say most for the answer.
    moved = why.shots[0]
    best = [row for row in np.argsort(-moved, kind="stable") if moved[row]][:3]
    np.testing.assert_array_equal(display.indices, best)
    np.testing.assert_array_equal(display.weights, moved[best])
    np.testing.assert_array_equal(display.labels, NAMES[y[best]])


def test_unlabelled_images_are_a_part(shots, features, query):
    X, y, W = shots
    pool = features((20,) * 4, d=8)[0]
    clf = FewShotClassifier(text_features=W, logit_scale=SCALE).fit(X, y, X_unlabeled=pool)
    assert clf.class_shares_ is not None
    display = CacheEvidenceDisplay.from_estimator(clf, query)
    np.testing.assert_array_equal(display.unlabeled, clf.explain([query]).unlabeled[0])
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["text prior", "class means", "correction", "unlabelled images"]


@pytest.mark.parametrize("cls", [FewShotClassifier, GDAClassifier, ProKeRClassifier])
def test_pictures_of_shots_that_are_explained(cls, clip, digits):
    images, labels = digits
    on_images = cls(clip, templates="the digit {}").fit(images[:40], labels[:40])
    on_features = cls(clip, input="features", templates="the digit {}")
    pipe = make_pipeline(clip, on_features).fit(images[:40], labels[:40])
    for estimator in (on_images, pipe):
        display = CacheEvidenceDisplay.from_estimator(
            estimator, images[50], shots=images[:40], n_shots=2
        )
        assert len(display.image_axes_) == 1 + len(display.indices)
        for ax, row, moved in zip(
            display.image_axes_[1:], display.indices, display.weights, strict=True
        ):
            picture = ax.get_images()[0].get_array()
            np.testing.assert_array_equal(picture, np.stack([images[row]] * 3, axis=2))
            assert ax.get_title() == f"{labels[row]}\n{moved:+#.3g}"
    with pytest.raises(ValueError, match="shots has 3 images, but the classifier has 40 shots"):
        CacheEvidenceDisplay.from_estimator(on_images, images[50], shots=images[:3])


def test_shots_that_are_not_kept(shots, query, digits):
    X, y, W = shots
    clf = GDAClassifier(text_features=W, alpha=1.0, logit_scale=SCALE).fit(X, y)
    display = CacheEvidenceDisplay.from_estimator(clf, query)
    assert len(display.indices) == len(display.labels) == 0
    np.testing.assert_array_equal(display.means, clf.explain([query]).means[0])
    with pytest.raises(ValueError, match="shots cannot be shown.*alpha='auto'"):
        CacheEvidenceDisplay.from_estimator(clf, query, shots=digits[0][:14])


def test_names_alone(features, query):
    W = features((2, 1, 3, 2))[2]
    clf = FewShotClassifier(text_features=W, logit_scale=SCALE).fit()
    display = CacheEvidenceDisplay.from_estimator(clf, query)
    np.testing.assert_allclose(display.prior, clf.decision_function([query])[0])
    assert display.means is None
    assert len(display.indices) == 0


def test_extreme_probabilities():
    display = CacheEvidenceDisplay(
        classes=["a", "b", "c"], prior=[800, 0, 794], cache=[0, 0, 0], indices=[], weights=[],
        labels=[],
    )  # fmt: skip
    texts = [text.get_text() for text in display.plot().ax_.texts]
    assert texts == [">99 %", "<1 %", "0 %"]


def test_pictures(clip, digits):
    images, labels = digits
    clf = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:40], labels[:40])
    display = CacheEvidenceDisplay.from_estimator(clf, images[50], shots=images[:40], n_shots=4)
    indices, votes, found = (part[0] for part in clf.nearest_shots([images[50]], 4))
    assert len(display.image_axes_) == 5
    pictures = [ax.get_images()[0].get_array() for ax in display.image_axes_]
    for picture, image in zip(pictures, [images[50], *(images[i] for i in indices)], strict=True):
        np.testing.assert_array_equal(picture, np.stack([image] * 3, axis=2))
    winner = clf.predict([images[50]])[0]
    assert display.image_axes_[0].get_title() == "query"
    for ax, label, vote in zip(display.image_axes_[1:], found, votes, strict=True):
        assert ax.get_title() == f"{label}\n{vote:+#.3g}"
        solid = ax.spines["left"].get_linestyle() in ("-", "solid")
        assert solid == (label == winner)
    assert display.ax_ not in display.image_axes_
    assert {ax.figure for ax in display.image_axes_} == {display.figure_}
    alone = CacheEvidenceDisplay.from_estimator(clf, images[50])
    assert len(alone.image_axes_) == 1


def test_images_features_pipelines_and_searches_say_the_same(clip, digits, digit_features):
    images, labels = digits
    F = digit_features[0]
    parameters = {"templates": "the digit {}"}
    on_features = TipAdapterClassifier(clip, input="features", **parameters)
    on_images = TipAdapterClassifier(clip, **parameters).fit(images[:40], labels[:40])
    pipe = make_pipeline(clip, clone(on_features)).fit(images[:40], labels[:40])
    search = GridSearchCV(clone(on_features), {"alpha": [1.0]}, cv=2).fit(F[:40], labels[:40])
    steps = make_pipeline(Normalizer(), clone(on_features)).fit(F[:40], labels[:40])
    single = Pipeline([("clf", clone(on_features))]).fit(F[:40], labels[:40])
    expected = CacheEvidenceDisplay.from_estimator(on_images, images[50], shots=images[:40])
    for estimator, query in (
        (on_features.fit(F[:40], labels[:40]), F[50]),
        (pipe, images[50]),
        (search, F[50].tolist()),
        (steps, F[50]),
        (single, F[50]),
    ):
        picture = None if query is images[50] else images[50]
        display = CacheEvidenceDisplay.from_estimator(
            estimator, query, shots=images[:40], query_image=picture
        )
        for name in ("prior", "cache", "weights"):
            np.testing.assert_allclose(getattr(display, name), getattr(expected, name), atol=1e-4)
        np.testing.assert_array_equal(display.labels, expected.labels)
        assert len(display.image_axes_) == 6


def test_files_are_read_as_the_encoder_reads_them(clip, digits, tmp_path):
    images, labels = digits
    paths = [tmp_path / f"{i}.png" for i in range(20)]
    for path, image in zip(paths, images[:20], strict=True):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(np.rot90(image).copy()).save(path, exif=exif)
    clf = TipAdapterClassifier(clip).fit(paths, labels[:20])
    kept = set(clf.nearest_shots([paths[4]], 3)[0][0])
    for i in set(range(20)) - kept:
        paths[i].unlink()  # Only what is shown is read.
    display = CacheEvidenceDisplay.from_estimator(
        clf, str(paths[4]), shots=pd.Series(paths), n_shots=3
    )
    for ax in display.image_axes_[:2]:
        np.testing.assert_array_equal(ax.get_images()[0].get_array()[:, :, 0], images[4])
    lost = display.indices[1]
    paths[lost].unlink()
    with pytest.raises(ImageReadError, match=f"image {lost} .*{lost}.png.*no such file"):
        CacheEvidenceDisplay.from_estimator(clf, paths[4], shots=paths, n_shots=3)


def test_large_pictures_are_kept_small_and_the_users_stay(clip, digits):
    images, labels = digits
    clf = TipAdapterClassifier(clip).fit(images[:20], labels[:20])
    photo = Image.fromarray(np.full((1000, 500, 3), 99, np.uint8))
    display = CacheEvidenceDisplay.from_estimator(clf, photo)
    assert photo.size == (500, 1000)
    assert display.query_picture.size == (160, 320)


def test_no_text_prior(shots, query):
    X, y, _ = shots
    with pytest.warns(UserWarning, match="no text prior"):
        clf = classifier().fit(X, y)
    display = CacheEvidenceDisplay.from_estimator(clf, query)
    assert display.prior is None
    assert display.prior_bars_ is None
    logits = np.sort(clf.decision_function([query])[0])[::-1]
    widths = [bar.get_width() for bar in display.cache_bars_.patches]
    np.testing.assert_allclose(widths, logits, atol=1e-12)
    assert display.ax_.get_xlabel() == "logit"


def test_two_classes_and_a_small_cache(features):
    X, y, W = features((2, 1))
    clf = classifier(W).fit(X, y)
    display = CacheEvidenceDisplay.from_estimator(clf, X[0])
    assert len(display.indices) == 3
    assert len(display.cache_bars_) == 2
    difference = np.diff(display.prior + display.cache)[0]
    np.testing.assert_allclose(difference, clf.decision_function(X[:1])[0], atol=1e-9)


def test_long_names(features):
    X, y, W = features((2, 2))
    names = ["golden_retriever", "2012 Aston Martin V8 Vantage Convertible, in the rain"]
    clf = classifier(W, class_names=names).fit(X, np.array(sorted(names))[y])
    display = CacheEvidenceDisplay.from_estimator(clf, X[0])
    ticks = {label.get_text() for label in display.ax_.get_yticklabels()}
    assert ticks == {"golden_retriever", "2012 Aston Martin V8\nVantage Convertible, ..."}


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("a_very_long_name_of_a_species_in_latin", "a_very_long_name_of_a_\nspecies_in_latin"),
        ("x" * 300, f"{'x' * 24}\n{'x' * 20} ..."),
        ("two\nlines\tand  spaces", "two lines and spaces"),
        ("", ""),
    ],
)
def test_where_names_are_broken(name, drawn):
    display = CacheEvidenceDisplay(
        classes=[name, "b"], prior=None, cache=[2, 1], indices=[], weights=[], labels=[]
    )
    assert display.plot().ax_.get_yticklabels()[0].get_text() == drawn


@pytest.mark.parametrize(
    "labels",
    [np.arange(2), np.array([True, False]), np.array([0.5, 1e30]), ["$x_{", "{0}%"]],
    ids=str,
)
def test_labels_of_any_type(labels, digits):
    display = CacheEvidenceDisplay(
        classes=labels, prior=[1, 0], cache=[2, 1], indices=[3, 1], weights=[0.5, 0.2],
        labels=labels, shot_pictures=digits[0][:2],
    ).plot()  # fmt: skip
    ticks = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert ticks == [str(label) for label in labels]
    titles = [ax.get_title() for ax in display.image_axes_]
    assert titles == [f"{labels[0]}\n+0.500", f"{labels[1]}\n+0.200"]
    display.figure_.savefig(io.BytesIO())


def test_a_classifier_of_a_table(fitted, shots, query, recwarn):
    X, y, W = shots
    table = pd.DataFrame(X, columns=list("abcdefgh"))
    pipe = make_pipeline(Normalizer().set_output(transform="pandas"), classifier(W))
    for estimator in (classifier(W), pipe):
        for row in (query, pd.Series(query, index=table.columns)):
            display = CacheEvidenceDisplay.from_estimator(estimator.fit(table, NAMES[y]), row)
            np.testing.assert_allclose(display.prior, SCALE * W @ query, atol=1e-9)
    assert not [str(warning.message) for warning in recwarn]


def test_on_axes_of_the_user(fitted, query, digits):
    figure, (left, right) = pyplot.subplots(1, 2)
    place = right.get_position()
    display = CacheEvidenceDisplay.from_estimator(
        fitted, query, shots=digits[0][:14], query_image=digits[0][20], n_shots=2, ax=right
    )
    assert display.ax_ is right
    assert display.figure_ is figure
    assert figure.axes == [left, right, *display.image_axes_]
    figure.canvas.draw()
    for ax in (right, *display.image_axes_):
        inner = ax.get_position()
        assert inner.x0 >= place.x0 - 1e-9
        assert inner.x1 <= place.x1 + 1e-9
        assert inner.y0 >= place.y0 - 1e-9
        assert inner.y1 <= place.y1 + 1e-9
    assert min(ax.get_position().y0 for ax in display.image_axes_) > right.get_position().y1
    free = pyplot.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert CacheEvidenceDisplay.from_estimator(fitted, query, ax=free).ax_ is free
    with pytest.raises(ValueError, match="ax is not part of a grid"):
        CacheEvidenceDisplay.from_estimator(fitted, query, query_image=digits[0][0], ax=free)


def test_errors(fitted, query, digits, shots):
    X, y, W = shots
    show = CacheEvidenceDisplay.from_estimator
    with pytest.raises(NotFittedError):
        show(classifier(W), query)
    with pytest.raises(TypeError, match="LogisticRegression has neither nearest_shots"):
        show(LogisticRegression().fit(X, y), query)
    with pytest.raises(ValueError, match="shots has 3 images, but the classifier has 14 shots"):
        show(fitted, query, shots=digits[0][:3])
    for wrong, shape in ((X[:1], "1, 8"), ("cat.jpg", "")):
        with pytest.raises(ValueError, match=rf"query has the shape \({shape}\);.* such as X\[0\]"):
            show(fitted, wrong)
    with pytest.raises(ValueError, match="7 features"):
        show(fitted, query[:7])
    with pytest.raises(ValueError, match="n_shots == 0"):
        show(fitted, query, n_shots=0)
    with pytest.raises(ValueError, match="n_classes == 0"):
        show(fitted, query, n_classes=0)


def test_query_that_is_no_image(clip, digits):
    clf = TipAdapterClassifier(clip).fit(digits[0][:20], digits[1][:20])
    with pytest.raises(ImageReadError, match="image 0: a list is not an image"):
        CacheEvidenceDisplay.from_estimator(clf, [digits[0][0]])


def test_an_unreadable_query_is_named_whatever_the_encoder_does(clip, digits, tmp_path):
    images, labels = digits
    encoder = clone(clip).set_params(on_error="nan")
    clf = TipAdapterClassifier(encoder).fit(images[:30], labels[:30])
    missing = tmp_path / "missing.png"
    with pytest.raises(ImageReadError, match="image 0 .*missing.png.*no such file"):
        CacheEvidenceDisplay.from_estimator(clf, missing)
