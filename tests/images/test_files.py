"""Image files of every kind: the pixels of plain Pillow, or one error that names index and path."""

import io
import os
import struct
import sys
import zlib

import fuzz_files
import numpy as np
import PIL
import pytest
from fuzz_files import plain_pillow
from image_files import exif, picture, png, png_chunk, saved, tiff, tiled_tiff, whole_files
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip._encoding.model import MAX_RATIO
from sktip._encoding.session import open_encoder
from sktip._images.files import is_heif, unread_suffixes
from sktip._images.rgb import to_rgb
from sktip.exceptions import ImageReadError

MAX_PIXELS = 89_478_485
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n"
WMF = struct.pack("<IHhhhhHIH", 0x9AC6CDD7, 0, 0, 0, 100, 100, 96, 0, 0) + bytes(40)
NOT_READ = "not an image in a supported format"


def deflated(n_rows, row):
    """Many equal rows, compressed without ever being in memory."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(row) for _ in range(n_rows)) + packer.flush()


def grey_png(side):
    """Zeros of side x side, compressed without ever being in memory."""
    empty = png(side, side, 8, 0, b"")
    return empty.replace(zlib.compress(b""), deflated(side, bytes(side + 1)))


def many_scans():
    whole = saved(picture().convert("RGB"), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * 600 + b"\xff\xd9"


def icon(content):
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def with_text(n_bytes):
    whole = saved(picture(), "PNG")
    text = b"note\0\1\0\0\0" + zlib.compress(bytes(n_bytes), 9)
    return whole[:33] + png_chunk(b"iTXt", text) + whole[33:]


def odd_tile():
    """Tile of 10,000 x 10,000 in a picture of 10 x 10, its size in a type that Pillow ignores."""
    tags = {256: (4, 10), 257: (4, 10), 258: (3, 8), 259: (3, 8), 262: (3, 1), 277: (3, 1)}
    tags |= {322: (4, 400), 323: (4, 400), 273: (4, 512), 279: (4, 9)}
    content = bytearray(tiff(tags, b"", 324))
    for tag in (322, 323):
        struct.pack_into("<H", content, content.index(struct.pack("<HH", tag, 4)) + 2, 17)
    struct.pack_into("<Q", content, 400, 10_000)
    return bytes(content) + deflated(10_000, bytes(10_000))


def jpeg_of_size(width, height):
    whole = bytearray(saved(picture().convert("RGB"), "JPEG"))
    struct.pack_into(">HH", whole, whole.index(b"\xff\xc0") + 5, height, width)
    return bytes(whole)


def many_tiles():
    one = struct.pack("<HHII", 324, 4, 1, 512)
    many = struct.pack("<HHII", 324, 1, 100_001, 512)
    return tiled_tiff(9, 9, 1, b"", compression=1).replace(one, many) + bytes(100_001)


def heif(image, **info):
    pillow_heif = pytest.importorskip("pillow_heif")
    file, container = io.BytesIO(), pillow_heif.from_pillow(image)
    container.info.update(info)
    container.save(file, quality=-1, chroma=444)
    return file.getvalue()


#: What begins like a HEIC file, for installations that could not write one.
HEIC_HEADER = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)

BAD = {
    "0 bytes": (lambda: b"", "the file is empty"),
    "text": (lambda: b"this is a text file", NOT_READ),
    "EPS": (lambda: EPS, NOT_READ),
    "WMF": (lambda: WMF, NOT_READ),
    "icon": (lambda: icon(saved(picture(), "PNG")), NOT_READ),
    "bomb by its header": (lambda: png(30_000, 30_000, 8, 0, b""), "too large for Pillow"),
    "bomb of zeros": (lambda: grey_png(9_500), "9500 x 9500 pixels are more than max_pixels=8947"),
    "JPEG of 65,000 x 2,000": (lambda: jpeg_of_size(65_000, 2_000), "65000 x 2000 pixels are more"),
    "bomb in a tile": (
        lambda: tiled_tiff(10, 10, 9_504, deflated(9_504, bytes(9_504))),
        "tiles of more than max_pixels",
    ),
    "bomb in an odd tile": (odd_tile, "tiles of more than max_pixels"),
    "text of two megabytes": (lambda: with_text(2**21), "cannot be decoded"),
    "JPEG of 600 scans": (many_scans, "more than 500 scans"),
    "PPM of 2,000 comments": (
        lambda: b"P2\n9 9\n9\n" + b"#\n" * 2000,
        "more than 1000 comments",
    ),
    "TIFF of 100,001 tiles": (many_tiles, "more than 100000 strips or tiles"),
}


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.png"
    picture().save(path)
    return path


def assert_refused(good, path, message, **parameters):
    """By index, path and cause in the error; as a row of NaN and one warning instead."""
    encoder = CLIPFeatureTransformer("tiny", device="cpu", **parameters)
    with pytest.raises(ImageReadError, match=message) as caught:
        encoder.transform([good, path])
    assert str(caught.value).startswith(f"image 1 ({str(path)!r}): ")
    with pytest.warns(UserWarning, match=f"1 of 3 images.*image 1 .*{message}") as warned:
        features = encoder.set_params(on_error="nan").transform([good, path, good])
    # Pillow issues its own warning before sktip refuses a bomb.
    ours = [one for one in warned if one.category is not Image.DecompressionBombWarning]
    assert [one.filename for one in ours] == [__file__]
    np.testing.assert_array_equal(np.isnan(features).any(axis=1), [False, True, False])


@pytest.mark.parametrize("content", [with_text(2**20), saved(Image.new("L", (60_000, 1)), "PNG")])
def test_odd_files_that_are_decoded(tmp_path, content):
    assert fuzz_files.check(0, content, tmp_path / "made.tif", MAX_PIXELS)[::2] == ("decoded", [])


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_refused(good, tmp_path, name):
    make, message = BAD[name]
    path = tmp_path / "made.jpg"
    assert fuzz_files.check(0, make(), path, MAX_PIXELS)[::2] == ("refused", [])
    assert_refused(good, path, message)


def test_half_a_file_is_refused(good, tmp_path):
    for name, contents in whole_files().items():
        halves = [content[: len(content) // 2] for content in contents]
        # Of animations the first half may hold the first frame.
        half = next(half for half in halves if plain_pillow(half, MAX_PIXELS)[1] is None)
        (tmp_path / name).write_bytes(half)
        assert_refused(good, tmp_path / name, f"cannot be decoded|{NOT_READ}")


def test_paths_of_no_image(good, tmp_path):
    for path, message in {
        tmp_path: "is a folder",
        tmp_path / "missing.jpg": "no such file",
        "a photo of a cat": "no such file.*To encode text, use encode_text",
        "nul\0byte.jpg": "cannot be read: embedded null byte",
        "https://example.org/cat.jpg": "URLs are not opened",
    }.items():
        assert_refused(good, path, message)


def test_a_long_text_does_not_bury_the_message(clip):
    with pytest.raises(ImageReadError, match="image 0 .*no such file") as caught:
        clip.transform(["data:image/png;base64," + "A" * 1_000_000])
    assert len(str(caught.value)) < 2000


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_names_that_are_not_text(clip, good):
    path = os.fsdecode(os.fsencode(good.parent) + b"/caf\xe9.png")
    with open(path, "wb") as file:
        file.write(good.read_bytes())
    (entry,) = (e for e in os.scandir(os.fsencode(good.parent)) if e.name != b"good.png")
    features = clip.transform([path, np.array([path])[0], entry, Image.open(path)])
    np.testing.assert_allclose(features, clip.transform([good]).repeat(4, axis=0), atol=1e-6)
    for missing in (path + "x", "\ud800.png"):
        with pytest.raises(ImageReadError) as caught:
            clip.transform([missing])
        assert repr(missing) in str(caught.value)
        str(caught.value).encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for_and_a_loop_of_links_is_refused(good, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert_refused(good, tmp_path / "pipe.png", "is not a regular file")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert_refused(good, tmp_path / "loop.png", "cannot be read: .*symbolic links")


def test_file_far_larger_than_any_image(good, tmp_path):
    path = tmp_path / "large.tif"
    with path.open("wb") as file:
        file.write(saved(picture(), "TIFF"))
        file.truncate(10 * 2**30)
    assert_refused(good, path, "the file has 10737418240 bytes, more than an image of max_pixels=")
    encoder = CLIPFeatureTransformer("tiny", device="cpu", max_pixels=1)
    with pytest.raises(ImageReadError, match="image 0: the file has .* max_pixels=1 needs"):
        encoder.transform([bytes(64 * 2**20 + 9)])


def test_max_pixels_is_the_largest_size(clip, good):
    n_pixels = picture().width * picture().height
    exact = CLIPFeatureTransformer("tiny", device="cpu", max_pixels=n_pixels)
    np.testing.assert_array_equal(exact.transform([good]), clip.transform([good]))
    small = np.zeros((2, 2), np.uint8)
    for image in (good, picture(), np.asarray(picture())):
        with pytest.raises(ImageReadError, match=f"image 1.*than max_pixels={n_pixels - 1}"):
            exact.set_params(max_pixels=n_pixels - 1).transform([small, image])


def test_too_little_memory_names_the_image(clip, good, monkeypatch):
    clip.transform([good])

    def fail(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageReadError, match="image 0 .*not enough memory"):
        clip.transform([good])


@pytest.mark.parametrize(("height", "width"), [(3, 3 * MAX_RATIO + 150), (3 * MAX_RATIO + 151, 3)])
def test_of_a_line_only_the_middle_is_resized(clip, height, width):
    rng = np.random.default_rng(0)
    line = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    model = open_encoder(clip).blocks[0].model
    whole = model.preprocess(line).numpy()
    own = model.steps.normalised(model.to_input(line)[None])[0].numpy()
    assert abs(own - whole).max() < 0.01 * np.ptp(whole)


@pytest.mark.parametrize("kind", ["photo", "alpha", "floats", "WEBP"])
def test_memory_per_pixel(tmp_path, kind):
    """The bound of 32 bytes is that of JPEG 2000 and AVIF; the others stay below."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (200, 200, 4)), np.ones((8, 8, 1)))
    rgba = Image.fromarray(pixels.astype(np.uint8))
    rgb = rgba.convert("RGB")
    content, most = {
        "photo": (lambda: saved(rgb, "JPEG", exif=exif(6)), 9),
        "alpha": (lambda: saved(rgba, "PNG"), 13),
        "floats": (lambda: saved(rgb.convert("F"), "TIFF", compression="tiff_lzw"), 18),
        "WEBP": (lambda: saved(rgba, "WEBP", lossless=True, method=0), 22),
    }[kind]
    if int(PIL.__version__.partition(".")[0]) < 13:
        # Older ones take more for some kinds, within the bound.
        most = 32
    content, path = content(), tmp_path / "large.jpg"
    outcome, used, wrong = fuzz_files.check(0, content, path, MAX_PIXELS)
    assert (outcome, wrong) == ("decoded", [])
    assert used < most * rgba.width * rgba.height + 3 * len(content) + 2**23


