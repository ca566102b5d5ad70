"""Which part of a photo speaks for a class."""

import warnings

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip import CLIPFeatureTransformer, FewShotClassifier, FewShotTagger
from sktip.inspection import EvidenceDisplay, evidence_map


@pytest.fixture(scope="module")
def shots():
    """Pictures of random pixels, plain ones, and their labels."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(256, size=(32, 32, 3), dtype=np.uint8) for _ in range(6)]
    plain = [np.full((32, 32, 3), rng.integers(100, 200, 3), np.uint8) for _ in range(6)]
    return noise + plain, ["noise"] * 6 + ["plain"] * 6


@pytest.fixture(scope="module")
def classifier(shots):
    return FewShotClassifier("tiny").fit(*shots)


def photo_with_noise(left, top, size=(240, 180), side=70):
    photo = np.full((size[1], size[0], 3), 150, np.uint8)
    part = photo[top : top + side, left : left + side]
    part[:] = np.random.default_rng(1).integers(256, size=part.shape)
    return photo


def peak(evidence):
    """The point with the most evidence, as fractions of width and height."""
    rows, columns = evidence.logits.shape
    y, x = np.unravel_index(evidence.logits.argmax(), (rows, columns))
    return (x + 0.5) / columns, (y + 0.5) / rows


@pytest.mark.parametrize(("left", "top"), [(0, 0), (170, 0), (85, 55), (30, 110)])
def test_the_maximum_lies_in_the_part_that_shows_the_class(classifier, left, top):
    evidence = evidence_map(classifier, photo_with_noise(left, top), "noise")
    x, y = peak(evidence)
    # Some windows at its edge show as much of it.
    assert left - 15 <= 240 * x <= left + 85
    assert top - 15 <= 180 * y <= top + 85
    assert evidence.logits.shape == (48, 64)
    assert not evidence.is_noise
    # Darker elsewhere, with an outline.
    assert evidence.picture.size == (240, 180)
    far = (239 if left < 100 else 0, 179 if top < 60 else 0)
    assert max(evidence.picture.getpixel(far)) < 100
    colours = {colour for _, colour in evidence.picture.getcolors(240 * 180)}
    assert (230, 159, 0) in colours


def test_the_target_is_the_predicted_class_by_default(classifier):
    photo = photo_with_noise(0, 0, (160, 120), 110)
    evidence = evidence_map(classifier, photo)
    assert evidence.target == classifier.predict([photo])[0]
    other = {"noise": "plain", "plain": "noise"}[evidence.target]
    opposite = evidence_map(classifier, photo, other)
    np.testing.assert_allclose(opposite.logits, -evidence.logits, atol=1e-6)


def test_any_classifier_and_a_tagger(shots):
    photo = photo_with_noise(170, 0)
    pipe = make_pipeline(CLIPFeatureTransformer("tiny"), LogisticRegression(C=100)).fit(*shots)
    tags = [[int(label == "noise"), 1] for label in shots[1]]
    tagger = FewShotTagger("tiny", class_names=["noise", "picture"]).fit(shots[0], tags)
    for estimator in (pipe, tagger):
        x, y = peak(evidence_map(estimator, photo, "noise"))
        assert x > 0.6
        assert y < 0.5


def test_a_plain_photo_has_no_map(classifier):
    with pytest.warns(UserWarning, match="the map of 'plain' is noise"):
        evidence = evidence_map(classifier, Image.new("RGB", (80, 60), "grey"), "plain")
    assert evidence.is_noise
    assert len(evidence.picture.getcolors()) == 1


@pytest.mark.parametrize("size", [(300, 40), (20, 400), (9, 9), (1, 1)])
def test_photos_of_any_shape(classifier, size):
    photo = np.random.default_rng(0).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = evidence_map(classifier, photo).logits
    assert max(logits.shape) == 64
    assert np.isfinite(logits).all()


def test_patches_of_a_vision_transformer(folder, shots):
    clip = CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu")
    clf = FewShotClassifier(clip, templates=None).fit(*shots)
    photo = np.random.default_rng(2).integers(256, size=(60, 90, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = evidence_map(clf, photo, "noise", method="patches").logits
        assert first.shape == (43, 64)
        photo[:30, :20] = 255 - photo[:30, :20]
        second = evidence_map(clf, photo, "noise", method="patches").logits
    change = np.abs(first - second)
    assert change[:10, :10].mean() > 3 * change[-10:, -10:].mean()


def test_the_display_shows_the_map(classifier, shots):
    photo = photo_with_noise(0, 0, (160, 120), 110)
    display = EvidenceDisplay.from_estimator(classifier, photo, shots=shots[0], where=True)
    expected = evidence_map(classifier, photo, classifier.predict([photo])[0]).picture
    np.testing.assert_array_equal(display.query_picture, expected)
    row = CLIPFeatureTransformer("tiny").transform([photo])[0]
    of_features = FewShotClassifier("tiny", input="features")
    of_features.fit(CLIPFeatureTransformer("tiny").transform(shots[0]), shots[1])
    display = EvidenceDisplay.from_estimator(of_features, row, query_image=photo, where=True)
    assert display.query_picture.size == (160, 120)
    with pytest.raises(ValueError, match="query_image"):
        EvidenceDisplay.from_estimator(of_features, row, where=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "nose"}, r"no class: 'nose' \(there is 'noise'\)"),
        ({"method": "gradients"}, "pass 'windows' or 'patches'"),
        ({"method": "patches"}, "method='windows'"),
    ],
)
def test_bad_input_is_refused(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        evidence_map(classifier, photo_with_noise(0, 0), **options)
