"""Text for messages and tables."""

import os
import re
from collections.abc import Iterable
from typing import Any

#: Characters that a terminal or a table obeys instead of showing them: controls, separators of lines and
#: marks that change the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str | os.PathLike[str]) -> str:
    """Return a text or path in which bytes that are not valid text, and control characters, are escaped."""
    encodable = os.fspath(text).encode("utf-8", "backslashreplace").decode()
    return _CONTROLS.sub(lambda control: repr(control[0])[1:-1], encodable)


def some(names: Iterable[Any]) -> str:
    """Name the first few of many."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
