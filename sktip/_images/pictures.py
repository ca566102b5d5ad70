"""Convert images in any supported form to RGB pictures."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageSequence, features

from sktip._images.files import check_size, decode, transparent_key
from sktip._images.opened import held, load
from sktip.exceptions import ImageReadError

#: Raise this number when `to_rgb` or the random views change the pixels of an image. Features in a memory
#: file that were computed from the old pixels are then ignored.
PIXELS_VERSION = 4

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
_FORMS = "paths, bytes of files, PIL images or uint8 arrays of shape (h, w) or (h, w, 3)"


def pixels_made_by() -> dict[str, Any]:
    """Versions that the pixels of an image file depend on: of this code and of the decoders."""
    names = ("jpg", "libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
    versions = {name: features.version(name) for name in names}
    return {"version": PIXELS_VERSION, "pillow": PIL.__version__, **versions}


def as_image_list(X: Any) -> Sequence[Any]:
    """Return a collection of images as a sequence of images, without opening them.

    ``np.asarray`` is not used, since a list of images of equal size would become one array.
    """
    if isinstance(X, str | bytes | os.PathLike | Image.Image):
        raise TypeError(
            f"X is a single {type(X).__name__}, not a list of images; wrap it in a list: [x]."
        )
    if X is None:
        raise TypeError(f"X is None; pass a list of {_FORMS}.")
    if isinstance(X, ImageSequence.Iterator):
        raise TypeError(
            "X is an ImageSequence.Iterator, which yields the same image object for every frame; pass "
            "[frame.copy() for frame in X]."
        )
    if _is_table(X) and X.shape[1] != 1:
        raise ValueError(
            f"X is a table of {X.shape[1]} columns; pass the column of images, X[column]. If X is a feature "
            "matrix, for example from an encoder in a Pipeline, set input='features'."
        )
    X = _unwrapped(X)
    if isinstance(X, np.ndarray):
        X = _split_array(X)
    try:
        images = X if isinstance(X, Sequence) else list(X)
    except TypeError:
        raise TypeError(
            f"X is a {type(X).__name__}, not a list of images; pass a list of {_FORMS}."
        ) from None
    if len(images) == 0:
        raise ValueError(
            "X is empty: found array with 0 sample(s) while a minimum of 1 is required."
        )
    return images


def looks_like_images(X: Any) -> bool:
    """Whether X looks like images rather than a feature matrix, by its shape or first item."""
    X = _unwrapped(X)
    if getattr(X, "ndim", 0) > 2:
        return True
    if not isinstance(X, Sequence | np.ndarray) or len(X) == 0:
        return False
    first = X[0]
    return (
        isinstance(first, str | bytes | os.PathLike | Image.Image) or getattr(first, "ndim", 0) > 1
    )


def _is_table(X: Any) -> bool:
    """Whether X is a table of pandas or PyArrow."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "column"))


def _unwrapped(X: Any) -> Any:
    """Return the array in a column of pandas, PyArrow or similar; a single column becomes 1-D."""
    if _is_table(X) and X.shape[1] == 1:
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X.column(0)
    if hasattr(X, "to_numpy"):
        # PyArrow copies only on request, and text has to be copied.
        X = X.to_numpy(zero_copy_only=False) if hasattr(X, "to_pylist") else X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUT" and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    return X


def _split_array(X: np.ndarray) -> Sequence[Any]:
    if X.dtype.kind == "S":
        raise TypeError(
            f"X is an array of dtype {X.dtype}, in which NumPy drops trailing zero bytes. Pass the bytes of "
            "image files as a list, or with dtype=object."
        )
    if X.dtype.kind in "OUT":
        if X.ndim == 1:
            return X.tolist()
        raise ValueError(
            f"X is an array of objects of shape {X.shape}; pass a 1-D array or a list of {_FORMS}."
        )
    # A last axis of up to four is one of channels.
    if X.ndim == 4 or (X.ndim == 3 and X.shape[2] > 4):
        return list(X)
    if X.ndim in (2, 3):
        raise ValueError(
            f"X is one array of shape {X.shape} and dtype {X.dtype}. If it is a single image, wrap it in a "
            "list: [x]. If it is a feature matrix, set input='features'. If it is a stack of grey images, "
            "pass list(X)."
        )
    raise ValueError(
        f"X is an array of shape {X.shape} and dtype {X.dtype}; expected images: {_FORMS}."
    )


