"""PIL images that the caller opened: read by one thread at a time, and wholly or not at all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from sktip.exceptions import ImageReadError

# Locks for all images of the process: the same image may be in the lists of two calls. Reentrant,
# since an image of a class of the caller's own may encode others while it is read.
_IMAGE_LOCKS = [threading.RLock() for _ in range(64)]
_FILE_LOCK = threading.RLock()


@contextmanager
def held(image: Image.Image) -> Iterator[None]:
    """Keep other threads from an image while it is loaded, and from the file that it reads.

    Reading moves the position in the file, and changes the image step by step.
    """
    # Objects lie at multiples of 16.
    with _IMAGE_LOCKS[id(image) // 16 % len(_IMAGE_LOCKS)]:
        # A file that Pillow opened belongs to one image. File objects of the caller may share a
        # file in ways that cannot be seen, as the members of a tar archive do.
        file: Any = getattr(image, "fp", None)
        if file is None or getattr(image, "_exclusive_fp", False):
            yield
        else:
            with _FILE_LOCK:
                yield


def load(image: Image.Image, where: str) -> None:
    """Load an image as Pillow does, but one that fails is not taken for a loaded one afterwards.

    Pillow forgets what was left to read before it raises its error. The next `load` would pass,
    and show whatever had been decoded until then.
    """
    tile = list(getattr(image, "tile", ()))
    # Known before loading, which closes files as well.
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
