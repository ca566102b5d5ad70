"""Change the state of a classifier in one step, so that a failed `fit` leaves it unchanged."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils import metaestimators

from sktip._utils.fitted_with import record
from sktip._utils.whole_imports import import_whole

Params = ParamSpec("Params")
Answer = TypeVar("Answer")

#: Attribute that holds data for the duration of one call.
CALL = "_call"


def fits(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a `fit` method: it starts from the parameters, without the state of an earlier fit.

    The parameters are validated. The method works on a twin of the estimator. At the end, the
    twin's state becomes that of the estimator in one step. So an error or an interrupt changes
    nothing, and other threads never see a partial state. The estimator is returned.
    """
    return _published(
        method, lambda state: {k: v for k, v in state.items() if not is_fitted_name(k)}
    )


def extends_fit(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a `partial_fit` method: as `fits`, but it starts from the fitted state."""
    return _published(method, dict)


def answers(method: Callable[Params, Answer]) -> Callable[Params, Answer]:
    """Wrap a method that predicts: it uses one state, even if another thread fits meanwhile."""

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Answer:
        return method(_twin(self, dict), *args, **kwargs)

    return cast("Callable[Params, Answer]", functools.wraps(method)(wrapper))


def available_if(
    check: Callable[[Any], bool],
) -> Callable[[Callable[Params, Answer]], Callable[Params, Answer]]:
    """Make a method available if `check` allows it: scikit-learn's decorator, with type hints."""
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
        # In one step: a thread that reads `__dict__` meanwhile gets the old state or the new one.
        self.__dict__ = state
        return self

    checked = _fit_context(prefer_skip_nested_validation=False)(wrapper)
    return cast("Callable[Params, Answer]", checked)


def _twin(estimator: Any, start: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Make another object with the same attributes, filtered by `start`.

    The twin exists for one call, and so does the data in its attribute `CALL`.
    """
    if "device" in vars(estimator):
        import_whole("torch")
    # Not `copy.copy`, which would run the checks of a state that is loaded from a file.
    twin = object.__new__(type(estimator))
    twin.__dict__ = {CALL: {}, **start(vars(estimator).copy())}
    return twin


def _weights(twin: Any) -> dict[str, str] | None:
    """Identity of the encoder's weights. None if the encoder was not used."""
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
