"""Images in any form a user has them, as RGB pictures."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageSequence, features

from sktip._images.files import check_size, decode
from sktip._images.opened import held, load
from sktip.exceptions import ImageReadError

#: To be raised when `to_rgb`, or a random view, comes to make other pixels of the same image:
#: features in a memory that were made of the old ones no longer count.
PIXELS_VERSION = 3

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
    """Say what decides the pixels of an image file: this code, and the libraries that decode."""
    names = ("jpg", "libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
    versions = {name: features.version(name) for name in names}
    return {"version": PIXELS_VERSION, "pillow": PIL.__version__, **versions}


def as_image_list(X: Any) -> Sequence[Any]:
    """Return a collection of images as a sequence of single ones, without opening any.

    Equal-sized images in a list must not become one array, hence no ``np.asarray`` here.
    """
    if isinstance(X, str | bytes | os.PathLike | Image.Image):
        raise TypeError(
            f"X is a single {type(X).__name__}, not a collection of images; wrap it in a list: [x]."
        )
    if X is None:
        raise TypeError(f"X is None; pass a list of {_FORMS}.")
    if isinstance(X, ImageSequence.Iterator):
        raise TypeError(
            "X is an ImageSequence.Iterator, which gives the same image again and again, at other frames; pass "
            "[frame.copy() for frame in X]."
        )
    if _is_table(X) and X.shape[1] != 1:
        raise ValueError(
            f"X is a table of {X.shape[1]} columns; images come from one: pass X[column]. If it is a feature "
            "matrix, as an encoder in a Pipeline makes it, use input='features'."
        )
    X = _unwrapped(X)
    if isinstance(X, np.ndarray):
        X = _split_array(X)
    try:
        images = X if isinstance(X, Sequence) else list(X)
    except TypeError:
        raise TypeError(
            f"X is a {type(X).__name__}, not a collection of images; pass a list of {_FORMS}."
        ) from None
    if len(images) == 0:
        raise ValueError(
            "X is empty: found array with 0 sample(s) while a minimum of 1 is required."
        )
    return images


def looks_like_images(X: Any) -> bool:
    """Whether what is not a feature matrix is, by its shape or its first item, images."""
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
    """Return the array in a column of pandas, PyArrow or the like; of a single column, 1-D."""
    if _is_table(X) and X.shape[1] == 1:
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X.column(0)
    if hasattr(X, "to_numpy"):
        # PyArrow refuses to copy unless it is asked to, and texts must be.
        X = X.to_numpy(zero_copy_only=False) if hasattr(X, "to_pylist") else X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUT" and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    return X


def _split_array(X: np.ndarray) -> Sequence[Any]:
    if X.dtype.kind == "S":
        raise TypeError(
            f"X is an array of dtype {X.dtype}, in which NumPy drops zeros at the end of bytes. Pass the "
            "bytes of image files as a list, or with dtype=object."
        )
    if X.dtype.kind in "OUT":
        if X.ndim == 1:
            return X.tolist()
        raise ValueError(
            f"X is an array of objects of shape {X.shape}; pass a 1-D array or a list of {_FORMS}."
        )
    if X.ndim == 4 or (X.ndim == 3 and X.shape[2] not in (3, 4)):
        return list(X)
    if X.ndim in (2, 3):
        raise ValueError(
            f"X is one array of shape {X.shape} and dtype {X.dtype}. If that is a single image, wrap it "
            "in a list: [x]. If it is a feature matrix, it needs no encoder to read it: use "
            "input='features'. A stack of grey images goes in as list(X)."
        )
    raise ValueError(
        f"X is an array of shape {X.shape} and dtype {X.dtype}; expected images: {_FORMS}."
    )


def describe(image: Any, index: int) -> str:
    """Name an image in a message: its index, and its path if it has one."""
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    if not isinstance(path, str | bytes | os.PathLike) or not path:
        return f"image {index}"
    name = repr(os.fsdecode(path))
    # Whatever is longer is no path, but a text or the image itself, and would bury the message.
    return f"image {index} ({name if len(name) <= 1000 else name[:500] + '...' + name[-500:]})"


def to_rgb(
    image: Any, content: bytes | None, where: str, max_pixels: int, min_side: int | None = None
) -> Image.Image:
    """Decode one image: upright by its EXIF orientation, on white where transparent, RGB.

    With `min_side`, a JPEG file may come at a reduced scale, with as many pixels on its short side.
    """
    try:
        return _rgb(image, content, where, max_pixels, min_side)
    except ImageReadError:
        raise
    except Warning as error:
        raise ImageReadError(
            f"{where}: Pillow warns of it, and a warning filter makes that an error ({type(error).__name__}: "
            f"{str(error)[:200]}). To read it all the same, allow Pillow's warnings: "
            "warnings.filterwarnings('default', module='PIL')."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageReadError(
            f"{where}: too large, Pillow refused it ({error}). If the file is trusted, raise "
            "max_pixels and PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except MemoryError as error:
        # Not raised as it is: a header that asks for too much looks the same as too little memory.
        raise ImageReadError(
            f"{where}: there is not enough memory to decode it. Make it smaller, or lower n_jobs."
        ) from error
    except Exception as error:
        raise ImageReadError(
            f"{where}: cannot be decoded, the file is damaged or not an image "
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
        # First, since loading itself turns a TIFF upright.
        load(image, where)
        upright = _upright(image)
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
    except Warning:  # Made an error by a filter: not to be passed over in silence.
        raise
    except Exception:  # Damaged EXIF data says nothing about which way is up.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _flattened(image: Image.Image) -> Image.Image:
    """RGB of any mode; Pillow itself would clip 16-bit greys and drop transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        on_white = Image.new("RGB", image.size, (255, 255, 255))
        on_white.paste(image, mask=image)
        return on_white
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 bits, or numbers of a wider type, as 8 bits."""
    values = np.asarray(image)
    is_deep = image.mode.startswith("I;16") or np.fmax.reduce(values, axis=None, initial=0) > 255
    grey = np.empty(values.shape, np.uint8)
    # A few rows at a time, so that the float numbers of a large picture never exist at once.
    n_rows = max(1, 2**20 // values.shape[1])
    for start in range(0, len(values), n_rows):
        block = values[start : start + n_rows] / (257.0 if is_deep else 1.0)
        # `fmax` takes the other number where one is NaN.
        grey[start : start + n_rows] = np.rint(np.fmin(np.fmax(block, 0), 255))
    return Image.fromarray(grey)
