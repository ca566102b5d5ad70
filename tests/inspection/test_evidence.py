"""One prediction, taken apart."""

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
from sktip.inspection import EvidenceDisplay

pyplot = pytest.importorskip("matplotlib.pyplot")

show = EvidenceDisplay.from_estimator


@pytest.fixture
def fitted(shots):
    X, y, W = shots
    return classifier(W).fit(X, NAMES[y], sample_weight=np.linspace(0.5, 2, len(y)))


@pytest.fixture
def query(features):
    return features((1, 1), seed=3)[0][0]


def texts(artists):
    return [artist.get_text() for artist in artists]


def check_bars(display, logits):
    """The parts are side by side, and the ends of the bars differ as the logits do."""
    top = np.argsort(-logits)[: len(display.ax_.get_yticks())]
    assert texts(display.ax_.get_yticklabels()) == [str(label) for label in display.classes[top]]
    ends = np.zeros(len(top))
    for name, bars in display.bars_.items():
        part = getattr(display, name)[top]
        widths = [bar.get_width() for bar in bars]
        np.testing.assert_allclose(
            widths, part - (0 if name == "cache" else part.min()), atol=1e-12
        )
        np.testing.assert_allclose([bar.get_x() for bar in bars], ends, atol=1e-12)
        ends += widths
    np.testing.assert_allclose(ends[0] - ends, logits[top[0]] - logits[top], atol=1e-9)
    assert display.ax_.yaxis_inverted()


def test_the_votes_of_a_cache(fitted, query):
    display = show(fitted, query, n_shots=3, n_classes=3)
    logits = fitted.decision_function([query])[0]
    np.testing.assert_allclose(display.prior, SCALE * fitted.text_features_ @ query)
    np.testing.assert_allclose(display.prior + display.cache, logits, atol=1e-9)
    check_bars(display, logits)
    found = (display.indices, display.weights, display.labels)
    for mine, arrays in zip(found, fitted.nearest_shots([query], 3), strict=True):
        np.testing.assert_array_equal(mine, arrays[0])
    legend = display.ax_.get_legend().get_texts()
    assert texts(legend) == ["text prior", "cache: votes of all shots"]
    probability = fitted.predict_proba([query]).max()
    written = texts(display.ax_.texts)[0]
    assert written == f"{100 * probability:.0f} %"
    assert display.ax_.get_title() == f"prediction: {fitted.predict([query])[0]} ({written})"


@pytest.mark.parametrize("cls", [FewShotClassifier, GDAClassifier, ProKeRClassifier])
def test_the_parts_of_a_linear_classifier(cls, shots, query):
    X, y, W = shots
    clf = cls(text_features=W, logit_scale=SCALE).fit(X, NAMES[y])
    display = show(clf, query, n_shots=3, n_classes=3)
    check_bars(display, clf.decision_function([query])[0])
    why = clf.explain([query])
    np.testing.assert_array_equal(display.prior, why.text[0])
    for name in ("means", "correction", "unlabeled"):
        assert (name in display.bars_) == why[name].any()
        if name in display.bars_:
            np.testing.assert_array_equal(getattr(display, name), why[name][0])
    # The shots that say most for the answer.
    moved = why.shots[0]
    best = [row for row in np.argsort(-moved, kind="stable") if moved[row]][:3]
    np.testing.assert_array_equal(display.indices, best)
    np.testing.assert_array_equal(display.weights, moved[best])
    np.testing.assert_array_equal(display.labels, NAMES[y[best]])


def test_fits_without_shots_or_names(shots, features, query):
    X, y, W = shots
    alone = FewShotClassifier(text_features=W, logit_scale=SCALE).fit()
    assert list(show(alone, query).bars_) == ["prior"]
    pool = features((20,) * 4, d=8)[0]
    clf = clone(alone).fit(X, y, X_unlabeled=pool)
    np.testing.assert_array_equal(show(clf, query).unlabeled, clf.explain([query]).unlabeled[0])
    with pytest.warns(UserWarning, match="no text prior"):
        nameless = classifier().fit(X, y)
    assert list(show(nameless, query).bars_) == ["cache"]


