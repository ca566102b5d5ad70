"""Relative paths among an encoder's parameters: they mean what they meant at its first use."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "local-dir:"

#: For each parameter that holds a relative path: what was given, and the absolute path.
Located = dict[str, tuple[str, str]]


def locate(params: Mapping[str, Any], known: Located) -> Located:
    """Make relative paths absolute, those known already as they were made before.

    What is no longer there, as on another machine, is looked for beside this process again.
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


class PathsMixin:
    """Settle the relative paths of an encoder once; `get_params` tells them as they were given."""

    model_name: str
    pretrained: str | None
    memory: Any
    _absolute: Located

    def _locate(self) -> None:
        located = self._located()
        # Most encoders have no relative path, and get no further attribute.
        if located != vars(self).get("_absolute", {}):
            self._absolute = located

    def _located(self) -> Located:
        params = {name: getattr(self, name) for name in ("model_name", "pretrained", "memory")}
        return locate(params, vars(self).get("_absolute", {}))

    def _path(self, name: str) -> Any:
        """Value of a parameter, with an absolute path in place of a relative one."""
        return vars(self).get("_absolute", {}).get(name, (None, getattr(self, name)))[1]

    def set_params(self, **params: Any) -> Any:
        """Set parameters; a relative path is resolved anew at the next use.

        Parameters
        ----------
        **params : dict
            Parameters and their values.

        Returns
        -------
        self : estimator instance
            This transformer.
        """
        super().set_params(**params)  # type: ignore[misc]
        known = vars(self).get("_absolute", {})
        if known.keys() & params.keys():
            self._absolute = {name: own for name, own in known.items() if name not in params}
        return self

    def __sklearn_clone__(self) -> Any:
        twin = super().__sklearn_clone__()  # type: ignore[misc]
        if "_absolute" in vars(self):
            twin._absolute = self._absolute
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Now, since another process may have another working directory.
        located = self._located()
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {**state, "_absolute": located} if located else state


def _is_relative(name: str, given: str, params: Mapping[str, Any]) -> bool:
    if os.path.isabs(given.removeprefix(FOLDER)):
        return False
    if name == "model_name":
        return given.startswith(FOLDER)
    if name == "pretrained":
        # Only for a file that is here, so that nothing else imports open_clip to know its tags.
        if not os.path.isfile(given):
            return False
        from sktip._encoding.model import is_tag

        return not is_tag(params["model_name"], given)
    return True


def _is_there(name: str, path: str) -> bool:
    if name == "memory":
        return os.path.isdir(os.path.dirname(path))
    return os.path.exists(path.removeprefix(FOLDER))
