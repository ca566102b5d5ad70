"""One image as an upright RGB picture: its mode, orientation and transparency, opened by sktip or by the caller."""

import io
import re
import struct
import sys
import tarfile
import warnings
from functools import cache

import numpy as np
import pytest
from fuzz_files import mutated, plain_pillow
from hypothesis import given
from hypothesis import strategies as st
from image_files import exif, picture, png, saved, tiff, whole_files
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip._images.rgb import to_rgb
from sktip.exceptions import ImageReadError

MAX_PIXELS = 89_478_485
WHOLE = [content for contents in whole_files().values() for content in contents]
CORRUPT_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"


def encoder(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", **parameters)


def opened(content):
    """A PIL image, whose opening may warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content))


def loaded(content):
    image = opened(content)
    image.load()
    return image


def rgb(image, content=None):
    return np.asarray(to_rgb(image, content, "image 0", MAX_PIXELS))


def large(file_format, **options):
    """A file that takes a while to read, turned by its orientation."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (40, 30, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return saved(Image.fromarray(pixels), file_format, exif=exif(6), **options)


LARGE = {
    "JPEG": lambda: large("JPEG"),
    "PNG": lambda: large("PNG"),
    "TIFF": lambda: large("TIFF"),
    "TIFF by libtiff": lambda: large("TIFF", compression="tiff_lzw"),
    "WEBP": lambda: large("WEBP", lossless=True),
    "GIF": lambda: saved(opened(large("PNG")), "GIF"),
}


@pytest.mark.parametrize("file_format", whole_files())
def test_every_kind_of_file_has_the_pixels_of_plain_pillow(tmp_path, file_format):
    """As bytes, and as a PIL image that is opened by path, opened from bytes or loaded."""
    path = tmp_path / "photo"
    for content in whole_files()[file_format]:
        path.write_bytes(content)
        expected = rgb(None, content)
        np.testing.assert_array_equal(expected, plain_pillow(content, MAX_PIXELS)[1])
        for image in (Image.open(path), opened(content), loaded(content)):
            np.testing.assert_array_equal(rgb(image), expected)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "TIFF by libtiff", "MPO"])
def test_the_orientation_is_applied_once(file_format):
    name, _, by_libtiff = file_format.partition(" ")
    options = {"compression": "tiff_lzw"} if by_libtiff else {}
    for orientation in range(1, 9):
        content = saved(picture().convert("RGB"), name, exif=exif(orientation), **options)
        expected, image = rgb(None, content), opened(content)
        assert expected.shape[:2] == ((48, 32) if orientation > 4 else (32, 48))
        if name != "TIFF":
            np.testing.assert_array_equal(expected, plain_pillow(content, MAX_PIXELS)[1])
        for _ in range(2):
            np.testing.assert_array_equal(rgb(image), expected)


def test_modes_look_as_pillow_shows_them():
    for mode in "1 L LA P PA RGB RGBA RGBa CMYK YCbCr HSV LAB I".split():
        image = picture().convert("RGBA" if mode in ("PA", "RGBa") else "RGB").convert(mode)
        expected = np.asarray((image.convert("RGBA") if mode == "RGBa" else image).convert("RGB"))
        if mode not in ("PA", "RGBa"):
            np.testing.assert_array_equal(rgb(image), expected, mode)


def test_transparency_is_laid_on_white():
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[:20], rgba[20:] = (255, 0, 0, 0), (0, 0, 255, 255)
    on_white = np.full((40, 60, 3), 255, np.uint8)
    on_white[20:] = (0, 0, 255)
    palette = Image.fromarray(rgba).quantize(2)
    gif = saved(Image.fromarray(rgba), "GIF")
    for image, content in ((rgba, None), (Image.fromarray(rgba), None), (palette, None), (0, gif)):
        np.testing.assert_array_equal(rgb(image, content), on_white)


@pytest.mark.parametrize(
    ("bits", "row", "key"),
    [(16, np.array([0, 40000, 0xFFFF], ">u2").tobytes(), 40000), (8, bytes([0, 156, 255]), 156)],
)
def test_one_transparent_grey_is_white(bits, row, key):
    content = png(3, 1, bits, 0, b"\0" + row, key=struct.pack(">H", key))
    for image in (rgb(None, content), rgb(opened(content))):
        assert image[0, :, 0].tolist() == [0, 255, 255]


def test_wide_greys_are_scaled_not_clipped():
    grey = np.asarray(picture().convert("L")).copy()
    grey[0, 0] = 255
    expected = np.stack([grey] * 3, axis=2)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for file_format in ("PNG", "TIFF"):
        np.testing.assert_array_equal(rgb(None, saved(deep, file_format)), expected)
    for largest in (1, 255, 65535):
        floats = Image.fromarray(grey.astype(np.float32) / 255 * largest)
        np.testing.assert_array_equal(rgb(None, saved(floats, "TIFF")), expected)
    odd = Image.fromarray(np.array([[np.nan, 7, np.inf], [300, -np.inf, 9]], np.float32))
    assert rgb(odd)[:, :, 0].tolist() == [[0, 0, 255], [1, 0, 0]]


