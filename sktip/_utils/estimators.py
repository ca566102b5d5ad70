"""What all estimators of sktip share beside scikit-learn's own classes."""

import copy
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Self, TypeVar, cast

from sklearn.base import _fit_context
from sklearn.utils import metaestimators

Method = TypeVar("Method", bound=Callable[..., Any])


def validated(fit: Method) -> Method:
    """Check the parameters before a fit. Type checkers still know the method."""
    return cast(Method, _fit_context(prefer_skip_nested_validation=False)(fit))


def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]:
    """Make a method an attribute only of the estimators that pass a check. Type checkers still know it."""
    return cast(Callable[[Method], Method], metaestimators.available_if(check))


def docs_address() -> str:
    """Return the URL "Documentation" of `pyproject.toml`. Empty if it has none."""
    try:
        urls = metadata("sktip").get_all("Project-URL", [])
    except PackageNotFoundError:
        urls = []
    named: dict[str, str] = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "").rstrip("/")


class EstimatorMixin:
    """Links from an estimator's HTML to the documentation, and complete copies.

    `copy.copy` and `copy.deepcopy` keep everything, also what ``__getstate__`` leaves out of files: the settings
    of the machine.
    """

    _doc_link_module = "sktip"
    #: scikit-learn's name. Without an address, there is no link.
    _doc_link_template = (
        docs_address() and f"{docs_address()}/api/{{estimator_module}}.{{estimator_name}}.html"
    )

    def __copy__(self) -> Self:
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = memo[id(self)] = type(self).__new__(type(self))
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new


def with_feature_names(X: Any, estimator: Any) -> Any:
    """Return feature rows as a DataFrame if the estimator was fitted on one.

    After ``set_output(transform="pandas")``, the next step of a Pipeline is fitted on a DataFrame, and
    warns if it gets an array without names. Rows of another width are returned unchanged; the
    estimator refuses them.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or X.shape[1] != len(names):
        return X
    import pandas as pd

    return pd.DataFrame(X, columns=names)
