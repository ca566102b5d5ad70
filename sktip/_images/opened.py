"""Load PIL images that the caller opened, in one thread at a time, completely or not at all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from sktip.exceptions import ImageReadError

# Locks for all images of the process, since two calls may get the same image. Reentrant, since an image
# of a user-defined class may encode other images while it is loaded.
_IMAGE_LOCKS = [threading.RLock() for _ in range(64)]
_FILE_LOCK = threading.RLock()


@contextmanager
def held(image: Image.Image) -> Iterator[None]:
    """Lock an image and its file while it is loaded.

    Loading moves the position in the file, and changes the image in several steps.
    """
    # Addresses of objects are multiples of 16.
    with _IMAGE_LOCKS[id(image) // 16 % len(_IMAGE_LOCKS)]:
        # A file that Pillow opened belongs to one image. File objects of the caller may share a file, as
        # members of a tar archive do.
        file: Any = getattr(image, "fp", None)
        if file is None or getattr(image, "_exclusive_fp", False):
            yield
        else:
            with _FILE_LOCK:
                yield


def load(image: Image.Image, where: str) -> None:
    """Load an image as Pillow does, so that an image that fails once fails again.

    After an error, Pillow forgets which parts were not read. The next `load` would succeed with a
    partially decoded image.
    """
    tile = list(getattr(image, "tile", ()))
    # Checked before loading, which closes files too.
    is_closed = _is_closed(image)
    try:
        image.load()
    except BaseException as error:
        if tile:
            image.tile = tile  # type: ignore[attr-defined]
        if is_closed and isinstance(error, Exception):
            raise ImageReadError(
                f"{where}: its file was closed before the image was loaded, or an earlier attempt to load it "
                "failed. Pass the path, or call the image's load() while its file is open."
            ) from error
        raise


def _is_closed(image: Any) -> bool:
    file = getattr(image, "fp", image)
    return file is None or getattr(file, "closed", False)
