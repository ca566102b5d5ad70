"""Tools for scripts: split a classifier from its encoder, list all estimators, and read when photos were taken."""

from typing import Literal

from sklearn.base import BaseEstimator, MetaEstimatorMixin, is_classifier
from sklearn.utils import get_tags

import sktip
from sktip._images.times import photo_times
from sktip._split_encoder import split_encoder

__all__ = ["all_estimators", "photo_times", "split_encoder"]


def all_estimators(
    *, type_filter: Literal["classifier", "transformer"] | None = None
) -> list[tuple[str, type[BaseEstimator]]]:
    """List the estimators of sktip, for scripts that run over all of them.

    It works like :func:`sklearn.utils.discovery.all_estimators`. Meta-estimators, which need another
    estimator, and `~sktip.FewShotTagger`, whose targets are a matrix, are not listed.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    type_filter : {"classifier", "transformer"}, default=None
        Kind of the estimators. If None, all are listed.

    Returns
    -------
    estimators : list of tuple
        Name and class of each, sorted by name.

    Raises
    ------
    ValueError
        If `type_filter` is unknown.

    Examples
    --------
    >>> from sktip.utils import all_estimators
    >>> [name for name, _ in all_estimators(type_filter="transformer")]
    ['CLIPFeatureTransformer', 'TimmFeatureTransformer']
    """
    if type_filter not in (None, "classifier", "transformer"):
        raise ValueError(
            f"type_filter={type_filter!r} is unknown; pass 'classifier', 'transformer' or None."
        )
    public = ((name, getattr(sktip, name)) for name in dir(sktip))
    return [
        (name, cls)
        for name, cls in public
        if isinstance(cls, type)
        and issubclass(cls, BaseEstimator)
        and not issubclass(cls, MetaEstimatorMixin)
        and get_tags(cls()).target_tags.single_output
        and type_filter in (None, "classifier" if is_classifier(cls()) else "transformer")
    ]


def __dir__() -> list[str]:
    return __all__