class TestOpenedImages:
    @pytest.fixture
    def _impatient(self, clip):
        """Let threads take turns so often that none gets through anything undisturbed."""
        clip.transform([picture()])  # So that nothing is imported meanwhile, which takes long.
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)

    @pytest.mark.usefixtures("_impatient")
    @pytest.mark.parametrize("kind", LARGE)
    def test_one_image_many_times(self, clip, tmp_path, kind):
        path = tmp_path / "photo"
        path.write_bytes(LARGE[kind]())
        expected = clip.transform([path])
        for by_path in (True, False):
            image = Image.open(path) if by_path else opened(path.read_bytes())
            features = encoder(n_jobs=4).transform([image] * 12)
            np.testing.assert_allclose(features, expected.repeat(12, axis=0), atol=1e-5)

    @pytest.mark.usefixtures("_impatient")
    @pytest.mark.parametrize("shared", ["members of a tar archive", "one file object"])
    def test_images_that_share_a_file(self, clip, tmp_path, shared):
        # Noise cannot be compressed, so that reading takes many steps.
        noise = np.random.default_rng(0).integers(0, 256, (12, 300, 300, 3), dtype=np.uint8)
        contents = [saved(Image.fromarray(pixels), "PNG") for pixels in noise]
        with tarfile.open(tmp_path / "photos.tar", "w") as archive:
            for i, content in enumerate(contents):
                member = tarfile.TarInfo(f"{i}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        with tarfile.open(tmp_path / "photos.tar") as archive:
            if shared == "one file object":
                contents, file = contents[:1] * 12, io.BytesIO(contents[0])
                images = [Image.open(file) for _ in contents]
            else:
                images = [Image.open(archive.extractfile(one)) for one in archive.getmembers()]
            features = encoder(n_jobs=4).transform(images)
        np.testing.assert_allclose(features, clip.transform(contents), atol=1e-5)

    @pytest.mark.parametrize("file_format", ["GIF", "TIFF", "WEBP"])
    def test_the_frame_that_an_image_is_at(self, file_format):
        turned = [picture().convert("RGB").rotate(angle) for angle in (0, 90, 180)]
        content = saved(
            turned[0], file_format, save_all=True, append_images=turned[1:], lossless=True
        )
        image = opened(content)
        for frame in (1, 2, 0):
            image.seek(frame)
            np.testing.assert_array_equal(rgb(image), np.asarray(image.convert("RGB")))
            assert image.tell() == frame

    def test_what_was_drawn_on_an_image_is_seen_and_kept(self):
        image = loaded(large("TIFF"))
        image.paste((1, 2, 3), (0, 0, 50, 50))
        before = image.tobytes()
        np.testing.assert_array_equal(rgb(image), np.asarray(image))
        assert image.tobytes() == before

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF by libtiff", "GIF"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_truncated(self, tmp_path, kind):
        """It is refused at every use, not half decoded at the second one."""
        content = LARGE[kind]()
        (tmp_path / "half").write_bytes(content)
        image = Image.open(tmp_path / "half")
        with open(tmp_path / "half", "r+b") as file:
            file.truncate(len(content) // 2)
        for n_jobs in (1, 4):
            with pytest.warns(
                UserWarning, match="2 of 3 images .*image 1.*(cannot be decoded|an earlier attempt)"
            ):
                features = encoder(on_error="nan", n_jobs=n_jobs).transform(
                    [picture(), image, image]
                )
            assert np.isnan(features).any(axis=1).tolist() == [False, True, True]

    @pytest.mark.parametrize(
        ("kind", "way"),
        [
            ("JPEG", "with"),
            ("PNG", "close"),
            ("TIFF", "verify"),
            ("GIF", "close"),
            ("TIFF", "with"),
        ],
    )
    def test_closed(self, clip, tmp_path, kind, way):
        (tmp_path / "photo").write_bytes(LARGE[kind]())
        image = Image.open(tmp_path / "photo")
        if way == "with":
            with image:
                pass
        else:
            getattr(image, way)()
        message = "its file was closed before the image was loaded|Operation on closed image"
        for _ in range(2):
            with pytest.raises(ImageReadError, match=f"image 1.*: .*{message}"):
                clip.transform([picture(), image])

    @pytest.mark.filterwarnings("ignore")
    def test_damaged_files_fail_at_every_load(self):
        files, n_failed = whole_files(), 0
        for case in range(200):
            try:
                image = opened(mutated(files, case)[1])
            except Exception:
                continue
            outcomes = []
            for _ in range(2):
                try:
                    outcomes.append(to_rgb(image, None, "image 0", 2_000_000).tobytes())
                except ImageReadError:
                    outcomes.append(None)
            assert outcomes[0] == outcomes[1], case
            n_failed += outcomes[0] is None
        assert n_failed > 20

    def test_too_large(self):
        with pytest.raises(ImageReadError, match="more than max_pixels=1000"):
            to_rgb(opened(large("PNG")), None, "image 0", 1000)


@cache
def alone(i):
    return encoder().transform([WHOLE[i]])[0]


FORMS = ["path", "Path", "bytes", "opened", "opened by path", "loaded", "array", "the same"]


@given(
    items=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.sampled_from(FORMS)), min_size=1, max_size=24
    ),
    n_jobs=st.integers(1, 8),
    batch_size=st.sampled_from([1, 3, 64]),
)
def test_any_mixture_is_as_each_alone(tmp_path_factory, items, n_jobs, batch_size):
    folder = tmp_path_factory.mktemp("mixture")
    images, same = [], {}
    for i, form in items:
        path = folder / str(i)
        path.write_bytes(WHOLE[i])
        make = {
            "path": lambda path=path: str(path),
            "Path": lambda path=path: path,
            "bytes": lambda path=path: path.read_bytes(),
            "opened": lambda path=path: opened(path.read_bytes()),
            "opened by path": lambda path=path: Image.open(path),
            "loaded": lambda path=path: loaded(path.read_bytes()),
            "array": lambda i=i: rgb(None, WHOLE[i]),
            "the same": lambda i=i, path=path: same.setdefault(i, Image.open(path)),
        }[form]
        images.append(make())
    features = encoder(n_jobs=n_jobs, batch_size=batch_size).transform(images)
    np.testing.assert_allclose(features, [alone(i) for i, _ in items], atol=1e-5)


