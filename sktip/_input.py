"""What users pass to `fit` and `predict`, checked before anything is encoded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import _get_feature_names, validate_data

from sktip._images.folders import images_of
from sktip._images.inputs import as_image_list, looks_like_images
from sktip._maths.unit import unit_norm
from sktip._utils.labels import check_groups, check_weights
from sktip.exceptions import ImageReadError

FLOATS = [np.float64, np.float32]


class GivenShots(NamedTuple):
    """Labelled images or features, checked but not encoded."""

    X: Any
    #: Labels, (m,), or the tags of each photo, (m, C).
    targets: NDArray
    weights: NDArray | None
    groups: NDArray | None
    #: Names of the columns, if X is a table of features.
    feature_names: NDArray | None
    #: Index of each shot in the user's data, for messages. None if none was dropped.
    rows: NDArray | None = None

    def of_weight(self) -> "GivenShots":
        """Return the shots whose weight is not 0."""
        rows = None if self.weights is None else np.flatnonzero(self.weights)
        if rows is None or self.weights is None or len(rows) == len(self.weights):
            return self
        return GivenShots(
            self.X[rows] if isinstance(self.X, np.ndarray) else [self.X[row] for row in rows],
            self.targets[rows],
            self.weights[rows],
            None if self.groups is None else self.groups[rows],
            self.feature_names,
            rows,
        )


def reads_images(estimator: BaseEstimator) -> bool:
    """Whether X of a classifier or tagger of sktip holds images."""
    return estimator.encoder is not None and estimator.input == "image"


def is_empty(given: Any) -> bool:
    """Whether an argument is None or has no rows."""
    if given is None:
        return True
    shape = getattr(given, "shape", None)
    return (shape[0] if shape else len(given) if hasattr(given, "__len__") else 1) == 0


def check_shots(
    estimator: BaseEstimator,
    X: Any,
    targets: NDArray,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    reset: bool = True,
) -> GivenShots:
    """Check shots with their checked targets. Without `reset`, they are added to earlier shots."""
    if reads_images(estimator):
        if (n_views := getattr(estimator.encoder, "n_views", 1)) > 1:
            raise ValueError(
                f"the encoder has n_views={n_views}, which would augment queries too; set it to 1. To augment "
                "the shots only, encode them with it, and fit with input='features'."
            )
    elif (n_views := getattr(estimator, "n_views", 1)) > 1:
        raise ValueError(
            f"n_views={n_views} needs images, since views are random crops, but X holds features. "
            "Encode the shots with CLIPFeatureTransformer(n_views=...) instead."
        )
    X, names = _check_input(estimator, X, reset=reset)
    if len(targets) != len(X):
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: X and y have the "
            f"lengths {[len(X), len(targets)]}."
        )
    groups = check_groups(groups, len(X))
    weights = None if sample_weight is None else check_weights(sample_weight, len(X))
    if reset and weights is not None and not weights.any():
        raise ValueError("all values of sample_weight are zero; at least one must be positive.")
    return GivenShots(X, targets, weights, groups, names)


def check_unlabeled(
    estimator: BaseEstimator, X_unlabeled: Any, given: GivenShots | None, *, reset: bool
) -> GivenShots | None:
    """Check unlabelled images or features, if there are any. Their columns are those of the shots."""
    if is_empty(X_unlabeled):
        return None
    with about_unlabeled():
        if reads_images(estimator):
            X_unlabeled = images_of(X_unlabeled)
        X, names = _check_input(estimator, X_unlabeled, reset=reset)
        if reset and given is not None and isinstance(X, np.ndarray):
            if X.shape[1] != given.X.shape[1]:
                raise ValueError(
                    f"X has {X.shape[1]} features, but the shots have {given.X.shape[1]}."
                )
            known = given.feature_names
            if names is not None and known is not None and list(names) != list(known):
                raise ValueError("the feature names differ from those of X, or their order does.")
    return GivenShots(X, np.empty(0), None, None, names)


@contextmanager
def about_unlabeled() -> Iterator[None]:
    """Begin error messages with "X_unlabeled"."""
    try:
        yield
    except ImageReadError as error:
        raise ImageReadError("X_unlabeled", str(error)) from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"X_unlabeled: {error}") from error


def _check_input(estimator: BaseEstimator, X: Any, *, reset: bool) -> tuple[Any, NDArray | None]:
    """Check images or features; return them and the names of the columns."""
    if reads_images(estimator):
        return as_image_list(X), None
    if not reset:
        return check_more_features(estimator, X), None
    _refuse_images(estimator, X)
    matrix = check_array(
        X, dtype=FLOATS, ensure_all_finite=False, estimator=estimator, input_name="X"
    )
    return matrix, _get_feature_names(X)


def check_more_features(estimator: BaseEstimator, X: Any) -> NDArray:
    """Check features that must have the columns of those in `fit`."""
    if _is_plain_matrix(estimator, X):
        return X
    _refuse_images(estimator, X)
    X = validate_data(estimator, X, reset=False, dtype=FLOATS, ensure_all_finite=False)
    # A classifier fitted on images has no `n_features_in_` that scikit-learn would compare with.
    probe = (
        None if hasattr(estimator, "n_features_in_") else getattr(estimator, "_encoder_probe", None)
    )
    if probe is not None and X.shape[1] != len(probe):
        raise ValueError(
            f"X has {X.shape[1]} features, but this {type(estimator).__name__} was fitted on images, and its "
            f"encoder returns {len(probe)} features."
        )
    return X


def _is_plain_matrix(estimator: BaseEstimator, X: Any) -> bool:
    """Whether X is valid without `validate_data`, which is as slow as a query and may copy X."""
    return (
        type(X) is np.ndarray
        and X.dtype.kind in "fiu"
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
    )


def _refuse_images(estimator: BaseEstimator, X: Any) -> None:
    """Refuse images before a conversion to an array, which may not fit into memory."""
    if looks_like_images(X):
        raise ValueError(
            "X looks like images, but there is no encoder to read them: pass "
            "encoder=CLIPFeatureTransformer(...)."
            if estimator.encoder is None
            else "X looks like images, but input='features': set input='image', or pass encoder.transform(X)."
        )


def check_text(text_features: ArrayLike | None) -> NDArray | None:
    """Check and normalise `text_features`."""
    if text_features is None:
        return None
    text = check_array(
        text_features, dtype=FLOATS, input_name="text_features", ensure_min_samples=0
    )
    empty = np.flatnonzero(~text.any(axis=1))
    if len(empty):
        raise ValueError(
            f"row {empty[0]} of text_features is all zeros; pass the features of a class name."
        )
    return unit_norm(text)