def test_two_classes_and_a_small_cache(features):
    X, y, W = features((2, 1))
    clf = classifier(W).fit(X, y)
    display = show(clf, X[0])
    assert len(display.indices) == 3
    difference = np.diff(display.prior + display.cache)[0]
    np.testing.assert_allclose(difference, clf.decision_function(X[:1])[0], atol=1e-9)


def test_no_probability_is_rounded_to_certainty():
    display = EvidenceDisplay(
        classes=["a", "b"], prior=[8, 0], cache=[0, 0], indices=[], weights=[], labels=[]
    )
    assert texts(display.plot().ax_.texts) == [">99 %", "<1 %"]


@pytest.mark.parametrize("cls", [TipAdapterClassifier, FewShotClassifier, ProKeRClassifier])
def test_pictures(cls, clip, digits):
    images, labels = digits
    clf = cls(clip, templates="the digit {}").fit(images[:40], labels[:40])
    display = show(clf, images[50], shots=images[:40], n_shots=2)
    expected = [images[50], *(images[row] for row in display.indices)]
    for ax, image in zip(display.image_axes_, expected, strict=True):
        picture = ax.get_images()[0].get_array()
        np.testing.assert_array_equal(picture, np.stack([image] * 3, axis=2))
    titles = ["query"]
    for ax, row, weight in zip(
        display.image_axes_[1:], display.indices, display.weights, strict=True
    ):
        titles.append(f"{labels[row]}\n{weight:+#.3g}")
        is_solid = ax.spines["left"].get_linestyle() in ("-", "solid")
        assert is_solid == (labels[row] == clf.predict([images[50]])[0])
    assert [ax.get_title() for ax in display.image_axes_] == titles
    assert len(show(clf, images[50]).image_axes_) == 1
    with pytest.raises(ValueError, match="shots has 3 images, but the classifier has kept 40"):
        show(clf, images[50], shots=images[:3])


def test_images_features_pipelines_and_searches_say_the_same(clip, digits, digit_features):
    images, labels = digits
    F = digit_features[0]
    on_images = TipAdapterClassifier(clip, templates="the digit {}").fit(images[:40], labels[:40])
    expected = show(on_images, images[50], shots=images[:40])
    on_features = clone(on_images).set_params(input="features")
    for estimator, X in (
        (on_features, F),
        (make_pipeline(clip, clone(on_features)), images),
        (GridSearchCV(clone(on_features), {"alpha": [1.0]}, cv=2), F),
        (make_pipeline(Normalizer(), clone(on_features)), F),
        (Pipeline([("clf", clone(on_features))]), F),
    ):
        estimator.fit(X[:40], labels[:40])
        picture = images[50] if X is F else None
        display = show(estimator, X[50], shots=images[:40], query_image=picture)
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
    clf = TipAdapterClassifier(clone(clip).set_params(on_error="nan")).fit(paths, labels[:20])
    kept = set(clf.nearest_shots([paths[4]], 3)[0][0])
    for i in set(range(20)) - kept:
        paths[i].unlink()  # Only what is shown is read.
    display = show(clf, str(paths[4]), shots=pd.Series(paths), n_shots=3)
    for ax in display.image_axes_[:2]:
        np.testing.assert_array_equal(ax.get_images()[0].get_array()[:, :, 0], images[4])
    lost = display.indices[1]
    paths[lost].unlink()
    with pytest.raises(ImageReadError, match=f"image {lost} .*{lost}.png.*no such file"):
        show(clf, paths[4], shots=paths, n_shots=3)
    with pytest.raises(ImageReadError, match=r"image 0 .*missing.png.*no such file"):
        show(clf, tmp_path / "missing.png")
    with pytest.raises(ImageReadError, match="image 0: a list is not an image"):
        show(clf, [images[0]])


