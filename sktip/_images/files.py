"""Read and decode image files with Pillow, within limits on memory and time."""

import io
import math
import os
import struct
from errno import ENAMETOOLONG
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image

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

#: Brands of HEIF files with HEVC images or videos, and brands of files that may contain them.
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_ANY_CODEC = {b"mif1", b"msf1"}

#: Default of `max_pixels`: the number above which Pillow warns.
MAX_PIXELS = 89_478_485
#: A file may have 8 bytes per pixel of `max_pixels`, the most of an uncompressed format, plus this many
#: bytes for profiles and previews.
MAX_METADATA = 64 * 2**20
#: Largest number of scans of a JPEG. Each passes over the whole picture; real files have about ten.
MAX_SCANS = 500
#: Largest number of comments in a text PPM. Pillow copies a megabyte to remove one.
MAX_COMMENTS = 1000
#: Largest number of strips or tiles of a TIFF, which Pillow reads one by one.
MAX_TILES = 100_000


def read_bytes(image: Any, where: str, max_pixels: int) -> bytes | None:
    """Content of an image file, given by its path or as bytes. None for decoded pixels."""
    if isinstance(image, bytes):
        _check_length(len(image), where, max_pixels)
        return image
    if not isinstance(image, str | os.PathLike):
        return None
    if isinstance(image, str) and "://" in image:
        raise ImageReadError(where, "URLs are not opened. Download the file and pass its path.")
    if os.path.isdir(image):
        raise ImageReadError(
            where,
            "is a folder, not an image file. Use sktip.datasets.load_image_folder to list its images.",
        )
    if os.path.exists(image) and not os.path.isfile(image):
        raise ImageReadError(where, "is not a regular file.")
    try:
        with open(image, "rb") as file:
            _check_length(os.fstat(file.fileno()).st_size, where, max_pixels)
            return file.read()
    except ImageReadError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == ENAMETOOLONG:
            raise ImageReadError(
                where,
                "no such file. Paths are relative to the working directory. To encode text, use "
                "encode_text.",
            ) from None
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageReadError(where, f"the file cannot be read: {reason}.") from error


def _check_length(length: int, where: str, max_pixels: int) -> None:
    limit = 8 * max_pixels + MAX_METADATA
    if length > limit:
        raise ImageReadError(
            where,
            f"the file has {length} bytes, more than an image of max_pixels={max_pixels} needs "
            f"({limit}). Raise max_pixels, or save the first page as a separate file.",
        )


def is_jpeg(content: bytes | None) -> bool:
    """Whether a file is a JPEG, by its first bytes."""
    return content is not None and content.startswith(b"\xff\xd8\xff")


def is_heif(content: bytes) -> bool:
    """Whether a file is HEIF, the format of iPhone photos, by its brands. Pillow itself reads AVIF."""
    if content[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(content[:4]), 1024)
    # The major brand, its version, and the brands that the file is compatible with.
    brands = {content[8:12], *(content[at : at + 4] for at in range(16, end, 4))}
    return bool(brands & _HEVC) or (bool(brands & _ANY_CODEC) and b"avif" not in brands)


def unread_suffixes() -> dict[str, str]:
    """Suffixes of images that need a missing package, and the command that installs it."""
    commands: dict[str, str] = {}
    if find_spec("pillow_heif") is None:
        commands |= dict.fromkeys((".heic", ".heif", ".hif"), 'pip install "sktip[heif]"')
    Image.init()
    # Pillow registers how to save a format only if it has the format's library.
    if "AVIF" not in Image.SAVE:
        commands[".avif"] = 'pip install "pillow>=11.3"'
    return commands


