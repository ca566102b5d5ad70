"""What people see: warnings, progress bars, text for messages and tables."""

import inspect
import os
import re
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
from typing import Any


@cache
def _skipped() -> tuple[str, ...]:
    """Folders of this package, and of tools that call an estimator."""
    import joblib  # Slow: the command line uses this module before it needs them.
    import sklearn

    own = os.path.dirname(os.path.abspath(__file__))
    files = (own, sklearn.__file__, joblib.__file__)
    return tuple(os.path.join(os.path.dirname(file), "") for file in files)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning at the line of the user's code that led here, even through scikit-learn."""
    # The standard library skips files in Python 3.12 and newer only.
    frames = traceback.walk_stack(inspect.currentframe())
    ours = takewhile(lambda frame: frame[0].f_code.co_filename.startswith(_skipped()), frames)
    warnings.warn(message, category, stacklevel=1 + len(list(ours)))  # noqa: TID251


@contextmanager
def progress(
    what: str, unit: str, total: int | None, *, verbose: int
) -> Iterator[Callable[..., None]]:
    """Show a bar if `verbose`. Yields a function to call after each unit, with numbers to show."""
    if not verbose:
        yield lambda **numbers: None
        return
    # Imported late: without ipywidgets, tqdm warns in a notebook as soon as it is imported.
    from tqdm.auto import tqdm

    with tqdm(desc=what, unit=unit, total=total) as bar:

        def step(**numbers: float) -> None:
            if numbers:
                bar.set_postfix(numbers)
            bar.update()

        yield step


#: Characters that a terminal or a table obeys instead of showing them: controls, separators of lines and
#: marks that change the direction of text.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

#: What `printable` writes for them, and a doubled backslash.
_ESCAPES = re.compile(r"\\(?:[\\nrt]|x[0-9a-f]{2}|u[0-9a-f]{4})")
#: Longest label in a file, in characters. NumPy reserves the length of the longest label for every row.
LONGEST_LABEL = 1000


def composed(label: Any) -> Any:
    """Return a text in Unicode's composed form (NFC), in which "é" is one character; else the label."""
    return unicodedata.normalize("NFC", label) if isinstance(label, str) else label


def printable(text: str | os.PathLike[str]) -> str:
    """Return a text or path in which bytes that are not valid text, and control characters, are escaped."""
    encodable = os.fspath(text).encode("utf-8", "backslashreplace").decode()
    return _CONTROLS.sub(lambda control: repr(control[0])[1:-1], encodable)


def escaped(text: str) -> str:
    """Escape a text for a table, as `printable` does, so that `unescaped` returns it.

    Backslashes are doubled in a text with one that would be taken for an escape; not on Windows, where
    they separate folders, and names of files need no escapes.
    """
    shown = printable(text)
    is_clear = os.sep == "\\" or unescaped(shown) == text
    return shown if is_clear else printable(text.replace("\\", r"\\"))


def unescaped(text: str) -> str:
    """Return the text that `escaped` has escaped."""
    return _ESCAPES.sub(lambda escape: escape[0].encode().decode("unicode_escape"), text)


def some(names: Iterable[Any]) -> str:
    """Name the first few of many."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")
