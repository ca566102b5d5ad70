"""Warnings that point at the user's line."""

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

#: The folder of this package, and no other of its name: a user's module may lie in such a one.
_OWN = f"{Path(__file__).parents[1].as_posix()}/"
#: What may stand between the user's line and the package: tools that call an estimator, and what
#: runs them in other threads and processes.
_TOOLS = (
    *(f"{Path(m.__path__[0]).as_posix()}/" for m in (sklearn, joblib, concurrent, multiprocessing)),
    Path(threading.__file__).as_posix(),
    "<frozen ",
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user that led here, through whatever tools.

    Where there is no such line, as in a worker of joblib, the warning is at the outermost line of
    the package.

    Parameters
    ----------
    message : str
        What the user should know, and what to do about it.

    category : type of Warning, default=UserWarning
        Its kind.
    """
    frame = inspect.currentframe()
    # It is None only in an interpreter without frames.
    place = cast(FrameType, frame)
    while frame is not None:
        path = frame.f_code.co_filename.replace("\\", "/")
        if not path.startswith((_OWN, *_TOOLS)):
            place = frame
            break
        if path.startswith(_OWN):
            place = frame
        frame = frame.f_back
    # The depth of a stack is not the same from `fit`, a Pipeline and a search, so that no
    # `stacklevel` would be right for all.
    warnings.warn_explicit(
        message,
        category,
        place.f_code.co_filename,
        place.f_lineno,
        module=place.f_globals.get("__name__", "<string>"),
        registry=place.f_globals.setdefault("__warningregistry__", {}),
    )
