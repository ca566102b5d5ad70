"""Feature names of an estimator, for rows that have lost theirs."""

from typing import Any


def with_feature_names(X: Any, estimator: Any) -> Any:
    """Return feature rows as the table that an estimator was fitted on, if it was on one.

    After ``set_output(transform="pandas")`` the next step of a Pipeline is fitted on a table, and warns of
    each array without names. Rows of another width are returned as they are, for the estimator to
    refuse.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is None or X.shape[1] != len(names):
        return X
    import pandas as pd

    return pd.DataFrame(X, columns=names)