def test_sample_of_the_mutated_files(tmp_path):
    """The first of the cases that `tox -e stress` tries."""
    summary = fuzz_files.run(tmp_path, 0, 500)
    assert summary["wrong"] == []
    for outcomes in summary["outcomes"].values():
        assert outcomes["decoded"] > 5
        assert outcomes["refused"] > 5


class TestHeif:
    """Photos of phones: read by pillow-heif for sktip alone, or an error that names the command."""

    def read(self, content, max_pixels=10**6):
        return to_rgb(None, content, "image 3 ('a.heic')", max_pixels)

    def test_upright_once_and_white_where_transparent(self):
        image = Image.new("RGBA", (64, 32), (0, 0, 0, 0))
        image.paste("red", (0, 0, 16, 16))
        # libheif turns the picture, and leaves nothing for the EXIF orientation to do.
        upright = np.asarray(self.read(heif(image, exif=exif(6).tobytes())), int)
        expected = np.full((64, 32, 3), 255)
        expected[:16, 16:] = (255, 0, 0)
        assert upright.shape == expected.shape
        assert np.abs(upright - expected)[2:14, 18:30].max() <= 6
        assert upright[40:].min() >= 250

    def test_nothing_is_registered(self, clip, tmp_path):
        (tmp_path / "a.HEIC").write_bytes(heif(picture().convert("RGB").resize((64, 64))))
        assert clip.transform([tmp_path / "a.HEIC"]).shape == (1, 128)
        Image.init()
        assert "HEIF" not in Image.OPEN
        assert ".heic" not in Image.registered_extensions()

    def test_limits_and_damage(self):
        content = heif(picture().convert("RGB"))
        with pytest.raises(
            ImageReadError, match=r"image 3 \('a.heic'\): 48 x 32 pixels are more than"
        ):
            self.read(content, max_pixels=1000)
        # More pixels than its header says, which libheif refuses before it has them.
        larger, size = heif(Image.new("RGB", (2048, 1024))), struct.pack(">II", 2048, 1024)
        assert larger.count(size) == 1
        lying = larger.replace(size, struct.pack(">II", 64, 32))
        for damaged in (lying, content[: len(content) // 2], content[:40], HEIC_HEADER):
            with pytest.raises(ImageReadError, match="image 3 .*cannot be decoded; the file is"):
                self.read(damaged)

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(ImageReadError, match=r"a HEIC .*Run: pip install \"sktip\[heif\]\""):
            self.read(HEIC_HEADER)

    def test_avif_is_left_to_pillow(self):
        for brand in (b"avif", b"avis"):
            assert not is_heif(b"\x00\x00\x00\x18ftyp" + brand + bytes(4) + b"mif1avif")
        assert not is_heif(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf")
        assert is_heif(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1heicmiaf")
        assert is_heif(b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00msf1miaf")
        if ".avif" not in unread_suffixes():
            image = picture().convert("RGB")
            found = self.read(saved(image, "AVIF", quality=100, subsampling="4:4:4"))
            assert np.abs(np.asarray(found, int) - np.asarray(image, int)).mean() < 4
