"""Collections of images in every supported form: paths, bytes, PIL images, arrays, crops and columns of tables."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from sktip._images.crop import Crop

#: The forms of one image, for messages.
FORMS = (
    "paths, bytes of files, PIL images, uint8 arrays of shape (h, w) or (h, w, 3), or crops of them"
)


def as_image_list(X: Any) -> Sequence[Any]:
    """Return a collection of images as a sequence of images, without opening them.

    ``np.asarray`` is not used, since a list of images of equal size would become one array.
    """
    if isinstance(X, str | bytes | os.PathLike | Image.Image | Crop):
        if isinstance(X, str | os.PathLike) and os.path.isdir(X):
            raise TypeError(
                f"X is the folder {os.fspath(X)!r}, not a list of images: sktip.predict_images takes a folder, and "
                "sktip.datasets.load_image_folder lists the photos and labels of one."
            )
        raise TypeError(
            f"X is a single {type(X).__name__}, not a list of images; wrap it in a list: [x]."
        )
    if X is None:
        raise TypeError(f"X is None; pass a list of {FORMS}.")
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
    X = _as_column(X)
    if isinstance(X, np.ndarray):
        X = _split_array(X)
    try:
        images = X if isinstance(X, Sequence) else list(X)
    except TypeError:
        raise TypeError(
            f"X is a {type(X).__name__}, not a list of images; pass a list of {FORMS}."
        ) from None
    if len(images) == 0:
        raise ValueError(
            "X is empty: found array with 0 sample(s) while a minimum of 1 is required."
        )
    return images


def looks_like_images(X: Any) -> bool:
    """Whether X looks like images rather than a feature matrix, by its shape or first item."""
    X = _as_column(X)
    if getattr(X, "ndim", 0) > 2:
        return True
    if not isinstance(X, Sequence | np.ndarray) or len(X) == 0:
        return False
    first = X[0]
    return (
        isinstance(first, str | bytes | os.PathLike | Image.Image | Crop)
        or getattr(first, "ndim", 0) > 1
    )


def describe(image: Any, index: int) -> str:
    """Describe an image in a message by its index, and by its path and box if it has them."""
    if isinstance(image, Crop):
        box = f"box {tuple(image.box)}"
        photo = describe(image.image, index)
        return f"{photo[:-1]}, {box})" if photo.endswith(")") else f"{photo} ({box})"
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    if not isinstance(path, str | bytes | os.PathLike) or not path:
        return f"image {index}"
    name = repr(os.fsdecode(path))
    # A longer string is not a path, but text or the image itself, and would hide the message.
    return f"image {index} ({name if len(name) <= 1000 else name[:500] + '...' + name[-500:]})"


def path_of(image: Any) -> str | None:
    """Path of an image, or of the photo of a crop; None if it was not given as a path."""
    photo = image.image if isinstance(image, Crop) else image
    return os.fsdecode(photo) if isinstance(photo, str | os.PathLike) else None


def _is_table(X: Any) -> bool:
    """Whether X is a table of pandas or PyArrow."""
    return hasattr(X, "columns") and (hasattr(X, "iloc") or hasattr(X, "column"))


def _as_column(X: Any) -> Any:
    """Return the array in a column or one-column table of pandas, PyArrow or similar."""
    if _is_table(X) and X.shape[1] == 1:
        X = X.iloc[:, 0] if hasattr(X, "iloc") else X.column(0)
    if hasattr(X, "to_numpy"):
        # PyArrow copies only on request, and text has to be copied.
        X = X.to_numpy(zero_copy_only=False) if hasattr(X, "to_pylist") else X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUT" and X.ndim == 2 and X.shape[1] == 1:
        X = X[:, 0]
    return X


def _split_array(X: np.ndarray) -> Sequence[Any]:
    """Split an array into its images."""
    if X.dtype.kind == "S":
        raise TypeError(
            f"X is an array of dtype {X.dtype}, in which NumPy drops trailing zero bytes. Pass the bytes of "
            "image files as a list, or with dtype=object."
        )
    if X.dtype.kind in "OUT":
        if X.ndim == 1:
            return X.tolist()
        raise ValueError(
            f"X is an array of objects of shape {X.shape}; pass a 1-D array or a list of {FORMS}."
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
        f"X is an array of shape {X.shape} and dtype {X.dtype}; expected images: {FORMS}."
    )
