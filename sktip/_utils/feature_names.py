"""Add the feature names that an estimator was fitted with to feature rows."""

from typing import Any


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
