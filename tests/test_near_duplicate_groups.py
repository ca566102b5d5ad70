"""Photos that are copies of each other, or of one burst."""

import io
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from sktip.model_selection import near_duplicate_groups
from sktip.utils import photo_times


def photos_of(n, seed=0):
    """Coarse random pictures, which are as different as photos."""
    pixels = np.random.default_rng(seed).integers(256, size=(n, 6, 8, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((320, 240), Image.Resampling.BICUBIC) for one in pixels]


def resized(photo):
    return photo.resize((160, 120))


def recompressed(photo):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=40)
    return file.getvalue()


def cropped(photo):
    return photo.crop((0, 12, 304, 240))


def darker(photo):
    return photo.point(lambda value: value // 2)


@pytest.mark.parametrize("copy", [resized, recompressed, cropped, darker])
def test_copies_of_photos_are_found_without_an_encoder(copy):
    photos = photos_of(40)
    groups = near_duplicate_groups([*photos, *map(copy, photos[:10])])
    np.testing.assert_array_equal(groups, [*range(40), *range(10)])


def test_plain_photos_are_copies_if_they_have_one_colour():
    shades = [np.full((30, 40, 3), shade, np.uint8) for shade in (0, 255, 1, 128)]
    assert near_duplicate_groups([*shades, *photos_of(40)]).tolist() == [0, 1, 0, *range(2, 43)]


def test_copies_of_features(features):
    X, _, _ = features((20, 20), d=32)
    assert near_duplicate_groups(np.vstack([3 * X, X[:2]])).tolist() == [*range(40), 0, 1]


def test_a_threshold_is_a_cosine():
    X = [[1, 0], [0.8, 0.6], [0, 1]]
    assert near_duplicate_groups(X, threshold=0.79).tolist() == [0, 0, 1]
    assert near_duplicate_groups(X, threshold=0.81).tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["seconds", "datetimes"])
def test_a_burst_is_similar_and_within_a_minute(kind):
    rng = np.random.default_rng(0)
    scenes = rng.normal(size=(30, 64))
    # Two cameras at the same time, each with a burst of three photos, and one of them an hour later.
    X = scenes[[0, 1, 0, 1, 0, 1, 0, *range(2, 30)]]
    X = X + 0.7 * rng.normal(size=X.shape)
    times = np.array([0, 0, 20, 21, 40, 55, 3600, *1e5 * np.arange(28)], float)
    times[-1] = np.nan
    if kind == "datetimes":
        times = [None if np.isnan(t) else datetime.fromtimestamp(t) for t in times]
    assert len(set(near_duplicate_groups(X))) == len(X)
    groups = near_duplicate_groups(X, times=times)
    assert groups[:7].tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert len(set(groups)) == len(X) - 4


def test_times_are_those_of_exif(tmp_path):
    exif = Image.Exif()
    exif[306] = "2026:05:01 08:00:00"
    exif.get_ifd(0x8769)[36867] = "2026:05:01 06:30:15"
    exif.get_ifd(0x8769)[37521] = "25"
    photo = Image.new("RGB", (8, 8))
    photo.save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.jpg").write_bytes(b"damaged")
    found = photo_times([tmp_path / "a.jpg", tmp_path / "b.jpg", photo, tmp_path / "none.jpg"])
    assert found[0] == np.datetime64("2026-05-01T06:30:15.25")
    assert np.isnat(found[1:]).all()


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.eye(3), {"threshold": 1.5}, "cosine similarity"),
        (np.eye(3), {"threshold": "low"}, "cosine similarity"),
        (np.eye(3), {"times": [1, 2]}, "one time per photo"),
        (np.eye(3), {"times": ["noon", "later", "?"]}, "numbers of seconds"),
        ([[np.nan, 1]], {}, "NaN"),
    ],
)
def test_bad_input_is_refused(X, options, message):
    with pytest.raises(ValueError, match=message):
        near_duplicate_groups(X, **options)
