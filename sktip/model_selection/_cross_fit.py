"""Fit a classifier without each fold of the shots."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, check_random_state

from sktip._base import BaseCLIPClassifier, reads_images
from sktip._encoder import CLIPFeatureTransformer
from sktip._images.pictures import as_image_list
from sktip._utils.classes import given_names
from sktip._utils.labels import check_labels, kind_of


def encoder_and_classifier(estimator: Any) -> tuple[CLIPFeatureTransformer | None, Any]:
    """Split a classifier of images, fitted or not, into its encoder and a classifier of features.

    The encoder is None if there is none.
    """
    if isinstance(estimator, BaseCLIPClassifier) and estimator.encoder is not None:
        return estimator.encoder, copy.copy(estimator).set_params(input="features")
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        first = estimator[0]
        if isinstance(first, CLIPFeatureTransformer):
            return first, estimator[1] if len(estimator) == 2 else estimator[1:]
    return None, estimator


def encoder_and_rest(estimator: Any) -> tuple[CLIPFeatureTransformer | None, Any]:
    """Split an unfitted classifier, so that it can be fitted several times on images encoded once.

    A classifier that takes features, or has ``n_views`` above 1, is not split: the encoder is None.
    """
    stays = isinstance(estimator, BaseCLIPClassifier) and (
        not reads_images(estimator) or getattr(estimator, "n_views", 1) > 1
    )
    encoder, classifier = (None, estimator) if stays else encoder_and_classifier(estimator)
    return encoder, clone(classifier)


def check_samples(X: Any, y: Any, estimator: Any) -> tuple[Any, NDArray[Any]]:
    """Check labels and X; a table or an array is returned unchanged."""
    if not hasattr(X, "shape"):
        X = as_image_list(X) if reads_images(estimator) else np.asarray(X)
    labels = check_labels(y)
    n_rows = X.shape[0] if hasattr(X, "shape") else len(X)
    if n_rows != len(labels):
        raise ValueError(f"X and y have the lengths {[n_rows, len(labels)]}; they must be equal.")
    if len(np.unique(labels)) < 2:
        raise ValueError("y holds one class; a classifier needs at least two classes.")
    return X, labels


def cross_fit(
    estimator: Any,
    X: Any,
    y: NDArray[Any],
    *,
    n_folds: int,
    cv: Any = None,
    sample_weight: NDArray[Any] | None = None,
) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    """Fit a clone without each fold in turn; yield it with the held-out rows.

    Parameters
    ----------
    estimator : classifier
        Classifier to clone.

    X, y : array-like of length m
        The shots, checked by `check_samples`.

    n_folds : int
        Largest number of folds, each with one shot of every class. Not used with `cv`.

    cv : int, splitter, iterable or None
        Other folds, as in scikit-learn.

    sample_weight : ndarray of shape (m,) or None
        Weights of the shots for `fit`.

    Raises
    ------
    ValueError
        If all shots of a class are in one fold, and the classifier does not know its name.
    """
    estimator, classes = _with_all_classes(estimator, y), np.unique(y)
    if cv is None:
        numbers = fold_numbers(np.searchsorted(classes, y), n_folds)
        splits = ((numbers != fold, numbers == fold) for fold in range(numbers.max() + 1))
    else:
        splits = check_cv(cv, y, classifier=True).split(X, y)
    for train, test in splits:
        rows, held_out = (np.arange(len(y))[part] for part in (train, test))
        weights = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        fitted = clone(estimator).fit(_safe_indexing(X, rows), y[rows], **weights)
        missing = np.setdiff1d(y[held_out], fitted.classes_)
        if len(missing):
            raise ValueError(
                f"all shots of the classes {missing.tolist()[:5]} ({len(missing)} in all) are in one fold, and "
                f"{type(fitted).__name__} knows classes by their shots only. Give each class at least two "
                "shots, or use a classifier of sktip with class names."
            )
        yield fitted, held_out


def fold_numbers(codes: NDArray[Any], n_folds: int) -> NDArray[np.intp]:
    """Fold of each shot, (m,). The shots of every class are distributed evenly over the folds.

    Classes with a single shot are distributed over the folds too.
    """
    counts = np.bincount(codes)
    most = counts.max()
    n_folds = n_folds if most == 1 else min(n_folds, int(most))
    first = check_random_state(0).randint(n_folds, size=len(counts))
    order = np.argsort(codes, kind="stable")
    places = np.empty(len(codes), np.intp)
    places[order] = np.arange(len(codes)) - (np.cumsum(counts) - counts)[codes[order]]
    numbers: NDArray[np.intp] = (places + first[codes]) % n_folds
    return np.unique(numbers, return_inverse=True)[1]


def _with_all_classes(estimator: Any, y: NDArray[Any]) -> Any:
    """Pass all classes to a classifier with text, including those whose shots are all held out."""
    if not isinstance(estimator, BaseCLIPClassifier) or kind_of(y) != "text":
        return estimator
    names = given_names(estimator.class_names)
    has_text = estimator.encoder is not None or estimator.text_features is not None
    if not has_text or isinstance(names, dict):
        return estimator
    labels = np.unique(y).tolist()
    if names is not None and len(names) != len(labels):
        return estimator  # Its own `fit` raises the error.
    return clone(estimator).set_params(class_names=dict(zip(labels, names or labels, strict=True)))
