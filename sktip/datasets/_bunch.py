"""The form in which every loader returns its data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch


def as_bunch(
    paths: Sequence[str],
    target: NDArray,
    *,
    return_X_y: bool,
    as_frame: bool,
    **more: Any,
) -> Any:
    """Return paths and labels the way scikit-learn's loaders do."""
    # Objects, since an array of fixed-width text has room in each row for the longest path.
    data: Any = np.array(paths, dtype=object)
    frame = None
    if as_frame:
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "as_frame=True needs pandas: `python3 -m pip install pandas`, or leave as_frame=False."
            ) from None
        frame = pandas.DataFrame({"path": _text_column(pandas, data), "target": target})
        data, target = frame["path"], frame["target"]
    if return_X_y:
        return data, target
    return Bunch(data=data, target=target, frame=frame, **more)


def _text_column(pandas: Any, paths: NDArray) -> Any:
    try:
        return pandas.Series(paths)
    except UnicodeEncodeError:
        # Arrow has no room for names that are not text; objects have.
        return pandas.Series(paths, dtype=object)
