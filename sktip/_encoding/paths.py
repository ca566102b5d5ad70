"""Resolve relative paths in an encoder's parameters once, at its first use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "local-dir:"

#: For each parameter with a relative path: the given path, and the absolute path.
Located = dict[str, tuple[str, str]]


def locate(params: Mapping[str, Any], known: Located) -> Located:
    """Make relative paths absolute. Paths that are already known stay the same.

    A known path that no longer exists, for example on another machine, is resolved again in the current
    working directory.
    """
    located = {}
    for name, value in params.items():
        if not isinstance(value, str | os.PathLike):
            continue
        given = os.fspath(value)
        before, path = known.get(name, (None, ""))
        if before == given and _is_there(name, path):
            located[name] = known[name]
        elif _is_relative(name, given, params):
            prefix = FOLDER if name == "model_name" else ""
            located[name] = (given, f"{prefix}{Path(given.removeprefix(prefix)).absolute()}")
    return located


def _is_relative(name: str, given: str, params: Mapping[str, Any]) -> bool:
    if os.path.isabs(given.removeprefix(FOLDER)):
        return False
    if name == "model_name":
        return given.startswith(FOLDER)
    if name == "pretrained":
        # open_clip is only imported, to check its tags, if such a file exists.
        if not os.path.isfile(given):
            return False
        from sktip._encoding.model import is_tag

        return not is_tag(params["model_name"], given)
    return True


def _is_there(name: str, path: str) -> bool:
    if name == "memory":
        return os.path.isdir(os.path.dirname(path))
    return os.path.exists(path.removeprefix(FOLDER))
