"""scikit-learn's decorators of methods, such that type checkers still know the methods."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils import metaestimators

Method = TypeVar("Method", bound=Callable[..., Any])


def validated(fit: Method) -> Method:
    """Check the parameters before a fit."""
    return cast(Method, _fit_context(prefer_skip_nested_validation=False)(fit))


def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Make a method an attribute only of the estimators that pass a check."""
    return cast(Callable[[Method], Method], metaestimators.available_if(check))
