"""Error messages about missing attributes of an estimator."""

import difflib
from typing import Any

from sktip._utils.fitting import is_fitted_name


class _MissingAttributeError(AttributeError):
    """The message is built only when it is read: `hasattr` raises often, and does not read it."""

    def __init__(self, estimator: Any, name: str):
        super().__init__(name=name, obj=estimator)

    def __str__(self) -> str:
        kind, asked = type(self.obj).__name__, str(self.name)
        message = f"{kind!r} object has no attribute {asked!r}."
        known = [name for name in dir(self.obj) if not name.startswith("_")]
        fitted = sorted(name for name in vars(self.obj) if is_fitted_name(name))
        # Parameters have no trailing underscore, fitted attributes have one.
        stem = asked.rstrip("_")
        near = [name for name in (f"{stem}_", stem) if name in known and name != asked]
        near = near or difflib.get_close_matches(asked, known, n=1)
        if near:
            message += f" Did you mean {near[0]!r}?"
        if is_fitted_name(asked):
            if fitted:
                message += f" The fitted attributes are {', '.join(fitted)}."
            else:
                message += f" This {kind} is not fitted yet; call fit, which sets such attributes."
        return message


class NamedAttributesMixin:
    """Suggest the attribute that may have been meant if an attribute is missing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):
            # Methods that are not available with the current parameters, such as `partial_fit`, raise
            # their own error.
            return object.__getattribute__(self, name)
        raise _MissingAttributeError(self, name)
