"""Photos of phones: read by pillow-heif for sktip alone, or an error that names the command."""

import io
import struct
import sys

import numpy as np
import pytest
from image_files import exif, picture
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip._images.heif import is_heif, unread_suffixes
from sktip._images.pictures import to_rgb
from sktip.exceptions import ImageReadError


def saved(image, **info):
    pillow_heif = pytest.importorskip("pillow_heif")
    file, heif = io.BytesIO(), pillow_heif.from_pillow(image)
    heif.info.update(info)
    heif.save(file, quality=-1, chroma=444)
    return file.getvalue()


def read(content, max_pixels=10**6):
    return to_rgb(None, content, "image 3 ('a.heic')", max_pixels)


#: What begins like a HEIC file, for installations that could not write one.
HEADER = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)


def test_pixels():
    image = picture().convert("RGB")
    found = np.asarray(read(saved(image)), int)
    assert np.abs(found - np.asarray(image, int)).max() <= 4


def test_upright_once():
    """libheif turns the picture, and leaves nothing for the EXIF orientation to do."""
    image = Image.new("RGB", (64, 32), "white")
    image.paste("red", (0, 0, 16, 16))
    upright = read(saved(image, exif=exif(6).tobytes()))
    assert upright.size == (32, 64)
    assert np.asarray(upright)[4, -4].tolist()[0] > 200
    assert np.asarray(upright)[4, -4].tolist()[1] < 60


def test_transparency_on_white():
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert np.asarray(read(saved(image))).min() >= 250


def test_nothing_is_registered(tmp_path):
    (tmp_path / "a.HEIC").write_bytes(saved(picture().convert("RGB").resize((64, 64))))
    assert CLIPFeatureTransformer("tiny").transform([tmp_path / "a.HEIC"]).shape == (1, 128)
    Image.init()
    assert "HEIF" not in Image.OPEN
    assert ".heic" not in Image.registered_extensions()


def test_limits_and_damage():
    content = saved(picture().convert("RGB"))
    with pytest.raises(ImageReadError, match=r"image 3 \('a.heic'\): 48 x 32 pixels are more than"):
        read(content, max_pixels=1000)
    # More pixels than its header says, which libheif refuses before it has them.
    larger, size = saved(Image.new("RGB", (2048, 1024))), struct.pack(">II", 2048, 1024)
    assert larger.count(size) == 1
    lying = larger.replace(size, struct.pack(">II", 64, 32))
    for damaged in (lying, content[: len(content) // 2], content[:40], HEADER):
        with pytest.raises(
            ImageReadError, match="image 3 .*cannot be decoded; the file is damaged"
        ):
            read(damaged)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ImageReadError,
        match=r"image 3 .*a HEIC .HEIF. photo, which needs pillow-heif. Run: pip install \"sktip\[heif\]\"",
    ):
        read(HEADER)


def test_avif_is_left_to_pillow():
    for brand in (b"avif", b"avis"):
        assert not is_heif(b"\x00\x00\x00\x18ftyp" + brand + bytes(4) + b"mif1avif")
    assert not is_heif(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf")
    assert is_heif(b"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1heicmiaf")
    assert is_heif(b"\x00\x00\x00\x18ftypmsf1\x00\x00\x00\x00msf1miaf")
    assert not is_heif(b"")


def test_avif(tmp_path):
    if ".avif" in unread_suffixes():
        pytest.skip("Pillow without AVIF")
    file = io.BytesIO()
    picture().convert("RGB").save(file, "AVIF", quality=100, subsampling="4:4:4")
    found = np.asarray(read(file.getvalue()), int)
    assert np.abs(found - np.asarray(picture().convert("RGB"), int)).mean() < 4
