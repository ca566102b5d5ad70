"""How the state of a classifier changes: computed aside, published in one step, read as a whole."""

import functools
from collections.abc import Callable
from typing import Any

from sklearn.base import _fit_context

from sktip._utils.fitted_with import record


def fits(method: Callable) -> Callable:
    """Wrap a method that fits: it starts from the parameters, and nothing of an earlier fit stays.

    Parameters are checked. The method works on a twin of the estimator, whose state becomes that
    of the estimator in one step at the end. So whatever stops it, an interrupt included, leaves no
    trace, and nobody sees half a state.
    """
    return _published(method, lambda state: {k: v for k, v in state.items() if not _is_fitted(k)})


def extends_fit(method: Callable) -> Callable:
    """Wrap a method that adds to what was fitted: the same, but it starts from all there is."""
    return _published(method, dict)


def answers(method: Callable) -> Callable:
    """Wrap a method that predicts: it reads the state of one moment, whoever fits meanwhile."""

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return method(_twin(self, dict), *args, **kwargs)

    return wrapper


def _published(method: Callable, start: Callable[[dict], dict]) -> Callable:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        twin = _twin(self, start)
        method(twin, *args, **kwargs)
        twin.fitted_with_ = record(twin.encoder)
        # One step: a thread that reads `__dict__` meanwhile gets the old state or the new one.
        self.__dict__ = vars(twin)
        return self

    return _fit_context(prefer_skip_nested_validation=False)(wrapper)


def _twin(estimator: Any, start: Callable[[dict], dict]) -> Any:
    """Make another object with the same attributes, or those that `start` keeps of them."""
    # Not `copy.copy`, which would pass through the checks of what is loaded from a file.
    twin = object.__new__(type(estimator))
    twin.__dict__ = start(vars(estimator).copy())
    return twin


def _is_fitted(name: str) -> bool:
    """Whether a name is that of a fitted attribute: scikit-learn's own rule."""
    return name.endswith("_") and not name.startswith("_")
