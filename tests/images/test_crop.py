"""Parts of photos, wherever an image is expected."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from sktip import (
    CLIPFeatureTransformer,
    Crop,
    FewShotClassifier,
    FewShotTagger,
    JointEncoder,
    predict_images,
)
from sktip._encoding import loop
from sktip.exceptions import ImageReadError
from sktip.inspection import PredictionsDisplay


@pytest.fixture
def photo(tmp_path):
    """A photo of 80 x 60 random pixels, stored lying on its side, and its upright picture."""
    pixels = np.random.default_rng(0).integers(256, size=(60, 80, 3), dtype=np.uint8)
    upright, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.png"
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    return str(path), upright


@pytest.mark.parametrize(
    ("box", "options", "expected"),
    [
        ((10, 20, 30, 40), {}, (10, 20, 30, 40)),
        ((0.125, 0.5, 0.5, 0.75), {}, (10, 30, 40, 45)),
        # A long box: the whole height, and around its middle; at a border: shifted; too long: cut off.
        ((0, 30, 30, 40), {"square": True}, (0, 20, 30, 50)),
        ((60, 50, 80, 60), {"square": True}, (60, 40, 80, 60)),
        ((0, 10, 80, 20), {"square": True}, (0, 0, 80, 60)),
        ((10, 20, 30, 40), {"margin": 0.1}, (8, 18, 32, 42)),
        ((70, 20, 90, 40), {}, (70, 20, 80, 40)),
        ((-0.5, 0, 0.5, 1), {}, (0, 0, 40, 60)),
        ((79.9, 59.9, 80, 60), {}, (79, 59, 80, 60)),
    ],
)
def test_a_crop_is_that_part_of_the_upright_photo(clip, photo, box, options, expected):
    path, upright = photo
    features = clip.transform([Crop(path, box, **options), Crop(upright, box, **options)])
    whole = clip.transform([upright.crop(expected)])
    np.testing.assert_allclose(features, np.repeat(whole, 2, axis=0), atol=1e-5)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_photo_is_read_and_decoded_once_for_its_crops(photo, monkeypatch, n_jobs):
    counts = {"read_bytes": 0, "to_rgb": 0}

    def counting(name, original, *args):
        counts[name] += 1
        return original(*args)

    for name in counts:
        monkeypatch.setattr(loop, name, partial(counting, name, getattr(loop, name)))
    crops = [Crop(photo[0], (0, 0, 10 + i, 10)) for i in range(5)]
    CLIPFeatureTransformer("tiny", n_jobs=n_jobs).transform(crops)
    assert counts == {"read_bytes": 1, "to_rgb": 1}


def test_memory_tells_boxes_apart_and_decodes_nothing_twice(photo, tmp_path, monkeypatch):
    clip = CLIPFeatureTransformer("tiny", memory=tmp_path / "memory.sqlite")
    crops = [
        photo[0],
        *(Crop(photo[0], (0, 0, 30, 20), square=square) for square in (True, False)),
        Crop(photo[0], (0, 0, 30, 30), margin=0.5),
    ]
    features = clip.transform(crops)
    assert len(np.unique(features.round(4), axis=0)) == 4
    monkeypatch.setattr(loop, "to_rgb", None)
    np.testing.assert_array_equal(clip.transform(crops), features)


def test_crops_are_accepted_wherever_images_are(photo, tmp_path):
    rng = np.random.default_rng(1)
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = rng.integers(256, size=(40, 40, 3))
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path in paths:
        Image.fromarray(pixels).save(path)
    crops = [Crop(path, (x, 0, x + 0.5, 1)) for path in paths for x in (0, 0.5)]
    labels = ["plain", "noise"] * 3
    clip = CLIPFeatureTransformer("tiny")
    clf = FewShotClassifier(clip).fit(np.array(crops), labels)
    assert clf.predict(crops).tolist() == labels
    tagger = FewShotTagger(clip, class_names=["noise", "plain"]).fit(crops, [[0, 1], [1, 0]] * 3)
    assert tagger.predict(crops).tolist() == [[0, 1], [1, 0]] * 3
    answers = predict_images(clf, crops, tmp_path / "answers.csv", verbose=0)
    assert answers.prediction.tolist() == labels
    assert answers.path.tolist() == [path for path in paths for _ in (0, 1)]
    lines = (tmp_path / "answers.csv").read_text().splitlines()
    assert lines[0] == "path,box,prediction,probability,error"
    assert lines[2].startswith(f"{paths[0]},0.5 0 1 1,noise,")
    assert PredictionsDisplay.from_estimator(clf, crops).pictures[0].size == (40, 40)

    class Sizes:
        def transform(self, images):
            return np.array([[*image.size, 1.0] for image in images])

    joint = JointEncoder([clip, Sizes()])
    assert joint.transform(crops)[0, -3:] == pytest.approx(np.array([40, 40, 1]) / 3201**0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: Crop(path, (0.5, 0.5, 0.5, 0.7)), r"photo.png.*0\.5.*has no area"),
        (lambda path: Crop(path, (5, 5, 1, 7)), "has no area"),
        (lambda path: Crop(path, (0, 0, float("nan"), 1)), "not finite"),
        (lambda path: Crop(path, "left"), "four numbers"),
        (lambda path: Crop(path, (0, 0, 1, 1), margin=-1), "margin"),
    ],
)
def test_a_box_without_an_area_is_refused(photo, make, message):
    with pytest.raises(ValueError, match=message):
        make(photo[0])


def test_errors_name_photo_and_box_and_the_rest_goes_on(photo, tmp_path, clip):
    missing = str(tmp_path / "missing.jpg")
    good, outside = Crop(photo[0], (0, 0, 0.5, 0.5)), Crop(photo[0], (100, 0, 120, 20))
    with pytest.raises(ImageReadError, match=r"image 1 \('.*photo.png', box \(100, .*80 x 60"):
        clip.transform([good, outside])
    clf = FewShotClassifier(clip).fit([good, Crop(photo[0], (0.5, 0.5, 1, 1))], ["a", "b"])
    crops = [outside, good, Crop(missing, (0, 0, 1, 1)), Crop(missing, (0, 0, 0.5, 1))]
    with pytest.warns(UserWarning, match="3 of 4 images could not be read"):
        answers = predict_images(clf, crops, verbose=0)
    assert answers.prediction.tolist() == [None, "a", None, None]
    assert all("no such file" in error for error in answers.error[2:])
    with pytest.raises(TypeError, match="single Crop"):
        clip.transform(good)