def test_large_pictures_are_kept_small_and_the_users_stay(clip, digits):
    clf = TipAdapterClassifier(clip).fit(digits[0][:20], digits[1][:20])
    photo = Image.fromarray(np.full((1000, 500, 3), 99, np.uint8))
    assert show(clf, photo).query_picture.size == (160, 320)
    assert photo.size == (500, 1000)


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("golden_retriever", "golden_retriever"),
        (
            "2012 Aston Martin V8 Vantage Coupe, in the rain",
            "2012 Aston Martin V8\nVantage Coupe, in ...",
        ),
        ("a_very_long_name_of_a_species_in_latin", "a_very_long_name_of_\na_species_in_latin"),
        ("$a$ or\n$x_{\\frac", "$a$ or $x_{\\frac"),
        ("\udcff.png", r"\udcff.png"),
        (True, "True"),
    ],
)
def test_names_are_drawn_literally(name, drawn):
    display = EvidenceDisplay(
        classes=[name, "b"], prior=None, cache=[2, 1], indices=[3], weights=[0.5],
        labels=[name], shot_pictures=[np.zeros((4, 4))],
    ).plot()  # fmt: skip
    assert texts(display.ax_.get_yticklabels()) == [drawn, "b"]
    assert display.image_axes_[0].get_title().endswith("\n+0.500")
    display.figure_.canvas.draw()
    with pyplot.rc_context({"text.usetex": True}):
        display.plot()
    title = display.image_axes_[0].title
    for text in (*display.ax_.get_yticklabels(), display.ax_.title, title, *display.ax_.texts):
        assert not text.get_parse_math()
        assert not text.get_usetex()


def test_a_classifier_of_a_table(shots, query, recwarn):
    X, y, W = shots
    table = pd.DataFrame(X, columns=list("abcdefgh"))
    pipe = make_pipeline(Normalizer().set_output(transform="pandas"), classifier(W))
    for estimator in (classifier(W), pipe):
        for row in (query, pd.Series(query, index=table.columns)):
            display = show(estimator.fit(table, NAMES[y]), row)
            np.testing.assert_allclose(display.prior, SCALE * W @ query, atol=1e-9)
    assert not [str(warning.message) for warning in recwarn]


def test_on_axes_of_the_user(fitted, query, digits):
    figure, (left, right) = pyplot.subplots(1, 2)
    place = right.get_position()
    pictures = {"shots": digits[0][:14], "query_image": digits[0][20]}
    display = show(fitted, query, **pictures, n_shots=2, ax=right)
    assert (display.ax_, display.figure_) == (right, figure)
    assert figure.axes == [left, right, *display.image_axes_]
    figure.canvas.draw()
    for ax in (right, *display.image_axes_):
        inner = ax.get_position()
        assert place.x0 - 1e-9 <= inner.x0 <= inner.x1 <= place.x1 + 1e-9
        assert place.y0 - 1e-9 <= inner.y0 <= inner.y1 <= place.y1 + 1e-9
    assert min(ax.get_position().y0 for ax in display.image_axes_) > right.get_position().y1
    free = pyplot.figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert show(fitted, query, ax=free).ax_ is free
    with pytest.raises(ValueError, match="an ax that is part of a grid"):
        show(fitted, query, query_image=digits[0][0], ax=free)


def test_errors(fitted, query, digits, shots):
    X, y, W = shots
    with pytest.raises(NotFittedError):
        show(classifier(W), query)
    with pytest.raises(TypeError, match="LogisticRegression has neither nearest_shots"):
        show(LogisticRegression().fit(X, y), query)
    plain = GDAClassifier(text_features=W, alpha=1.0, logit_scale=SCALE).fit(X, y)
    with pytest.raises(ValueError, match=r"kept 0 shots.*alpha='auto'"):
        show(plain, query, shots=digits[0][:14])
    for wrong, shape in ((X[:1], "1, 8"), ("cat.jpg", "")):
        with pytest.raises(ValueError, match=rf"query has the shape \({shape}\);.* such as X\[0\]"):
            show(fitted, wrong)
    for name in ("n_shots", "n_classes"):
        with pytest.raises(ValueError, match=f"{name} == 0"):
            show(fitted, query, **{name: 0})
