"""Results in a notebook."""

import reprlib
from typing import Any

from sklearn.utils import Bunch

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


class ShortBunch(Bunch):
    """A Bunch whose representation gives the shapes of its arrays, not their values."""

    def __repr__(self) -> str:
        return f"Bunch({', '.join(f'{key}={_short(value)}' for key, value in self.items())})"


def _short(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"<{type(value).__name__} of shape {value.shape}>"
    return _SHORT.repr(value)
