"""Fit a classifier without each fold of the shots."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import joblib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils import _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import _num_samples, has_fit_parameter

from sktip._base import BaseCLIPClassifier
from sktip._images.inputs import as_image_list, looks_like_images
from sktip._maths.folds import COPIES, balanced_folds
from sktip._maths.unit import unit_norm
from sktip._split_encoder import split_encoder, takes_images
from sktip._utils.labels import check_labels, resolve_classes, unknown_labels

#: Number of folds. More of them take more fits; they find no more wrong labels.
N_FOLDS = 4

#: Rows to fit on and rows to hold out, for each fold.
Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def encoder_and_rest(estimator: BaseEstimator) -> tuple[BaseEstimator | None, BaseEstimator]:
    """Split an unfitted classifier, so that it can be fitted several times on images encoded once.

    A classifier that takes features, or has ``n_views`` above 1, is not split: the encoder is None.
    """
    if not takes_images(estimator) or getattr(estimator, "n_views", 1) > 1:
        return None, clone(estimator)
    encoder, classifier = split_encoder(estimator)
    return encoder, clone(classifier)


def as_samples(X: Any, estimator: BaseEstimator) -> Any:
    """Return X such that rows can be taken from it. Images stay as they are."""
    if takes_images(estimator):
        return as_image_list(X)
    if issparse(X):
        return X.tocsr()
    if hasattr(X, "__array__") and not hasattr(X, "shape"):
        X = np.asarray(X)
    if getattr(X, "ndim", 1) == 2 and X.shape[1] == 0:
        raise ValueError(f"0 feature(s) (shape={X.shape}) while a minimum of 1 is required.")
    # A list is not made an array: this would lose the rotation and the colours of images.
    return X if hasattr(X, "shape") or isinstance(X, Sequence) else list(X)


def check_samples(X: Any, y: ArrayLike, estimator: BaseEstimator) -> tuple[Any, NDArray[Any]]:
    """Check labels and X, whose rows can then be taken."""
    X, labels = as_samples(X, estimator), check_labels(y)
    check_consistent_length(X, labels)
    if len(np.unique(labels)) < 2:
        raise ValueError("y holds one class; a classifier needs at least two classes.")
    return X, labels


def cv_splits(
    estimator: BaseEstimator,
    X: Any,
    y: NDArray[Any],
    groups: NDArray[Any] | None,
    *,
    cv: int | BaseCrossValidator | Iterable | None = None,
) -> Splits:
    """Rows to fit on and rows to hold out, for each fold.

    An int or None as `cv` deals the shots of each class to as many folds; copies of a shot, and the shots
    of a group, share a fold.
    """
    if cv is not None and not isinstance(cv, Integral):
        parts = check_cv(cv, y, classifier=True).split(X, y, groups)
        return [tuple(np.arange(len(y))[part] for part in split) for split in parts]
    n_folds = N_FOLDS if cv is None else int(cv)
    if n_folds < 2:
        raise ValueError(f"cv={cv!r} must be at least 2 folds.")
    if takes_images(estimator):
        X = split_encoder(estimator)[0].transform(X)
    rows, copies = comparable(X, normalised=isinstance(estimator, BaseCLIPClassifier))
    numbers = balanced_folds(
        rows,
        np.unique(y, return_inverse=True)[1],
        groups=groups,
        max_folds=n_folds,
        staggered=True,
        copies=copies,
    )
    return [
        (np.flatnonzero(numbers != i), np.flatnonzero(numbers == i)) for i in np.unique(numbers)
    ]


def comparable(X: Any, *, normalised: bool) -> tuple[NDArray[Any], float]:
    """Rows of length 1 that are similar for copies, (m, d), and `copies` of `balanced_folds`.

    `normalised` says whether the classifier divides rows by their norm.
    """
    try:
        rows = None if looks_like_images(X) else check_array(X, dtype=np.float64, order="C")
    except (TypeError, ValueError):  # Text, for example, or missing values.
        rows = None
    # Rows of length 1 are features of an encoder.
    if rows is not None and (normalised or np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)):
        return unit_norm(rows), COPIES
    # Other samples may be similar without being copies: each content has a row unrelated to all others.
    samples = [_safe_indexing(X if rows is None else rows, i) for i in range(_num_samples(X))]
    # A row of a table is hashed without its index.
    contents = [sample.tolist() if hasattr(sample, "tolist") else sample for sample in samples]
    seeds = [int(joblib.hash(content), 16) for content in contents]
    return unit_norm(np.stack([np.random.default_rng(s).normal(size=64) for s in seeds])), 0


def cross_fit(
    estimator: BaseEstimator,
    X: Any,
    y: NDArray[Any],
    splits: Splits,
    **fit_params: NDArray[Any] | None,
) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    """Fit a clone without each fold in turn; yield it with the held-out rows.

    `fit_params` are weights or groups of the shots, for a `fit` that takes them.
    """
    named = with_all_classes(estimator, y)
    given = {
        name: values
        for name, values in fit_params.items()
        if values is not None and has_fit_parameter(named, name)
    }
    labels = np.unique(y)
    for rows, held_out in splits:
        fitted = None
        # Without names, a classifier of one class cannot be fitted.
        if len(np.unique(y[rows])) > (named is estimator):
            params = {name: values[rows] for name, values in given.items()}
            fitted = clone(named).fit(_safe_indexing(X, rows), y[rows], **params)
        missing = unknown_labels(labels, y[rows] if fitted is None else fitted.classes_)
        if missing:
            raise ValueError(
                f"all shots of the classes {missing[:5]} ({len(missing)} in all) are in one fold, and "
                f"{type(estimator).__name__} knows classes by their shots only. Give each class at least two "
                "shots that are no copies, or use a classifier of sktip with class names."
            )
        yield fitted, held_out


def with_all_classes(estimator: BaseEstimator, y: NDArray[Any]) -> BaseEstimator:
    """Pass all classes to a classifier with text, including those whose shots are all held out."""
    if not isinstance(estimator, BaseCLIPClassifier):
        return estimator
    text = estimator.text_features
    if text is None and estimator.encoder is None:
        return estimator
    classes = resolve_classes(
        np.unique(y),
        estimator.class_names,
        None if text is None else len(text),
        needs_names=text is None,
    )
    labels = classes.labels.tolist()
    names = dict(zip(labels, classes.names or map(str, labels), strict=True))
    if classes.rows is not None and text is not None:
        text = np.asarray(text)[classes.rows]
    return clone(estimator).set_params(class_names=names, text_features=text)
