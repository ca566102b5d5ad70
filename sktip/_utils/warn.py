"""Warnings that point at the line in the user's code."""

import concurrent
import inspect
import multiprocessing
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import cast

import joblib
import sklearn

#: The folder of this package. Its full path, since a user's folder may have the same name.
_OWN = f"{Path(__file__).parents[1].as_posix()}/"
#: Code that may be between the user's line and this package: tools that call an estimator, and
#: libraries that run them in other threads and processes.
_TOOLS = (
    *(f"{Path(m.__path__[0]).as_posix()}/" for m in (sklearn, joblib, concurrent, multiprocessing)),
    Path(threading.__file__).as_posix(),
    "<frozen ",
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user's code that led here, even through other tools.

    If there is no such line, as in a joblib worker, the warning is at the outermost line of this
    package.

    Parameters
    ----------
    message : str
        Text of the warning, which says what to do.

    category : type of Warning, default=UserWarning
        Category of the warning.
    """
    frame = inspect.currentframe()
    # None only in interpreters without frames.
    place = cast(FrameType, frame)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not path.startswith((_OWN, *_TOOLS)):
            place = frame
            break
        if path.startswith(_OWN):
            place = frame
        frame = frame.f_back
    # The depth of the stack differs between `fit`, a Pipeline and a search, so no `stacklevel` would
    # be right for all of them.
    warnings.warn_explicit(
        message,
        category,
        place.f_code.co_filename,
        place.f_lineno,
        module=place.f_globals.get("__name__", "<string>"),
        registry=place.f_globals.setdefault("__warningregistry__", {}),
    )
