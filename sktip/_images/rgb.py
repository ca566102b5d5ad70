"""Convert an image in any supported form to an upright RGB picture."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from sktip._images.crop import Crop
from sktip._images.files import check_size, decode, read_bytes
from sktip._images.inputs import FORMS
from sktip.exceptions import ImageReadError

#: Raise this number when `to_rgb` or the random views change the pixels of an image. Features in a memory
#: file that were computed from the old pixels are then ignored.
PIXELS_VERSION = 5

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: Why an image cannot be decoded, and what to do, by the type of Pillow's error. The first match counts.
_FAILURES: tuple[tuple[type[BaseException], str, str], ...] = (
    (
        Warning,
        "Pillow issued a warning, which a warning filter turns into an error",
        "To read the image nevertheless, allow Pillow's warnings: "
        "warnings.filterwarnings('default', module='PIL').",
    ),
    (
        Image.DecompressionBombError,
        "too large for Pillow",
        "If you trust the file, raise max_pixels and PIL.Image.MAX_IMAGE_PIXELS.",
    ),
    # A damaged header that requests too much memory raises MemoryError too.
    (
        MemoryError,
        "there is not enough memory to decode it",
        "Make it smaller, or lower n_jobs.",
    ),
    (
        Exception,
        "cannot be decoded; the file is damaged or not an image",
        "Replace or remove it, or use on_error='nan'.",
    ),
)

# Locks for the PIL images of the process, since two calls may get the same image. Reentrant, since an image
# of a user-defined class may encode other images while it is loaded.
_IMAGE_LOCKS = [threading.RLock() for _ in range(64)]
_SHARED_FILE_LOCK = threading.RLock()


def pixels_made_by() -> dict[str, Any]:
    """Versions that the pixels of an image file depend on: of this code and of the decoders."""
    names = ("jpg", "libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
    versions = {name: features.version(name) for name in names}
    return {"version": PIXELS_VERSION, "pillow": PIL.__version__, **versions}


def open_rgb(image: Any, where: str, max_pixels: int, min_side: int | None = None) -> Image.Image:
    """Read and decode one image, or the photo of a crop, as `to_rgb` does."""
    if isinstance(image, Crop):
        return image.cut(open_rgb(image.image, where, max_pixels), where)
    return to_rgb(image, read_bytes(image, where, max_pixels), where, max_pixels, min_side)


def to_rgb(
    image: Any, content: bytes | None, where: str, max_pixels: int, min_side: int | None = None
) -> Image.Image:
    """Decode one image as RGB: upright by its EXIF orientation, and white where it is transparent.

    With `min_side`, a JPEG file may be decoded at a reduced scale, with at least this short side.
    """
    try:
        if content is not None:
            return _flattened(_upright(decode(content, where, max_pixels, min_side)))
        if not isinstance(image, Image.Image):
            return _flattened(_from_array(image, where, max_pixels))
        with _locked(image):
            check_size(image, where, max_pixels)
            _load(image, where)
            return _flattened(_upright(image))
    except ImageReadError:
        raise
    except Exception as error:
        reason, remedy = next(message for kind, *message in _FAILURES if isinstance(error, kind))
        raise ImageReadError(
            where, f"{reason} ({type(error).__name__}: {str(error)[:200]}). {remedy}"
        ) from error


@contextmanager
def _locked(image: Image.Image) -> Iterator[None]:
    """Lock a PIL image and its file: loading moves the position in the file and changes the image in steps."""
    # Addresses of objects are multiples of 16.
    with _IMAGE_LOCKS[id(image) // 16 % len(_IMAGE_LOCKS)]:
        # A file that Pillow opened belongs to one image. File objects of the caller may share a file, as
        # members of a tar archive do.
        if getattr(image, "fp", None) is None or getattr(image, "_exclusive_fp", False):
            yield
        else:
            with _SHARED_FILE_LOCK:
                yield


def _load(image: Any, where: str) -> None:
    """Load a PIL image, so that an image that fails once fails again.

    After an error, Pillow forgets which parts were not read. The next `load` would succeed with a
    partially decoded image.
    """
    tile = list(getattr(image, "tile", ()))
    # Checked before loading, which closes files too.
    file = getattr(image, "fp", image)
    is_closed = file is None or getattr(file, "closed", False)
    try:
        image.load()
    except BaseException as error:
        if tile:
            image.tile = tile
        if is_closed and isinstance(error, Exception):
            raise ImageReadError(
                where,
                "its file was closed before the image was loaded, or an earlier attempt to load it "
                "failed. Pass the path, or call the image's load() while its file is open.",
            ) from error
        raise


def _from_array(image: Any, where: str, max_pixels: int) -> Image.Image:
    if not isinstance(image, np.ndarray):
        raise ImageReadError(where, f"a {type(image).__name__} is not an image; expected {FORMS}.")
    if image.dtype != np.uint8:
        raise ImageReadError(
            where, f"an array of dtype {image.dtype}; convert it to uint8 with values 0 to 255."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] in (3, 4)):
        hint = " Move the channels last." if image.ndim == 3 and image.shape[0] in (1, 3) else ""
        raise ImageReadError(
            where,
            f"an array of shape {image.shape}; expected (h, w), (h, w, 3) or (h, w, 4).{hint}",
        )
    if 0 in image.shape:
        raise ImageReadError(where, f"an array of shape {image.shape} has no pixels.")
    picture = Image.fromarray(np.ascontiguousarray(image))
    check_size(picture, where, max_pixels)
    return picture


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Warning:  # A filter turned it into an error, which must not be hidden.
        raise
    except Exception:  # Damaged EXIF data has no orientation.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _flattened(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB. Pillow itself would clip 16-bit grey values and drop transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        on_white = Image.new("RGB", image.size, (255, 255, 255))
        on_white.paste(image, mask=image)
        return on_white
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert grey values of 16 bits, floats, or numbers of a wider type to 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    transparent = image.info.get("transparency")
    is_transparent = values == transparent if isinstance(transparent, int) else None
    largest = np.fmax.reduce(values, axis=None, initial=0)
    if image.mode.startswith("I;16") or largest > 255:
        values /= 257
    elif image.mode == "F" and largest < 2:
        # Floats from 0 to 1, which may be a little larger after resampling.
        values *= 255
    # `fmax` takes the other number where one is NaN.
    np.fmin(np.fmax(values, 0, out=values), 255, out=values)
    grey = np.rint(values, out=values).astype(np.uint8)
    if is_transparent is not None:
        grey[is_transparent] = 255
    return Image.fromarray(grey)


def content_hash(content: bytes | None, picture: Image.Image | None) -> bytes:
    """Hash of an image: of the bytes of its file, or of its pixels if it has no file."""
    digest = hashlib.blake2b(digest_size=16)
    if content is not None:
        digest.update(content)
    elif picture is not None:
        digest.update(f"{picture.mode} {picture.size}".encode())
        digest.update(picture.tobytes())
    return digest.digest()
