"""Images in every form a user has them, and every way in which one can be unusable."""

import io
import struct
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from image_files import png
from PIL import Image

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip._encoding.session import open_encoder
from sktip._images.pictures import to_rgb
from sktip.exceptions import ImageReadError


@pytest.fixture
def photo():
    """A picture with structure in every corner, 40 x 60."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.kron(small, np.ones((10, 10, 1), np.uint8))


@pytest.fixture
def saved(photo, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    return path


def test_every_container_of_the_same_images_gives_the_same_features(clip, photo, saved):
    expected = clip.transform([photo, photo[:, ::-1]])
    mirrored = saved.with_name("mirrored.png")
    Image.fromarray(photo[:, ::-1].copy()).save(mirrored)
    paths = [str(saved), str(mirrored)]
    objects = np.empty(2, object)
    objects[:] = [Image.fromarray(photo), mirrored]
    for X in (
        paths,
        tuple(paths),
        [saved, mirrored],
        np.array(paths),
        np.array(paths, dtype=object)[:, None],
        pd.Series(paths),
        pd.DataFrame({"path": paths}),
        objects,
        np.stack([photo, photo[:, ::-1]]),
        [Image.open(saved), photo[:, ::-1]],
        iter(paths),
        [saved.read_bytes(), mirrored.read_bytes()],
        pd.Series([saved.read_bytes(), mirrored.read_bytes()]),
    ):
        np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6)


def test_columns_of_text_give_the_same_features(clip, photo, saved):
    mirrored = saved.with_name("mirrored.png")
    Image.fromarray(photo[:, ::-1].copy()).save(mirrored)
    paths = [str(saved), str(mirrored)]
    contents = [path.read_bytes() for path in (saved, mirrored)]
    columns = {
        dtype: pd.Series(paths, dtype=dtype) for dtype in ("str", "string", "category", "object")
    }
    if hasattr(np.dtypes, "StringDType"):
        columns |= {
            "StringDType": np.array(paths, dtype=np.dtypes.StringDType()),
            "StringDType, missing": np.array(paths, dtype=np.dtypes.StringDType(na_object=None)),
            "StringDType, 2-D": np.array(paths, dtype=np.dtypes.StringDType())[:, None],
        }
    if find_spec("pyarrow") is not None:
        import pyarrow as pa

        for arrow in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
            columns[f"pandas of {arrow}"] = pd.Series(paths, dtype=pd.ArrowDtype(arrow))
        columns |= {
            "string[pyarrow]": pd.Series(paths, dtype="string[pyarrow]"),
            "pandas array": pd.array(paths, dtype="string[pyarrow]"),
            "pandas frame": pd.DataFrame({"a": pd.Series(paths, dtype="string[pyarrow]")}),
            "pandas of bytes": pd.Series(contents, dtype=pd.ArrowDtype(pa.binary())),
            "Arrow": pa.array(paths),
            "Arrow in chunks": pa.chunked_array([paths[:1], paths[1:]]),
            "Arrow of bytes": pa.array(contents),
            "Arrow table": pa.table({"a": paths}),
        }
    expected = clip.transform([photo, photo[:, ::-1]])
    for name, X in columns.items():
        np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6, err_msg=name)
        with pytest.raises(ValueError, match="X looks like images"):
            TipAdapterClassifier(clip, input="features").fit(X, ["a", "b"])


def test_missing_texts_are_named_and_tables_of_more_refused(clip, saved):
    columns = [pd.Series([str(saved), None], dtype="string")]
    if hasattr(np.dtypes, "StringDType"):
        dtype = np.dtypes.StringDType(na_object=np.nan)
        columns.append(np.array([str(saved), np.nan], dtype=dtype))
    if find_spec("pyarrow") is not None:
        import pyarrow as pa

        columns.append(pa.array([str(saved), None]))
        with pytest.raises(ValueError, match="a table of 2 columns"):
            clip.transform(pa.table({"a": ["x"], "b": ["y"]}))
    encoder = CLIPFeatureTransformer("tiny", device="cpu", on_error="nan")
    for X in columns:
        with pytest.raises(ImageReadError, match="image 1: a .* is not an image"):
            clip.transform(X)
        with pytest.warns(UserWarning, match="1 of 2 images"):
            assert np.isnan(encoder.transform(X)).any(axis=1).tolist() == [False, True]


def test_features_are_unit_norm_float32_whatever_the_batch(clip, digits):
    images, _ = digits
    features = clip.transform(images[:30])
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    for changed in ({"batch_size": 1}, {"batch_size": 7, "n_jobs": 2}, {"n_jobs": -1}):
        other = CLIPFeatureTransformer("tiny", device="cpu", **changed).transform(images[:30])
        np.testing.assert_allclose(other, features, atol=1e-5)


def test_features_are_those_of_open_clip(clip, photo):
    import torch

    model = open_encoder(clip).blocks[0].model
    with torch.inference_mode():
        pixels = model.preprocess(Image.fromarray(photo))[None]
        expected = model.model.encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(clip.transform([photo]), expected, atol=1e-6)


@pytest.mark.parametrize("stack", ["grey arrays", "3-D array"])
def test_grey_images(clip, photo, stack):
    grey = photo[:, :, 0]
    expected = clip.transform([np.stack([grey] * 3, axis=2)] * 2)
    X = [grey, Image.fromarray(grey)] if stack == "grey arrays" else np.stack([grey, grey])
    np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I"]
)
def test_modes_look_as_pillow_shows_them(clip, photo, mode):
    image = (
        Image.fromarray(photo).convert("RGBA" if mode in ("PA", "RGBa") else "RGB").convert(mode)
    )
    expected = image.convert("RGBA").convert("RGB") if mode == "RGBa" else image.convert("RGB")
    np.testing.assert_allclose(clip.transform([image]), clip.transform([expected]), atol=1e-6)


def test_transparency_is_laid_on_white(clip, photo, tmp_path):
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:20] = 0
    rgba = np.dstack([photo, alpha])
    on_white = photo.copy()
    on_white[:20] = 255
    palette = tmp_path / "palette.gif"
    two_colours = Image.new("P", (60, 40), 0)
    two_colours.putpalette([255, 0, 0, 0, 0, 255])
    two_colours.paste(1, (0, 20, 60, 40))
    two_colours.save(palette, transparency=0)
    blue_on_white = np.full((40, 60, 3), 255, np.uint8)
    blue_on_white[20:] = (0, 0, 255)
    expected = clip.transform([on_white, blue_on_white])
    for X in ([rgba, palette], [Image.fromarray(rgba), Image.open(palette)]):
        np.testing.assert_allclose(clip.transform(X), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_greys_are_scaled_not_clipped(clip, photo, tmp_path, suffix):
    grey = photo[:, :, 0]
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    np.testing.assert_allclose(clip.transform([path]), clip.transform([grey]), atol=1e-6)


@pytest.mark.parametrize(
    ("bits", "row", "key"),
    [
        (16, np.array([0, 40000, 0xFFFF], ">u2").tobytes(), [40000]),
        (8, bytes([0, 156, 255]), [156]),
        (4, bytes([0x0A, 0xF0]), [10]),
        (2, bytes([0b00101100]), [2]),
        (1, bytes([0b01000000]), [0]),
        (48, np.array([0] * 3 + [0x1234, 7, 9] + [0xFFFF] * 3, ">u2").tobytes(), [0x1234, 7, 9]),
    ],
)
@pytest.mark.parametrize("as_file", [True, False], ids=["bytes", "opened"])
def test_one_transparent_grey_or_colour_is_white(bits, row, key, as_file):
    colour, depth = (2, 16) if bits == 48 else (0, bits)
    content = png(3, 1, depth, colour, b"\0" + row, key=struct.pack(f">{len(key)}H", *key))
    image = content if as_file else Image.open(io.BytesIO(content))
    picture = to_rgb(image, content if as_file else None, "image 0", 10)
    pixels = np.asarray(picture)[0, :, 0].tolist()
    assert pixels == ([255, 255, 255] if bits == 1 else [0, 255, 255])


def test_a_palette_with_transparent_colours(clip):
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:20], rgba[20:] = (255, 0, 0, 0), (0, 0, 255, 255)
    on_white = np.full((40, 60, 3), 255, np.uint8)
    on_white[20:] = (0, 0, 255)
    image = Image.fromarray(rgba).quantize(2)
    assert image.mode == "P"
    np.testing.assert_allclose(clip.transform([image]), clip.transform([on_white]), atol=1e-6)


@pytest.mark.parametrize("largest", [1, 1.2, 255, 65535])
def test_floats_look_alike_in_every_range(clip, photo, tmp_path, largest):
    grey = photo[:, :, 0].copy()
    grey[0, 0] = 255
    path = tmp_path / "floats.tiff"
    unit = 1 if largest < 2 else largest
    floats = grey.astype(np.float32) / 255 * unit
    floats[0, 0] = largest
    Image.fromarray(floats).save(path)
    np.testing.assert_allclose(clip.transform([path]), clip.transform([grey]), atol=1e-5)


def test_exif_orientation_is_applied(clip, photo, tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(photo).copy()).save(path, exif=exif)
    upright = clip.transform([photo])
    np.testing.assert_allclose(clip.transform([path]), upright, atol=1e-6)
    with Image.open(path) as image:
        np.testing.assert_allclose(clip.transform([image]), upright, atol=1e-6)


def test_views_average_raw_features_of_random_crops(clip, photo):
    views = open_encoder(clip.set_params()).views([photo], 5, 3)
    raw = next(views)
    assert raw.shape == (5, 128)
    assert len(np.unique(raw.round(4), axis=0)) == 5
    encoder = CLIPFeatureTransformer("tiny", device="cpu", n_views=5, random_state=3)
    mean = raw.mean(axis=0)
    np.testing.assert_allclose(
        encoder.transform([photo])[0], mean / np.linalg.norm(mean), atol=1e-6
    )


def test_views_depend_on_seed_and_content_only(clip, photo, saved):
    def encoder(**parameters):
        return CLIPFeatureTransformer("tiny", device="cpu", n_views=3, **parameters)

    other = photo[::-1].copy()
    alone = encoder(random_state=0).transform([other])
    beside = encoder(random_state=0, batch_size=2, n_jobs=2).transform([saved, photo, other])
    np.testing.assert_allclose(beside[2], alone[0], atol=1e-5)
    assert abs(encoder(random_state=1).transform([other]) - alone).max() > 1e-3
    fresh = encoder(random_state=None)
    assert abs(fresh.transform([other]) - fresh.transform([other])).max() > 1e-3


def test_extreme_shapes(clip):
    for shape in ((1, 1), (1, 500), (500, 1), (3, 2000)):
        image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        for n_views in (1, 2):
            encoder = CLIPFeatureTransformer("tiny", device="cpu", n_views=n_views, random_state=0)
            assert np.isfinite(encoder.transform([image])).all()


class TestUnusableImages:
    """Each is refused with its index and what to do; files are in test_files.py."""

    def test_text_is_told_where_text_goes(self, clip):
        with pytest.raises(ImageReadError, match="To encode text, use encode_text"):
            clip.transform(["a photo of a cat"])

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((4, 4, 3)), "dtype float64; convert it to uint8"),
            (np.zeros((4, 4), bool), "dtype bool; convert it to uint8 with values 0 to 255"),
            (np.zeros((3, 40, 40), np.uint8), "Move the channels last"),
            (np.zeros((0, 4, 3), np.uint8), "has no pixels"),
            (np.zeros(5, np.uint8), r"shape \(5,\)"),
            (3.5, "a float is not an image"),
            (None, "a NoneType is not an image"),
            (b"\x89PNG", "not an image in a supported format"),
            (b"", "the file is empty"),
            (bytearray(b"\x89PNG"), "a bytearray is not an image"),
        ],
    )
    def test_arrays_and_objects(self, clip, photo, image, message):
        with pytest.raises(ImageReadError, match=f"image 1: .*{message}"):
            clip.transform([photo, image])

    def test_decompression_bomb(self, photo, saved):
        encoder = CLIPFeatureTransformer("tiny", device="cpu", max_pixels=1000)
        with pytest.raises(ImageReadError, match="60 x 40 pixels are more than max_pixels=1000"):
            encoder.transform([saved])
        with pytest.raises(ImageReadError, match="image 0: 60 x 40"):
            encoder.transform([photo])

    def test_bytes_are_bounded_as_files_are(self, photo):
        encoder = CLIPFeatureTransformer("tiny", device="cpu", max_pixels=1)
        with pytest.raises(ImageReadError, match="image 0: the file has .* max_pixels=1 needs"):
            encoder.transform([bytes(64 * 2**20 + 9)])

    def test_an_array_that_shortens_bytes(self, clip, saved):
        with pytest.raises(TypeError, match="with dtype=object"):
            clip.transform(np.array([saved.read_bytes()]))

    def test_pillow_refuses_bombs_on_its_own(self, clip, saved, monkeypatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        with pytest.raises(ImageReadError, match="image 0 .*too large for Pillow"):
            clip.transform([saved])

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            ("photo.png", "single str"),
            (Image.new("RGB", (4, 4)), "single Image"),
            (b"...", "single bytes"),
            (None, "X is None"),
            (5, "X is a int"),
        ],
    )
    def test_not_a_collection(self, clip, X, message):
        with pytest.raises(TypeError, match=message):
            clip.transform(X)

    def test_single_path(self, clip, saved):
        with pytest.raises(TypeError, match="wrap it in a list"):
            clip.transform(saved)

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            ([], "X is empty"),
            *(
                (np.zeros((28, 28, n_channels), np.uint8), "single image, wrap it in a list")
                for n_channels in (1, 2, 3, 4)
            ),
            (np.zeros((4, 8)), "input='features'"),
            (np.zeros(4), "expected images"),
            (np.full((2, 2), "a", dtype=object), "array of objects"),
            (pd.DataFrame({"a": ["x"], "b": ["y"]}), "table of 2 columns"),
        ],
    )
    def test_collections_of_something_else(self, clip, X, message):
        with pytest.raises(ValueError, match=message):
            clip.transform(X)

    def test_damaged_exif_does_not_hide_the_image(self, clip, photo, tmp_path):
        path = tmp_path / "odd.jpg"
        Image.fromarray(photo).save(path, exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff", quality=95)
        assert np.isfinite(clip.transform([path])).all()


@pytest.mark.parametrize(
    "images",
    [
        ["a.png", "b.png"],
        np.array(["a.png", "b.png"]),
        [Image.new("RGB", (8, 8))] * 2,
        [np.zeros((8, 8, 3), np.uint8)] * 2,
        np.zeros((2, 8, 8, 3), np.uint8),
    ],
    ids=["paths", "array of paths", "PIL", "list of arrays", "array"],
)
def test_images_where_features_are_expected(clip, images):
    with pytest.raises(ValueError, match=r"X looks like images.*encoder=CLIPFeatureTransformer"):
        TipAdapterClassifier().fit(images, ["a", "b"])
    features = np.eye(2, 128)
    clf = TipAdapterClassifier(clip, input="features")
    with pytest.raises(ValueError, match=r"X looks like images, but input='features': set"):
        clf.fit(images, ["a", "b"])
    clf.fit(features, ["a", "b"])
    with pytest.raises(ValueError, match=r"X looks like images, but input='features': set"):
        clf.predict(images)


def test_a_model_name_is_no_encoder():
    with pytest.raises(ValueError, match=r"pass encoder=CLIPFeatureTransformer\('ViT-B-32'\)"):
        TipAdapterClassifier("ViT-B-32").fit(["a.png", "b.png"], ["a", "b"])


def test_an_axis_of_one_channel_is_grey(clip, photo):
    grey = np.ascontiguousarray(photo[:, :, 0])
    np.testing.assert_array_equal(clip.transform([grey[:, :, None]]), clip.transform([grey]))


def test_a_column_of_paths_where_features_are_expected():
    with pytest.raises(ValueError, match="X looks like images.*encoder=CLIPFeatureTransformer"):
        TipAdapterClassifier().fit(pd.Series(["a.png", "b.png"]), ["a", "b"])
