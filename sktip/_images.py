"""Images in any form a user has them, as RGB pictures."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sktip.exceptions import ImageReadError

#: Raster formats that are opened. Pillow's others draw from page descriptions (EPS, PDF, WMF)
#: or are not for photographs.
RASTER_FORMATS = (
    "JPEG", "MPO", "JPEG2000", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO",
)  # fmt: skip

#: To be raised when `to_rgb`, or a random view, comes to make other pixels of the same image:
#: features in a memory that were made of the old ones no longer count.
PIXELS_VERSION = 1

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
_FORMS = "paths, PIL images or uint8 arrays of shape (h, w) or (h, w, 3)"


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
    if hasattr(X, "columns") and hasattr(X, "iloc"):
        if X.shape[1] != 1:
            raise ValueError(
                f"X is a table of {X.shape[1]} columns; images come from one: pass X[column]."
            )
        X = X.iloc[:, 0]
    if hasattr(X, "to_numpy") and not isinstance(X, np.ndarray):
        X = X.to_numpy()
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


def _split_array(X: np.ndarray) -> Sequence[Any]:
    if X.dtype.kind in "OUS":
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
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
    return f"image {index} ({os.fspath(path)!r})" if path else f"image {index}"


def read_bytes(image: Any, where: str) -> bytes | None:
    """Content of an image file; None for an image in memory."""
    if not isinstance(image, str | os.PathLike):
        return None
    if isinstance(image, str) and "://" in image:
        raise ImageReadError(
            f"{where}: addresses are not opened. Download the file and pass its path."
        )
    path = Path(image)
    try:
        if path.is_dir():
            raise ImageReadError(f"{where}: is a folder, not an image file.")
        if path.exists() and not path.is_file():
            raise ImageReadError(f"{where}: is not a regular file.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageReadError(
            f"{where}: no such file. Paths are relative to {os.getcwd()!r}; texts are encoded by "
            "encode_text, not here."
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{where}: the file cannot be read: {error}.") from error


def to_rgb(image: Any, content: bytes | None, where: str, max_pixels: int) -> Image.Image:
    """Decode one image: upright by its EXIF orientation, on white where transparent, RGB."""
    try:
        if content is not None:
            return _decoded(content, where, max_pixels)
        if isinstance(image, Image.Image):
            _check_size(image, where, max_pixels)
            return _flattened(_upright(image))
        return _flattened(_from_array(image, where, max_pixels))
    except (ImageReadError, MemoryError):
        raise
    except Exception as error:
        raise ImageReadError(
            f"{where}: cannot be decoded, the file is damaged or not an image "
            f"({type(error).__name__}: {error}). Replace or remove it, or use on_error='nan'."
        ) from error


def _decoded(content: bytes, where: str, max_pixels: int) -> Image.Image:
    if not content:
        raise ImageReadError(f"{where}: the file is empty.")
    Image.init()
    formats = [name for name in RASTER_FORMATS if name in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageReadError(
            f"{where}: too large, Pillow refused it ({error}). If the file is trusted, raise "
            "max_pixels and PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Image.UnidentifiedImageError:
        raise ImageReadError(
            f"{where}: not an image in a format that is read ({', '.join(formats)})."
        ) from None
    with image:
        _check_size(image, where, max_pixels)
        image.load()
        return _flattened(_upright(image))


def _check_size(image: Image.Image, where: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageReadError(
            f"{where}: {image.width} x {image.height} pixels are more than max_pixels={max_pixels}. If the "
            "image is trusted, raise max_pixels."
        )
    if image.width == 0 or image.height == 0:
        raise ImageReadError(f"{where}: has no pixels ({image.width} x {image.height}).")


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
    _check_size(picture, where, max_pixels)
    return picture


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # Damaged EXIF data says nothing about which way is up.
        return image
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _flattened(image: Image.Image) -> Image.Image:
    """RGB of any mode; Pillow itself would clip 16-bit greys and drop transparency."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16") or values.max(initial=0) > 255:
            values = values / 257
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
