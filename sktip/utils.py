"""Which estimators there are: for tests, tables and scripts that run over all of them."""

from typing import Literal

from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier

import sktip

__all__ = ["all_estimators"]


def all_estimators(
    *, type_filter: Literal["classifier", "transformer"] | None = None
) -> list[tuple[str, type[BaseEstimator]]]:
    """List the estimators of sktip, as :func:`sklearn.utils.discovery.all_estimators` does.

    Meta-estimators, which need another estimator, are not listed.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    type_filter : {"classifier", "transformer"}, default=None
        Which kind of estimator. None lists all.

    Returns
    -------
    estimators : list of tuple
        Name and class of each, sorted by name.

    Raises
    ------
    ValueError
        If `type_filter` is not one of these.

    Examples
    --------
    >>> from sktip.utils import all_estimators
    >>> [name for name, _ in all_estimators(type_filter="transformer")]
    ['CLIPFeatureTransformer']
    """
    if type_filter not in (None, "classifier", "transformer"):
        raise ValueError(f"type_filter={type_filter!r}; it is 'classifier', 'transformer' or None.")
    public = ((name, getattr(sktip, name)) for name in dir(sktip))
    return [
        (name, cls)
        for name, cls in public
        if isinstance(cls, type)
        and issubclass(cls, BaseEstimator)
        and not issubclass(cls, MetaEstimatorMixin)
        and type_filter in (None, "classifier" if is_classifier(cls()) else "transformer")
    ]


def __dir__() -> list[str]:
    return __all__