def describe(image: Any, index: int) -> str:
    """Describe an image in a message by its index, and by its path if it has one."""
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    if not isinstance(path, str | bytes | os.PathLike) or not path:
        return f"image {index}"
    name = repr(os.fsdecode(path))
    # A longer string is not a path, but text or the image itself, and would hide the message.
    return f"image {index} ({name if len(name) <= 1000 else name[:500] + '...' + name[-500:]})"


def to_rgb(
    image: Any, content: bytes | None, where: str, max_pixels: int, min_side: int | None = None
) -> Image.Image:
    """Decode one image as RGB: upright by its EXIF orientation, and white where it is transparent.

    With `min_side`, a JPEG file may be decoded at a reduced scale, with at least this short side.
    """
    try:
        return _rgb(image, content, where, max_pixels, min_side)
    except ImageReadError:
        raise
    except Warning as error:
        raise ImageReadError(
            f"{where}: Pillow issued a warning, which a warning filter turns into an error "
            f"({type(error).__name__}: {str(error)[:200]}). To read the image nevertheless, allow Pillow's "
            "warnings: warnings.filterwarnings('default', module='PIL')."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{where}: too large for Pillow ({error}). If you trust the file, raise max_pixels and "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except MemoryError as error:
        # A damaged header that requests too much memory raises MemoryError too.
        raise ImageReadError(
            f"{where}: there is not enough memory to decode it. Make it smaller, or lower n_jobs."
        ) from error
    except Exception as error:
        raise ImageReadError(
            f"{where}: cannot be decoded; the file is damaged or not an image "
            f"({type(error).__name__}: {str(error)[:200]}). Replace or remove it, or use on_error='nan'."
        ) from error


def _rgb(
    image: Any, content: bytes | None, where: str, max_pixels: int, min_side: int | None
) -> Image.Image:
    if content is not None:
        return _flattened(_upright(decode(content, where, max_pixels, min_side)))
    if not isinstance(image, Image.Image):
        return _flattened(_from_array(image, where, max_pixels))
    with held(image):
        check_size(image, where, max_pixels)
        key = transparent_key(image)
        # Loaded first, since loading rotates a TIFF upright.
        load(image, where)
        upright = _upright(image)
        if key != upright.info.get("transparency"):
            upright = upright.copy()
            upright.info["transparency"] = key
    return _flattened(upright)


def _from_array(image: Any, where: str, max_pixels: int) -> Image.Image:
    if not isinstance(image, np.ndarray):
        raise ImageReadError(
            f"{where}: a {type(image).__name__} is not an image; expected {_FORMS}."
        )
    if image.dtype != np.uint8:
        raise ImageReadError(
            f"{where}: an array of dtype {image.dtype}; convert it to uint8 with values 0 to 255."
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] in (3, 4)):
        hint = " Move the channels last." if image.ndim == 3 and image.shape[0] in (1, 3) else ""
        raise ImageReadError(
            f"{where}: an array of shape {image.shape}; expected (h, w), (h, w, 3) or (h, w, 4).{hint}"
        )
    if 0 in image.shape:
        raise ImageReadError(f"{where}: an array of shape {image.shape} has no pixels.")
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
        # Pillow has no conversion from La to RGBA.
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        on_white = Image.new("RGB", image.size, (255, 255, 255))
        on_white.paste(image, mask=image)
        return on_white
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert grey values of 16 bits, floats, or numbers of a wider type to 8 bits."""
    values = np.asarray(image)
    largest = np.fmax.reduce(values, axis=None, initial=0)
    factor = 1.0
    if image.mode.startswith("I;16") or largest > 255:
        factor = 1 / 257
    elif image.mode == "F" and largest < 2:
        # Floats from 0 to 1, which may be a little larger after resampling.
        factor = 255.0
    grey = np.empty(values.shape, np.uint8)
    # In blocks of rows, to limit the memory for floats.
    n_rows = max(1, 2**20 // values.shape[1])
    for start in range(0, len(values), n_rows):
        block = values[start : start + n_rows] * factor
        # `fmax` takes the other number where one is NaN.
        grey[start : start + n_rows] = np.rint(np.fmin(np.fmax(block, 0), 255))
    if isinstance(image.info.get("transparency"), int):
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)
