"""How the state of a classifier changes: computed aside, published in one step, read as a whole."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils import metaestimators

from sktip._utils.fitted_with import record

Params = ParamSpec("Params")
Answer = TypeVar("Answer")

#: Attribute of the object that a method works on: what is kept for the length of the call.
CALL = "_call"


def fits(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a method that fits: it starts from the parameters, and nothing of an earlier fit stays.

    Parameters are checked. The method works on a twin of the estimator, whose state becomes that
    of the estimator in one step at the end. So whatever stops it, an interrupt included, leaves no
    trace, and nobody sees half a state. The estimator is returned.
    """
    return _published(
        method, lambda state: {k: v for k, v in state.items() if not is_fitted_name(k)}
    )


def extends_fit(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a method that adds to what was fitted: the same, but it starts from all there is."""
    return _published(method, dict)


def answers(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a method that predicts: it reads the state of one moment, whoever fits meanwhile."""

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Answer:
        return method(_twin(self, dict), *args, **kwargs)

    return cast("Callable[Params, Answer]", functools.wraps(method)(wrapper))


def available_if(
    check: Callable[[Any], bool],
) -> Callable[[Callable[Params, Answer]], Callable[Params, Answer]]:
    """Offer a method where `check` allows it: scikit-learn's decorator, with the method's type."""
    return cast(
        "Callable[[Callable[Params, Answer]], Callable[Params, Answer]]",
        metaestimators.available_if(check),
    )


def _published(
    method: Callable[Params, Answer], start: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[Params, Answer]:
    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        twin = _twin(self, start)
        method(twin, *args, **kwargs)
        twin.fitted_with_ = record(twin.encoder, _weights(twin))
        state = vars(twin)
        if CALL not in vars(self):
            del state[CALL]
        # One step: a thread that reads `__dict__` meanwhile gets the old state or the new one.
        self.__dict__ = state
        return self

    checked = _fit_context(prefer_skip_nested_validation=False)(wrapper)
    return cast("Callable[Params, Answer]", checked)


def _twin(estimator: Any, start: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Make another object with the same attributes, or those that `start` keeps of them.

    The twin lives as long as the call, as does what it keeps in the attribute `CALL`. A method
    that another one calls shares that.
    """
    # Not `copy.copy`, which would pass through the checks of what is loaded from a file.
    twin = object.__new__(type(estimator))
    twin.__dict__ = {CALL: {}, **start(vars(estimator).copy())}
    return twin


def _weights(twin: Any) -> dict[str, str] | None:
    """Say what is known of the encoder's weights, if they made features or text."""
    state = vars(twin)
    if state.get("encoder_probe_") is None:
        return None
    session = state[CALL].get("encoder")
    weights: dict[str, str] | None
    weights = state.get("fitted_with_", {}).get("weights") if session is None else session.weights
    return weights


def is_fitted_name(name: str) -> bool:
    """Whether a name is that of a fitted attribute: scikit-learn's own rule."""
    return name.endswith("_") and not name.startswith("_")
