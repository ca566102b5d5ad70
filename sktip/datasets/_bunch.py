"""The return value of the loaders of paths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._utils.bunch import ShortBunch
from sktip._utils.optional import import_optional


def as_bunch(
    paths: Sequence[str], target: NDArray, *, return_X_y: bool, as_frame: bool, **more: Any
) -> Any:
    """Return paths and labels as scikit-learn's loaders do."""
    # dtype=object, since every row of a fixed-width text array is as wide as the longest path.
    data: Any = np.array(paths, dtype=object)
    frame = None
    if as_frame:
        pandas = import_optional("pandas", extra="pandas", caller="as_frame=True")
        # Objects, since Arrow cannot store names of files that are not valid text.
        column = pandas.Series(data, dtype=object)
        frame = pandas.DataFrame({"path": column, "target": target})
        data, target = frame["path"], frame["target"]
    if return_X_y:
        return data, target
    return ShortBunch(data=data, target=target, frame=frame, **more)
