"""What Pillow and libtiff have to say about single files, kept from the user.

A damaged file is refused by one error that names it; a file that is decoded needs no remark. The
libraries say more: warnings whose text differs from file to file, so that no "once" filter stops
them, a log record, and lines that libtiff writes to the standard error itself. Ten thousand files
would bury everything else.
"""

import ctypes
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image


class _InThisThread(threading.local):
    """Whether this thread is decoding; also the pattern of a warning filter and a log filter.

    `warnings.catch_warnings` changes the whole process and is undone wrongly where threads
    overlap. A filter whose pattern matches only while its own thread decodes needs no undoing.
    """

    decoding = False
    #: What scikit-learn copies to its workers as a regular expression: one that never matches.
    pattern = "(?!)"

    def match(self, text: str) -> bool:
        return self.decoding

    def filter(self, record: logging.LogRecord) -> bool:
        return not self.decoding

    def __reduce__(self) -> str:
        # Its workers are sent the list of filters that the copies are made from.
        return "_in_this_thread"


_in_this_thread = _InThisThread()
_IGNORE = ("ignore", _in_this_thread, Warning, None, 0)
_lock = threading.Lock()
_n_decoding = 0
_libtiff_handler: Any = None


@contextmanager
def quiet() -> Iterator[None]:
    """Decode without a word: other threads, and what comes after, warn as ever."""
    _put_first()
    logging.getLogger("PIL.TiffImagePlugin").addFilter(_in_this_thread)
    _count(1)
    _in_this_thread.decoding = True
    try:
        yield
    finally:
        _in_this_thread.decoding = False
        _count(-1)


def _put_first() -> None:
    filters: Any = warnings.filters
    with _lock:
        if filters and filters[0] is _IGNORE:
            return
        if _IGNORE in filters:
            filters.remove(_IGNORE)
        filters.insert(0, _IGNORE)


def _count(change: int) -> None:
    """Take libtiff's error handler away when the first thread decodes, return it after the last."""
    global _n_decoding, _libtiff_handler  # noqa: PLW0603
    with _lock:
        before, _n_decoding = _n_decoding, _n_decoding + change
        if before == 0:
            _libtiff_handler = _set_libtiff_handler(None)
        elif _n_decoding == 0:
            _set_libtiff_handler(_libtiff_handler)


def _find_libtiff() -> Callable[[Any], Any]:
    """Setter of libtiff's error handler, in the copy that Pillow decodes with.

    Where it is out of reach, as in Pillow's builds for Windows, libtiff goes on writing.
    """
    try:
        setter = ctypes.PyDLL(Image.core.__file__).TIFFSetErrorHandler
    except (AttributeError, OSError, TypeError):
        return lambda handler: None
    setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return setter


_set_libtiff_handler = _find_libtiff()
