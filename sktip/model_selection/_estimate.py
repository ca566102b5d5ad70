"""How accurate a classifier is on photos without labels, and whether they resemble the shots."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, kstwo
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from sktip._base import Shots
from sktip._few_shot import FewShotClassifier
from sktip._maths.learning_curve import COVERAGE
from sktip._maths.unit import unit_norm
from sktip._split_encoder import split_encoder, takes_images
from sktip._utils.bunch import ShortBunch
from sktip.model_selection._cross_fit import cross_fit, cv_splits

#: Share of alarms if nothing changed.
FALSE_ALARMS = 0.05


def estimate_accuracy(classifier: BaseEstimator, X_unlabeled: Any) -> ShortBunch:
    r"""Estimate the accuracy on photos without labels, and test whether they resemble the shots.

    Read more in the :ref:`User Guide <guide_estimate>`.

    Parameters
    ----------
    classifier : FewShotClassifier or Pipeline
        A fitted `~sktip.FewShotClassifier`, or a Pipeline of an encoder and one.

    X_unlabeled : sequence of images of length n, or array-like of shape (n, d)
        Photos that show the classes, as the classifier takes them.

    Returns
    -------
    estimate : Bunch
        Dictionary-like object, with the attributes:

        accuracy : float
            Expected share of right predictions among the photos that show one of the classes.
        lower, upper : float
            Interval of 80 %.
        drift : bool
            Whether the photos differ from the shots: alarm. Then do not rely on the accuracy. If
            nothing changed, at most one set of photos in twenty raises it.
        p_value : float
            Of the test. `drift` is ``p_value < 0.05``.
        class_shares : ndarray of shape (C,)
            Estimated share of each class, in the order of ``classifier.classes_``.

    Raises
    ------
    ValueError
        If the classifier is not a `~sktip.FewShotClassifier`, or was fitted without shots.

    See Also
    --------
    forecast_accuracy : Forecast the accuracy with more shots.
    sktip.RejectUnknown : Find the photos that show none of the classes.

    Notes
    -----
    The accuracy is the mean probability of the predicted classes, where the probabilities are those of
    the classifier, times the class shares. Its error has two parts: which photos they are, and the calibration
    of the classifier, which is as uncertain as an accuracy that is counted on its shots. The shots of a group count
    as one.

    The test compares held-out shots with the photos, in two scores that no label enters: the largest
    logit, and the cosine to the nearest class mean. Each shot is ranked among the photos by the classifier that
    has not seen it, and counts as much as the share of its class, so that other class shares raise no alarm. The
    smaller p-value of two Kolmogorov-Smirnov tests is doubled.

    Examples
    --------
    >>> from sktip import FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import estimate_accuracy
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clf = FewShotClassifier("tiny", templates="the digit {}").fit(images[:100], labels[:100])
    >>> new = images[100:300]
    >>> estimate = estimate_accuracy(clf, new)
    >>> bool(estimate.lower < clf.score(new, labels[100:300]) < estimate.upper), estimate.drift
    (True, False)
    >>> estimate_accuracy(clf, 255 - new).drift
    True
    """
    check_is_fitted(classifier)
    encoder, model = split_encoder(classifier, optional=True)
    if not isinstance(model, FewShotClassifier):
        raise ValueError(
            "estimate_accuracy needs a FewShotClassifier, whose probabilities are calibrated; got "
            f"{type(model).__name__}."
        )
    shots = Shots.kept_by(model)
    if len(shots.codes) < 2:
        raise ValueError(
            "the classifier was fitted without shots, so that there is nothing to compare with."
        )
    X = encoder.transform(X_unlabeled) if takes_images(classifier) else X_unlabeled
    classes, n_classes = model.classes_, len(model.classes_)
    probabilities, y = model.predict_proba(X), model.classes_[shots.codes]
    features = np.asarray(X, np.float32)
    text = model.text_features_
    # The same classifier without encoder, for photos of equally frequent classes.
    plain = clone(model).set_params(
        encoder=None,
        blocks=model.__sktip_head__().numbers.get("widths"),
        text_features=text,
        class_names=None if text is None else {label: str(label) for label in classes.tolist()},
        logit_scale=model.logit_scale_,
        priors="uniform",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "neither `encoder` nor")
        warnings.filterwarnings("ignore", "X_unlabeled: ")
        shares = clone(plain).fit(
            shots.features, y, shots.weights, X_unlabeled=features, groups=shots.groups
        )
        held_out, ranks = _held_out(plain, shots, y, features)
        even = clone(plain).fit(shots.features, y, shots.weights, groups=shots.groups)
    adapted = even.predict_proba(features) * shares.class_shares_
    adapted /= adapted.sum(axis=1, keepdims=True)
    right = adapted[np.arange(len(adapted)), probabilities.argmax(axis=1)]
    # Each class of the shots counts as often as among the photos, and the shots of a group vary together.
    counts = np.bincount(shots.codes, minlength=n_classes)
    weights = (shares.class_shares_ / np.maximum(counts, 1))[shots.codes]
    weights /= weights.sum()
    groups = np.arange(len(y)) if shots.groups is None else shots.groups
    n_shots = 1 / (np.bincount(np.unique(groups, return_inverse=True)[1], weights) ** 2).sum()
    # The probabilities were calibrated on the shots, and are as uncertain as an accuracy that is counted on them.
    counted = (right.mean() * n_shots + 0.5) / (n_shots + 1)
    spread = counted * (1 - counted)
    variance = spread / n_shots + np.mean(right * (1 - right)) / len(right)
    # The beta distribution with this mean and variance.
    size = max(spread / variance - 1, 1e-3)
    lower, upper = beta.ppf(
        [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], counted * size, (1 - counted) * size
    )
    # The accuracy on n photos is a multiple of 1 / n.
    step = 1 / (2 * len(right))
    lower, upper = max(lower - step, 0.0), min(upper + step, 1.0)
    if (held_out.argmax(axis=1) == shots.codes).all():
        # Nothing speaks against an accuracy of 1.
        upper = 1.0
    p_value = min(
        1.0, len(ranks) * min(_p_value(r, weights, n_shots, len(features)) for r in ranks)
    )
    return ShortBunch(
        accuracy=float(right.mean()),
        lower=float(lower),
        upper=float(upper),
        drift=p_value < FALSE_ALARMS,
        p_value=p_value,
        class_shares=shares.class_shares_,
    )


def _held_out(
    plain: FewShotClassifier, shots: Any, y: NDArray[Any], features: NDArray[np.float32]
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Probabilities of held-out shots, and the rank of each among the photos, for both scores."""
    splits = cv_splits(plain, shots.features, y, shots.groups)
    weights = {"sample_weight": shots.weights, "groups": shots.groups}
    probabilities: Any = None
    ranks = np.zeros((2, len(y)))
    for model, part in cross_fit(plain, shots.features, y, splits, **weights):
        proba = model.predict_proba(shots.features[part])
        if probabilities is None:
            probabilities = np.zeros((len(y), proba.shape[1]))
        probabilities[part] = proba
        scores = zip(_scores(model, shots.features[part]), _scores(model, features), strict=True)
        for row, (mine, new) in zip(ranks, scores, strict=True):
            others = np.sort(new)
            places = np.searchsorted(others, mine) + np.searchsorted(others, mine, "right")
            row[part] = places / (2 * len(others))
    return probabilities, list(ranks)


def _scores(model: FewShotClassifier, X: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the largest logit, and the cosine to the nearest class mean."""
    X, means = unit_norm(X), unit_norm(np.asarray(model.class_means_))
    logits = model.__sktip_head__().prepared(X.dtype)(X)
    return logits.max(axis=1), (X @ means.T).max(axis=1)


def _p_value(ranks: NDArray[Any], weights: NDArray[Any], n_samples: float, n_others: int) -> float:
    """Two-sample Kolmogorov-Smirnov test from the ranks, in (0, 1), of weighted samples among others.

    The weights sum to 1, and tell as much as `n_samples` independent samples.
    """
    order = np.argsort(ranks, kind="stable")
    share = weights[order]
    steps = np.cumsum(share)
    distance = np.maximum(steps - ranks[order], ranks[order] - steps + share).max()
    size = 1 / (1 / n_samples + 1 / n_others)
    return float(kstwo.sf(distance, max(1, round(size))))
