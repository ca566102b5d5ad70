"""What an estimator says about an attribute that it does not have."""

import difflib
from typing import Any

from sktip._utils.fitting import is_fitted_name


class _MissingAttributeError(AttributeError):
    """Its message is made when somebody reads it: `hasattr` asks often, and reads nothing."""

    def __init__(self, estimator: Any, name: str):
        super().__init__(name=name, obj=estimator)

    def __str__(self) -> str:
        kind, asked = type(self.obj).__name__, str(self.name)
        message = f"{kind!r} object has no attribute {asked!r}."
        known = [name for name in dir(self.obj) if not name.startswith("_")]
        fitted = sorted(name for name in vars(self.obj) if is_fitted_name(name))
        # A parameter is known without the underscore, what was fitted with it.
        stem = asked.rstrip("_")
        near = [name for name in (f"{stem}_", stem) if name in known and name != asked]
        near = near or difflib.get_close_matches(asked, known, n=1)
        if near:
            message += f" Did you mean {near[0]!r}?"
        if is_fitted_name(asked):
            if fitted:
                message += f" What fit has set: {', '.join(fitted)}."
            else:
                message += f" This {kind} is not fitted yet: call fit, which sets such attributes."
        return message


class NamedAttributesMixin:
    """Say which attribute may have been meant, where one is asked for that is not there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or hasattr(type(self), name):
            # What is there but not on offer, such as `partial_fit` after a choice of parameters, says
            # so itself.
            return object.__getattribute__(self, name)
        raise _MissingAttributeError(self, name)
