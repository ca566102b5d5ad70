"""Warnings that point at the line in the user's code."""

import os
import sys
import warnings

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
    """Issue a warning at the line of the user's code that led here, even through scikit-learn.

    In Python 3.11, which cannot skip files, it is at the line of this package.
    """
    if sys.version_info >= (3, 12):
        warnings.warn(message, category, skip_file_prefixes=_SKIPPED)  # noqa: TID251
    else:
        warnings.warn(message, category, stacklevel=2)  # noqa: TID251