def decode(content: bytes, where: str, max_pixels: int, min_side: int | None = None) -> Image.Image:
    """Decode the first picture of a file, in its own mode.

    With `min_side`, a JPEG is decoded at the smallest of the scales 1, 1/2, 1/4 and 1/8 at which its short
    side has at least this many pixels. Its blocks are transformed at that scale, which is an exact
    low-pass filter and saves most of the time.
    """
    if not content:
        raise ImageReadError(where, "the file is empty.")
    Image.init()
    formats = [name for name in RASTER_FORMATS if name in Image.OPEN]
    try:
        if is_heif(content):
            image = _open_heif(content, where)
        else:
            image = Image.open(io.BytesIO(content), formats=formats)
    except Image.UnidentifiedImageError:
        raise ImageReadError(
            where, f"not an image in a supported format ({', '.join(formats)})."
        ) from None
    check_size(image, where, max_pixels)
    _check_cost(image, content, where, max_pixels)
    if min_side is not None:
        # This does nothing for other formats than JPEG.
        image.draft(None, (min_side, min_side))
    image.load()
    return image


def _open_heif(content: bytes, where: str) -> Image.Image:
    """Open a HEIF file, without registering its plugin in Pillow for the whole process."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise ImageReadError(
            where, 'a HEIC (HEIF) photo, which needs pillow-heif. Run: pip install "sktip[heif]"'
        ) from None
    return HeifImageFile(io.BytesIO(content))


def check_size(image: Image.Image, where: str, max_pixels: int) -> None:
    """Refuse a picture that is too large or has no pixels, before it is decoded."""
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            where,
            f"{image.width} x {image.height} pixels are more than max_pixels={max_pixels}. If you trust "
            "the image, raise max_pixels.",
        )
    if image.width == 0 or image.height == 0:
        raise ImageReadError(where, f"has no pixels ({image.width} x {image.height}).")


def _check_cost(image: Any, content: bytes, where: str, max_pixels: int) -> None:
    """Refuse files that take much more memory or time than their number of pixels suggests."""
    kind = image.format
    is_text = kind == "PPM" and any(tile[0] == "ppm_plain" for tile in image.tile)
    reason = None
    if kind in ("JPEG", "MPO") and _count_scans(content) > MAX_SCANS:
        reason = f"a JPEG with more than {MAX_SCANS} scans"
    elif kind == "TIFF" and _tile_pixels(content, image.tag_v2.offset) > max_pixels:
        reason = f"a TIFF with tiles of more than max_pixels={max_pixels} pixels"
    elif len(image.tile) > MAX_TILES:
        reason = f"a {kind} with more than {MAX_TILES} strips or tiles"
    elif is_text and content.count(b"#") > MAX_COMMENTS:
        reason = f"a PPM with more than {MAX_COMMENTS} comments"
    if reason:
        raise ImageReadError(where, f"{reason} is not decoded.")


def _count_scans(content: bytes) -> int:
    """Count the markers of scans in a JPEG.

    `bytes.count` takes ten times as long, 4 ms for a photo, and no other thread runs meanwhile.
    """
    pairs = (np.frombuffer(content, "<u2", (len(content) - at) // 2, at) for at in (0, 1))
    return sum(int(np.count_nonzero(pair == 0xDAFF)) for pair in pairs)


def _tile_pixels(content: bytes, directory: int) -> float:
    """Count the pixels of one tile of a TIFF, which libtiff allocates even for a small picture.

    The size is read as libtiff does: Pillow skips entries whose type it does not know. It is infinite if it is
    not a number of 16 or 32 bits.
    """
    order = "<" if content.startswith(b"II") else ">"
    is_big = struct.unpack_from(order + "H", content, 2) == (43,)
    count, entry = (order + "Q", order + "HHQQ") if is_big else (order + "H", order + "HHII")
    (n_entries,) = struct.unpack_from(count, content, directory)
    start, step = directory + struct.calcsize(count), struct.calcsize(entry)
    sides = {322: 1.0, 323: 1.0}  # tags of the width and the length of tiles
    for at in range(start, min(start + n_entries * step, len(content) - step + 1), step):
        tag, kind, *_ = struct.unpack_from(entry, content, at)
        if tag in sides:
            value = math.inf
            if kind in (3, 4):
                number = order + ("H" if kind == 3 else "I")
                (value,) = struct.unpack_from(number, content, at + (12 if is_big else 8))
            sides[tag] = max(sides[tag], value)
    return math.prod(sides.values())
