"""Warnings that point at the line in the user's code."""

import inspect
import os
import traceback
import warnings
from itertools import takewhile

import joblib
import sklearn

#: Folders of this package, and of tools that call an estimator.
_SKIPPED = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        os.path.dirname(sklearn.__file__),
        os.path.dirname(joblib.__file__),
    )
)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user's code that led here, even through scikit-learn."""
    # The standard library skips files in Python 3.12 and newer only.
    frames = traceback.walk_stack(inspect.currentframe())
    ours = takewhile(lambda frame: frame[0].f_code.co_filename.startswith(_SKIPPED), frames)
    warnings.warn(message, category, stacklevel=1 + len(list(ours)))  # noqa: TID251
