"""Read and decode image files with Pillow, with limits on memory and time."""

import errno
import io
import math
import os
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from sktip._images.heif import is_heif, open_heif
from sktip.exceptions import ImageReadError

#: Raster formats that are opened. Pillow's other formats are page descriptions (EPS, PDF, WMF), are not
#: for photographs, or are decoded before their size is known (ICO).
RASTER_FORMATS = (
    "JPEG", "JPEG2000", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA",
)  # fmt: skip

#: Suffixes of files in a folder that are treated as images.
IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pgm .png .pnm "
    ".ppm .tga .tif .tiff .webp".split()
)

#: A file may have 8 bytes per pixel of `max_pixels`, the most of an uncompressed format, plus this many
#: bytes for profiles and previews.
MAX_METADATA = 64 * 2**20
#: Largest number of scans of a JPEG. Each passes over the whole picture; real files have about ten.
MAX_SCANS = 500
#: Largest number of comments in a text PPM. Pillow copies a megabyte to remove one.
MAX_COMMENTS = 1000
#: Largest number of strips or tiles of a TIFF, which Pillow reads one by one.
MAX_PIECES = 100_000
#: Tags of the width and length of the tiles of a TIFF.
_TILE_SIDES = (322, 323)
_NUMBERS = {3: "H", 4: "I"}


def read_bytes(image: Any, where: str, max_pixels: int) -> bytes | None:
    """Content of an image file, given by its path or as bytes. None for decoded pixels."""
    if isinstance(image, bytes):
        _check_length(len(image), where, max_pixels)
        return image
    if not isinstance(image, str | os.PathLike):
        return None
    name = os.fsdecode(image)
    if "://" in name and isinstance(image, str):
        raise ImageReadError(f"{where}: URLs are not opened. Download the file and pass its path.")
    path = Path(name)
    try:
        if path.is_dir():
            raise ImageReadError(
                f"{where}: is a folder, not an image file. Use sktip.datasets.load_image_folder to list its images."
            )
        if path.exists() and not path.is_file():
            raise ImageReadError(f"{where}: is not a regular file.")
        with path.open("rb") as file:
            _check_length(os.fstat(file.fileno()).st_size, where, max_pixels)
            return file.read()
    except ImageReadError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        if getattr(error, "errno", None) in (errno.ENOENT, errno.ENAMETOOLONG):
            raise ImageReadError(
                f"{where}: no such file. Paths are relative to {_working_directory()}. To encode text, use "
                "encode_text."
            ) from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageReadError(f"{where}: the file cannot be read: {reason}.") from error


def _working_directory() -> str:
    try:
        return repr(os.getcwd())
    except OSError:
        return "the working directory, which no longer exists"


def _check_length(length: int, where: str, max_pixels: int) -> None:
    limit = 8 * max_pixels + MAX_METADATA
    if length > limit:
        raise ImageReadError(
            f"{where}: the file has {length} bytes, more than an image of max_pixels={max_pixels} needs "
            f"({limit}). Raise max_pixels, or save the first page as a separate file."
        )


def is_jpeg(content: bytes | None) -> bool:
    """Whether a file is a JPEG, by its first bytes."""
    return content is not None and content.startswith(b"\xff\xd8\xff")


def decode(content: bytes, where: str, max_pixels: int, min_side: int | None = None) -> Image.Image:
    """Decode the first picture of a file, in its own mode.

    With `min_side`, a JPEG is decoded at the smallest of the scales 1, 1/2, 1/4 and 1/8 at which its short
    side has at least this many pixels. Its blocks are transformed at that scale, which is an exact
    low-pass filter and saves most of the time.
    """
    if not content:
        raise ImageReadError(f"{where}: the file is empty.")
    Image.init()
    formats = [name for name in RASTER_FORMATS if name in Image.OPEN]
    try:
        if is_heif(content):
            image = open_heif(content, where)
        else:
            image = Image.open(io.BytesIO(content), formats=formats)
    except Image.UnidentifiedImageError:
        raise ImageReadError(
            f"{where}: not an image in a supported format ({', '.join(formats)})."
        ) from None
    check_size(image, where, max_pixels)
    _check_cost(image, content, where, max_pixels)
    if min_side is not None:
        # This does nothing for other formats than JPEG.
        image.draft(None, (min_side, min_side))
    key = transparent_key(image)
    image.load()
    if key is not None:
        image.info["transparency"] = key
    return image


def transparent_key(image: Any) -> Any:
    """Transparent grey or colour of an image that is not loaded yet, in the bits of its pixels.

    Pillow keeps that of a PNG in the bits of the file, but scales pixels of 2, 4 and 48 bits to 8 bits
    per channel.
    """
    key, tile = image.info.get("transparency"), getattr(image, "tile", None)
    bits = str(tile[0][3]) if tile else ""
    if isinstance(key, int) and bits in ("L;2", "L;4"):
        return key * (85 if bits == "L;2" else 17)
    if isinstance(key, tuple) and bits == "RGB;16B":
        return tuple(value >> 8 for value in key)
    return key


def check_size(image: Image.Image, where: str, max_pixels: int) -> None:
    """Refuse a picture that is too large or has no pixels, before it is decoded."""
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            f"{where}: {image.width} x {image.height} pixels are more than max_pixels={max_pixels}. If you trust "
            "the image, raise max_pixels."
        )
    if image.width == 0 or image.height == 0:
        raise ImageReadError(f"{where}: has no pixels ({image.width} x {image.height}).")


def _check_cost(image: Any, content: bytes, where: str, max_pixels: int) -> None:
    """Refuse files that take much more memory or time than their number of pixels suggests."""
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > MAX_SCANS:
        raise ImageReadError(f"{where}: a JPEG with more than {MAX_SCANS} scans is not decoded.")
    if image.format == "TIFF" and _tile_pixels(content, image.tag_v2.offset) > max_pixels:
        raise ImageReadError(
            f"{where}: a TIFF with tiles of more than max_pixels={max_pixels} pixels is not decoded."
        )
    if len(image.tile) > MAX_PIECES:
        raise ImageReadError(
            f"{where}: a {image.format} with more than {MAX_PIECES} strips or tiles is not decoded."
        )
    as_text = image.format == "PPM" and any(tile[0] == "ppm_plain" for tile in image.tile)
    if as_text and content.count(b"#") > MAX_COMMENTS:
        raise ImageReadError(
            f"{where}: a PPM with more than {MAX_COMMENTS} comments is not decoded."
        )


def _tile_pixels(content: bytes, directory: int) -> float:
    """Count the pixels of one tile of a TIFF, which libtiff allocates even for a small picture.

    The size is read as libtiff does, which may differ from Pillow's reader for damaged files. It is
    infinite if it is not a number of 16 or 32 bits.
    """
    order = "<" if content.startswith(b"II") else ">"
    is_big = struct.unpack_from(order + "H", content, 2) == (43,)
    count, entry = (order + "Q", order + "HHQQ") if is_big else (order + "H", order + "HHII")
    (n_entries,) = struct.unpack_from(count, content, directory)
    start, step = directory + struct.calcsize(count), struct.calcsize(entry)
    sides = dict.fromkeys(_TILE_SIDES, 1.0)
    for at in range(start, min(start + n_entries * step, len(content) - step + 1), step):
        tag, kind, *_ = struct.unpack_from(entry, content, at)
        if tag in sides:
            at_value = at + (12 if is_big else 8)
            value = math.inf
            if kind in _NUMBERS:
                (value,) = struct.unpack_from(order + _NUMBERS[kind], content, at_value)
            sides[tag] = max(sides[tag], value)
    return math.prod(sides.values())
