"""Predict the probabilities of held-out shots."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import has_fit_parameter

from sktip._maths.label_beliefs import right_labels
from sktip._utils.labels import check_groups, codes_of
from sktip.model_selection._cross_fit import check_samples, cross_fit, cv_splits, encoder_and_rest


def held_out_proba(
    estimator: BaseEstimator,
    X: Any,
    y: ArrayLike,
    *,
    cv: int | BaseCrossValidator | Iterable | None = None,
    groups: ArrayLike | None = None,
    label_noise: float = 0.0,
) -> NDArray[np.float64]:
    r"""Predict the probabilities of each held-out shot, to find wrong labels or to calibrate.

    Each shot is predicted by a classifier that was fitted without it. Pass the probabilities to
    cleanlab to find wrong labels. Images are encoded once. Unlike in scikit-learn's
    `cross_val_predict`, copies of a shot are held out together, and a class whose only shot is held
    out is still known by its text.

    Read more in the :ref:`User Guide <guide_wrong_labels>`.

    Parameters
    ----------
    estimator : classifier
        Classifier with `predict_proba`, or a Pipeline that begins with an encoder. It is cloned, and
        everything that its `fit` chooses is chosen again in each fold.

    X : sequence of images of length m, or array-like of shape (m, d)
        The shots, as the classifier takes them.

    y : array-like of shape (m,)
        Labels of the shots.

    cv : int, cross-validation generator or iterable, default=None
        Which shots are held out together; each shot must be in one fold. An int is the number of folds,
        with an equal part of the shots of every class in each; None is four. Copies of a shot are then
        in one fold.

    groups : array-like of shape (m,), default=None
        Group of each shot, such as the object or the video that it shows. The shots of a group are
        held out together. A classifier whose `fit` takes `groups` gets them too.

    label_noise : float, default=0.0
        Expected share of wrong labels, below 1. If positive, all folds are fitted a second time, with
        each shot weighted by the probability that its label is right, so that wrong labels do less
        harm. The classifier must take `sample_weight`.

    Returns
    -------
    probabilities : ndarray of shape (m, C)
        A row for each shot. Columns follow the sorted classes, including classes that are only in
        `class_names`.

    Raises
    ------
    ValueError
        If a class cannot be held out, if a shot is in no fold or in several, or if the classifier
        does not take the weights that `label_noise` needs.

    See Also
    --------
    sklearn.model_selection.cross_val_predict : Predict held-out samples with stratified folds.
    check_class_names : Find class names that CLIP misreads.
    suggest_shots : Choose which photos to label next.

    Notes
    -----
    The weight of a shot is :math:`(1 - \epsilon) p / ((1 - \epsilon) p + \epsilon / C)`, where p is
    the predicted probability of its label. It is the probability that the label is right, if a share
    :math:`\epsilon` of the labels is wrong and drawn from all C classes at random.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import held_out_proba
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> X, y = CLIPFeatureTransformer("tiny").transform(images[:100]), labels[:100].copy()
    >>> str(y[7])
    'seven'
    >>> y[7] = "two"
    >>> clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), input="features")
    >>> probabilities = held_out_proba(clf, X, y)
    >>> codes = np.searchsorted(np.unique(y), y)
    >>> int(probabilities[np.arange(100), codes].argmin())
    7
    """
    if not 0 <= label_noise < 1:
        raise ValueError(
            f"label_noise={label_noise!r} must be a share of labels, from 0 to below 1."
        )
    X, labels = check_samples(X, y, estimator)
    groups = check_groups(groups, len(labels))
    encoder, classifier = encoder_and_rest(estimator)
    if label_noise and not has_fit_parameter(classifier, "sample_weight"):
        raise ValueError(
            f"label_noise={label_noise!r} weights the shots, but {type(classifier).__name__} does not take "
            "sample_weight. Set label_noise to 0, or use another classifier."
        )
    if encoder is not None:
        X = encoder.transform(X)
    splits = cv_splits(classifier, X, labels, groups, cv=cv)
    rows = np.concatenate([np.empty(0, np.intp), *(part for _, part in splits)])
    times = np.bincount(rows, minlength=len(labels))
    odd = np.flatnonzero(times != 1)
    if len(odd):
        raise ValueError(
            f"cv holds out shot {odd[0]} {times[odd[0]]} times ({len(odd)} such shots in all); hold out each shot "
            "once."
        )

    def predict(**weights: Any) -> tuple[NDArray[np.float64], NDArray[Any]]:
        found, classes = [], labels
        for model, part in cross_fit(classifier, X, labels, splits, groups=groups, **weights):
            found.append(model.predict_proba(_safe_indexing(X, part)))
            classes = model.classes_
        return np.concatenate(found)[np.argsort(rows)], classes

    probabilities, classes = predict()
    if label_noise:
        of_label = probabilities[np.arange(len(labels)), codes_of(labels, classes)]
        # Above 0, so that no class is lost.
        weights = np.maximum(right_labels(of_label, label_noise, len(classes)), 1e-3)
        probabilities, _ = predict(sample_weight=weights)
    return probabilities