@pytest.fixture(scope="module")
def contents():
    """Files that cause one warning each, and two bombs."""
    # Every seventh case is a TIFF.
    files = whole_files()
    contents = [mutated(files, case)[1] for case in range(5, 1400, 7)]
    too_many = tiff({256: (4, 4), 257: (4, 4), 277: (4, 60_000)}, b"", 273)
    return [
        *contents, too_many, png(10_000, 10_000, 8, 0, b""), png(10_001, 10_000, 8, 0, b""),
    ]  # fmt: skip


class TestWarningsOfPillow:
    """They follow the caller's filters, which are never changed."""

    def test_pillow_is_heard_and_sktip_once(self, contents, caplog):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            encoder(on_error="nan", n_jobs=4).transform(contents)
        ours = [warning for warning in heard if warning.filename == __file__]
        assert len(ours) == 1
        assert re.match(rf"\d+ of {len(contents)} images could not be read", str(ours[0].message))
        others = [warning for warning in heard if warning not in ours]
        assert len(others) > 50
        assert all("PIL" in warning.filename for warning in others)
        assert "More samples per pixel than can be decoded" in caplog.text

    def test_the_filter_of_the_guide_leaves_ours(self, contents):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", module="PIL")
            encoder(on_error="nan").transform(contents)
        assert [warning.filename for warning in heard] == [__file__]

    def test_a_warning_that_is_an_error_says_so(self, clip):
        odd = saved(picture().convert("RGB"), "JPEG", exif=CORRUPT_EXIF)
        bomb = png(10_000, 10_000, 8, 0, b"")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for content, cause in ((odd, "Corrupt EXIF"), (bomb, "DecompressionBombWarning")):
                with pytest.raises(
                    ImageReadError, match=f"image 1.*Pillow issued a warning, which .*{cause}"
                ):
                    clip.transform([picture(), content])
            # What the message advises.
            warnings.filterwarnings("ignore", module="PIL")
            pixels = opened(odd).convert("RGB")
            np.testing.assert_allclose(clip.transform([odd]), clip.transform([pixels]), atol=1e-6)

    def test_the_orientation_beside_damaged_data_counts(self):
        content = bytearray(saved(picture().convert("RGB"), "JPEG", exif=exif(6)))
        expected = rgb(None, bytes(content))
        # More tags are announced than there are.
        content[content.index(b"Exif\0\0") + 15] = 9
        with pytest.warns(UserWarning, match="EXIF"):
            np.testing.assert_array_equal(rgb(None, bytes(content)), expected)

    def test_damaged_exif_does_not_hide_the_image(self):
        own = b"Exif\x00\x00II*\x00\xff\xff\xff\xff"
        content = saved(picture().convert("RGB"), "JPEG", exif=own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert rgb(None, content).shape == (32, 48, 3)
