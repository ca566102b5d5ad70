"""How accurate a classifier becomes with more shots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, clone
from sklearn.utils import _safe_indexing, check_array

from sktip._base import BaseCLIPClassifier
from sktip._encoder import as_encoder
from sktip._encoding.session import open_encoder
from sktip._few_shot import FewShotClassifier
from sktip._maths.learning_curve import curve_basis, fit_curve, read_curve
from sktip._utils.bunch import ShortBunch
from sktip._utils.labels import check_groups
from sktip.model_selection._cross_fit import (
    Splits,
    check_samples,
    comparable,
    cross_fit,
    cv_splits,
    encoder_and_rest,
    with_all_classes,
)

#: Photos of average accuracy that are added to those of a class, for its own accuracy.
PSEUDO_PHOTOS = 4


def forecast_accuracy(
    classifier: BaseEstimator,
    X: Any,
    y: ArrayLike,
    n_shots: Sequence[int] | None = None,
    *,
    groups: ArrayLike | None = None,
) -> ShortBunch:
    r"""Forecast how accurate a classifier becomes with more photos per class.

    The classifier is fitted on 1, 2, 4, ... of the shots per class, and answers held-out shots. A
    learning curve that continues these accuracies gives the forecast and its interval.

    Read more in the :ref:`User Guide <guide_forecast>`.

    Parameters
    ----------
    classifier : classifier
        Classifier, or a Pipeline that begins with an encoder. It is cloned.

    X : sequence of images of length m, or array-like of shape (m, d)
        The shots, at least two per class, as the classifier takes them.

    y : array-like of shape (m,)
        Their labels.

    n_shots : sequence of int, default=None
        Numbers of shots per class to forecast. Classes with fewer shots are filled up to it, and the others
        stay as they are. If None, twice and four times the mean number of shots.

    groups : array-like of shape (m,), default=None
        Group of each shot, such as the object or the video that it shows. The shots of a group are
        held out together.

    Returns
    -------
    forecast : Bunch
        Dictionary-like object, with the attributes:

        n_shots : ndarray of shape (n,)
            Shots per class of the forecasts.
        accuracy, lower, upper : ndarray of shape (n,)
            Forecast accuracies, and their intervals of 80 %.
        now : tuple of (float, float, float)
            Accuracy with the present shots, and its interval.
        shots_now : float
            Present number of shots per class; the mean if it varies.
        measured_shots, measured_accuracy : ndarray of shape (n_levels,)
            Shots per class of the fits without held-out shots, and the held-out accuracies.
        classes : ndarray of shape (C,)
            The classes of `y`.
        class_gains : ndarray of shape (n, C)
            Expected gain in accuracy of each class. Classes with many errors and few shots gain most.

    Raises
    ------
    ValueError
        If there are too few shots, or `n_shots` are not positive.

    See Also
    --------
    sktip.inspection.ForecastDisplay : Plot the forecast.
    suggest_shots : Choose which photos to label next.
    check_class_names : Find class names that CLIP misreads.

    Notes
    -----
    Accuracy is that on photos of equally frequent classes if the shots are so. See the guide for the curve,
    its prior and its error.

    Examples
    --------
    >>> from sktip import FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import forecast_accuracy
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clf = FewShotClassifier("tiny", templates="the digit {}")
    >>> forecast = forecast_accuracy(clf, images[:60], labels[:60], n_shots=[12, 24])
    >>> bool(forecast.now[0] < forecast.accuracy[0] < forecast.accuracy[1])
    True
    """
    X, labels = check_samples(X, y, classifier)
    groups = check_groups(groups, len(labels))
    classes, codes = np.unique(labels, return_inverse=True)
    counts = np.bincount(codes)
    if counts.max() < 2:
        raise ValueError("each class has one shot; a forecast needs at least two per class.")
    if n_shots is None:
        n_shots = [round(2 * counts.mean()), round(4 * counts.mean())]
    targets = np.sort(check_array(n_shots, ensure_2d=False, dtype=np.float64, input_name="n_shots"))
    if targets.min() < 1:
        raise ValueError(f"n_shots={list(n_shots)} must be numbers of shots per class, from 1.")
    encoder, classifier = encoder_and_rest(classifier)
    if encoder is not None:
        X = encoder.transform(X)
    has_text = _has_text(classifier)
    places, right = _held_out_answers(classifier, X, labels, groups, has_text=has_text)
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    mean, covariance = fit_curve(places, right, units, has_text=has_text)
    shots = np.log2(1 + np.maximum(counts, np.append(targets, 0)[:, None]))
    (*accuracy, now), (*lower, low), (*upper, high) = read_curve(
        shots.mean(axis=1), mean, covariance
    )
    if right[:, -1].all():
        # Nothing speaks against an accuracy of 1.
        upper, high = [1.0] * len(targets), 1.0
    # Along the curve, from the held-out accuracy of each class.
    hits = np.bincount(codes, right[:, -1])
    logits = logit((hits + PSEUDO_PHOTOS * np.clip(now, 0.01, 0.99)) / (counts + PSEUDO_PHOTOS))
    rise = (curve_basis(shots[:-1]) - curve_basis(shots[-1])) @ mean
    return ShortBunch(
        n_shots=targets,
        accuracy=np.array(accuracy),
        lower=np.array(lower),
        upper=np.array(upper),
        now=(float(now), float(low), float(high)),
        shots_now=float(counts.mean()),
        measured_shots=2**places - 1,
        measured_accuracy=right.mean(axis=0),
        classes=classes,
        class_gains=expit(logits + rise) - expit(logits),
    )


def _has_text(classifier: BaseEstimator) -> bool:
    if not isinstance(classifier, BaseCLIPClassifier):
        return False
    if classifier.text_features is not None:
        return True
    encoder = classifier.encoder
    return encoder is not None and open_encoder(as_encoder(encoder)).text_block is not None


def _held_out_answers(
    classifier: BaseEstimator,
    X: Any,
    y: NDArray[Any],
    groups: NDArray[Any] | None,
    *,
    has_text: bool,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Levels, mean log2(1 + shots per class) (L,), and which shots are answered rightly, (m, L).

    All levels hold out the same folds, and are fitted on at most 1, 2, 4, ... of the other shots per class.
    """
    codes = np.unique(y, return_inverse=True)[1]
    splits = cv_splits(classifier, X, y, groups)
    rows, _ = comparable(X, normalised=isinstance(classifier, BaseCLIPClassifier))
    # A random order that depends on the content of the rows, not on their order.
    keys = rows @ np.random.default_rng(0).normal(size=rows.shape[1]) * 1e3 % 1
    ordered = []
    for train, _ in splits:
        order = train[np.lexsort((keys[train], codes[train]))]
        ordered.append((order, np.arange(len(order)) - np.searchsorted(codes[order], codes[order])))
    most = 1 + max(int(ranks.max()) for _, ranks in ordered)
    levels = [2**i for i in range(most.bit_length()) if 2**i < most]
    found = []
    if has_text and isinstance(classifier, FewShotClassifier):
        found.append((0.0, clone(with_all_classes(classifier, y)).fit().predict(X) == y))
    for level in (*levels, most):
        parts: Splits = [
            (order[ranks < level], part)
            for (order, ranks), (_, part) in zip(ordered, splits, strict=True)
        ]
        right = np.zeros(len(y), bool)
        for model, part in cross_fit(classifier, X, y, parts, groups=groups):
            right[part] = model.predict(_safe_indexing(X, part)) == y[part]
        shots = [np.bincount(codes[train], minlength=codes.max() + 1) for train, _ in parts]
        found.append((float(np.log2(1 + np.array(shots)).mean()), right))
    places, answers = zip(*found, strict=True)
    return np.array(places), np.array(answers).T
