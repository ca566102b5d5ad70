"""Collections of images in every form a user has them, and what is no collection of images."""

import io
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from image_files import picture, saved
from PIL import Image, ImageSequence

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip.exceptions import ImageReadError


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Two pictures as files."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / "photo.png", folder / "mirrored.png"]
    picture().convert("RGB").save(paths[0])
    picture().convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(paths[1])
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def arrays(paths):
    return [np.asarray(Image.open(path)) for path in paths]


def containers(paths, arrays):
    """The same two images in every container."""
    contents = [saved(Image.open(path), "PNG") for path in paths]
    objects = np.empty(2, object)
    objects[:] = [Image.fromarray(arrays[0]), paths[1]]
    found = {
        "list": paths,
        "tuple": tuple(paths),
        "iterator": iter(paths),
        "array of text": np.array(paths),
        "column of objects": np.array(paths, dtype=object)[:, None],
        "array of objects": objects,
        "4-D array": np.stack(arrays),
        "mixed": [Image.open(paths[0]), arrays[1]],
        "bytes": contents,
        "Series of bytes": pd.Series(contents),
        "DataFrame": pd.DataFrame({"path": paths}),
        **{dtype: pd.Series(paths, dtype=dtype) for dtype in ("str", "string", "category")},
    }
    if hasattr(np.dtypes, "StringDType"):
        found["StringDType"] = np.array(paths, dtype=np.dtypes.StringDType(na_object=None))
    if find_spec("pyarrow") is not None:
        import pyarrow as pa

        found |= {
            "pandas of Arrow": pd.Series(paths, dtype=pd.ArrowDtype(pa.large_string())),
            "pandas of bytes": pd.Series(contents, dtype=pd.ArrowDtype(pa.binary())),
            "Arrow": pa.array(paths),
            "Arrow in chunks": pa.chunked_array([paths[:1], paths[1:]]),
            "Arrow table": pa.table({"a": paths}),
        }
    return found


def test_every_container_of_the_same_images_gives_the_same_features(clip, paths, arrays):
    expected = clip.transform(arrays)
    for name, X in containers(paths, arrays).items():
        np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6, err_msg=name)


def test_images_where_features_are_expected(clip, paths, arrays):
    own = TipAdapterClassifier(clip, input="features").fit(np.eye(2, 128), ["a", "b"])
    given = {"PIL": [Image.open(path) for path in paths], "arrays": arrays}
    for name, X in (containers(paths, arrays) | given).items():
        if name == "iterator":
            continue
        with pytest.raises(ValueError, match=r"X looks like images.*=CLIPFeatureTransformer"):
            TipAdapterClassifier().fit(X, ["a", "b"])
        with pytest.raises(ValueError, match=r"X looks like images, but input='features': set"):
            own.predict(X)


def test_missing_texts_are_named(clip, paths):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", on_error="nan")
    columns = [pd.Series([paths[0], None], dtype="string")]
    if find_spec("pyarrow") is not None:
        import pyarrow as pa

        columns.append(pa.array([paths[0], None]))
    for X in columns:
        with pytest.raises(ImageReadError, match="image 1: a .* is not an image"):
            clip.transform(X)
        with pytest.warns(UserWarning, match="1 of 2 images"):
            assert np.isnan(encoder.transform(X)).any(axis=1).tolist() == [False, True]


def test_frames_one_after_another_are_no_list(clip):
    frames = [picture().convert("RGB").rotate(angle) for angle in (0, 180)]
    content = saved(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    X = ImageSequence.Iterator(Image.open(io.BytesIO(content)))
    with pytest.raises(TypeError, match="the same image object for every frame.*frame.copy.. for"):
        clip.transform(X)
    copies = [frame.copy() for frame in X]
    np.testing.assert_allclose(clip.transform(copies), clip.transform(frames), atol=1e-6)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("photo.png", TypeError, "single str.*wrap it in a list"),
        (".", TypeError, "the folder '.'.*predict_images takes a folder"),
        (Image.new("RGB", (4, 4)), TypeError, "single Image"),
        (None, TypeError, "X is None"),
        (5, TypeError, "X is a int"),
        (np.array([b"\x89PNG"]), TypeError, "with dtype=object"),
        ([], ValueError, "X is empty"),
        (np.zeros((28, 28, 3), np.uint8), ValueError, "single image, wrap it in a list"),
        (np.zeros((4, 8)), ValueError, "input='features'"),
        (np.zeros(4), ValueError, "expected images"),
        (np.full((2, 2), "a", dtype=object), ValueError, "array of objects"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "table of 2 columns"),
    ],
)
def test_what_is_no_collection_of_images(clip, X, error, message):
    with pytest.raises(error, match=message):
        clip.transform(X)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3)), "dtype float64; convert it to uint8 with values 0 to 255"),
        (np.zeros((3, 40, 40), np.uint8), "Move the channels last"),
        (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (3.5, "a float is not an image"),
        (b"\x89PNG", "not an image in a supported format"),
        ("a photo of a cat", "To encode text, use encode_text"),
    ],
)
def test_what_is_no_image(clip, arrays, image, message):
    with pytest.raises(ImageReadError, match=f"image 1.*: .*{message}"):
        clip.transform([arrays[0], image])


def test_grey_images(clip, arrays):
    grey = np.ascontiguousarray(arrays[0][:, :, 0])
    expected = clip.transform([np.stack([grey] * 3, axis=2)] * 2)
    stack = np.stack([grey, grey])
    for X in ([grey, Image.fromarray(grey)], [grey[:, :, None]] * 2, stack):
        np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6)


def test_features_are_unit_norm_float32_whatever_the_batch(clip, digits):
    images, _ = digits
    features = clip.transform(images[:30])
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    for changed in ({"batch_size": 1}, {"batch_size": 7, "n_jobs": 2}, {"n_jobs": -1}):
        other = CLIPFeatureTransformer("tiny", device="cpu", **changed).transform(images[:30])
        np.testing.assert_allclose(other, features, atol=1e-5)
