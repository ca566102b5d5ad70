"""Image files: read and decoded as plain Pillow does it, within bounds of memory and time."""

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

#: Raster formats that are opened. Pillow's others draw from page descriptions (EPS, PDF, WMF), are
#: not for photographs, or are decoded before their size is known (ICO).
RASTER_FORMATS = (
    "JPEG", "JPEG2000", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA",
)  # fmt: skip

#: Suffixes by which a file in a folder is taken for an image in one of these formats.
IMAGE_SUFFIXES = frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .mpo .pbm .pgm .png .pnm "
    ".ppm .tga .tif .tiff .webp".split()
)

#: A file may have 8 bytes, the most that a pixel takes uncompressed, for each of `max_pixels`,
#: and this much besides for profiles and previews.
MAX_METADATA = 64 * 2**20
#: Scans of a JPEG, each of which passes over the whole picture: real ones have about ten.
MAX_SCANS = 500
#: Comments of a PPM written as text, each of which Pillow removes by copying a megabyte.
MAX_COMMENTS = 1000
#: Strips or tiles of a TIFF that Pillow reads one by one.
MAX_PIECES = 100_000
#: Tags of the width and length of a TIFF's tiles.
_TILE_SIDES = (322, 323)
_NUMBERS = {3: "H", 4: "I"}


def read_bytes(image: Any, where: str, max_pixels: int) -> bytes | None:
    """Content of an image file, which may be given itself; None for decoded pixels."""
    if isinstance(image, bytes):
        _check_length(len(image), where, max_pixels)
        return image
    if not isinstance(image, str | os.PathLike):
        return None
    name = os.fsdecode(image)
    if "://" in name and isinstance(image, str):
        raise ImageReadError(
            f"{where}: addresses are not opened. Download the file and pass its path."
        )
    path = Path(name)
    try:
        if path.is_dir():
            raise ImageReadError(
                f"{where}: is a folder, not an image file. sktip.datasets.load_image_folder lists the images in one."
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
                f"{where}: no such file. Paths are relative to {_working_directory()}; texts are encoded by "
                "encode_text, not here."
            ) from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageReadError(f"{where}: the file cannot be read: {reason}.") from error


def _working_directory() -> str:
    try:
        return repr(os.getcwd())
    except OSError:
        return "the working directory, which is no longer there"


def _check_length(length: int, where: str, max_pixels: int) -> None:
    limit = 8 * max_pixels + MAX_METADATA
    if length > limit:
        raise ImageReadError(
            f"{where}: a file of {length} bytes is more than an image of max_pixels={max_pixels} "
            f"needs ({limit}). Raise max_pixels, or save the first page as a file of its own."
        )


def is_jpeg(content: bytes | None) -> bool:
    """Whether a file begins as a JPEG does."""
    return content is not None and content.startswith(b"\xff\xd8\xff")


def decode(content: bytes, where: str, max_pixels: int, min_side: int | None = None) -> Image.Image:
    """Pixels of a file's first picture, in whatever mode it has.

    With `min_side`, a JPEG comes at the smallest of the scales 1, 1/2, 1/4 and 1/8 at which its short
    side has as many pixels. Its blocks are transformed at that scale, which is an exact low-pass
    filter and spares most of the time.
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
            f"{where}: not an image in a format that is read ({', '.join(formats)})."
        ) from None
    check_size(image, where, max_pixels)
    _check_cost(image, content, where, max_pixels)
    if min_side is not None:
        # Only JPEGs have it; of all other formats this does nothing.
        image.draft(None, (min_side, min_side))
    image.load()
    return image


def check_size(image: Image.Image, where: str, max_pixels: int) -> None:
    """Refuse a picture that is too large, or that has no pixels, before it is decoded."""
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            f"{where}: {image.width} x {image.height} pixels are more than max_pixels={max_pixels}. If the "
            "image is trusted, raise max_pixels."
        )
    if image.width == 0 or image.height == 0:
        raise ImageReadError(f"{where}: has no pixels ({image.width} x {image.height}).")


def _check_cost(image: Any, content: bytes, where: str, max_pixels: int) -> None:
    """Refuse files that are made to cost far more than their pixels do."""
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > MAX_SCANS:
        raise ImageReadError(f"{where}: a JPEG with more than {MAX_SCANS} scans is not decoded.")
    if image.format == "TIFF" and _tile_pixels(content, image.tag_v2.offset) > max_pixels:
        raise ImageReadError(
            f"{where}: a TIFF whose tiles are of more than max_pixels={max_pixels} pixels is not decoded."
        )
    if len(image.tile) > MAX_PIECES:
        raise ImageReadError(
            f"{where}: a {image.format} in more than {MAX_PIECES} pieces is not decoded."
        )
    as_text = image.format == "PPM" and any(tile[0] == "ppm_plain" for tile in image.tile)
    if as_text and content.count(b"#") > MAX_COMMENTS:
        raise ImageReadError(
            f"{where}: a PPM with more than {MAX_COMMENTS} comments is not decoded."
        )


def _tile_pixels(content: bytes, directory: int) -> float:
    """Pixels of one tile of a TIFF: libtiff allocates them however small the picture is.

    Read as libtiff reads it, which is not always what Pillow's own reader makes of a damaged file;
    infinite for a size that is not a number of 16 or 32 bits.
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
