"""Packages that only some functions need."""

from importlib import import_module
from typing import Any


def import_optional(*names: str, extra: str, caller: str) -> Any:
    """Import modules, and return the first. If one is missing, the error says how to install all of the `extra`."""
    try:
        modules = [import_module(name) for name in names]
    except ImportError as error:
        raise ImportError(
            f'{caller} needs {error.name or names[0]}. Run: pip install "{extra}"'
        ) from error
    return modules[0]
