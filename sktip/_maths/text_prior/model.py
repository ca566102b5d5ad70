"""From shots and text to one linear classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.correction import Correction, fit_correction
from sktip._maths.text_prior.folds import balanced_folds
from sktip._maths.text_prior.means import KAPPA, Means, class_means
from sktip._maths.text_prior.statistics import Statistics
from sktip._maths.text_prior.weights import choose_weights, discriminants

#: Prior variance of a correction of discriminants that say nothing.
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True)
class TextPriorModel:
    """A fitted classifier: its logits are ``X @ coef.T + intercept``, the sum of three linear parts.

    Parameters
    ----------
    text_coef : ndarray of shape (C, d)
        Coefficients of the text part; its intercept is 0.

    means_coef, means_intercept : ndarray of shape (C, d) and (C,)
        Of the discriminants of the class means.

    correction_coef, correction_intercept : ndarray of shape (C, d) and (C,)
        Of the correction.

    statistics : Statistics
        Counts, sums and moment of the shots.

    means : Means or None
        Prior and posterior of the class means; None without shots.

    text_weight : float
        Factor of the text logits.

    means_weight : float
        Factor of the discriminants, alpha.

    shrinkage : float
        Of the covariance.

    correction : Correction or None
        The correction in whitened features; None without shots.

    present : ndarray of shape (p,)
        Codes of the classes that have shots; the correction knows no others.

    held_out_logits : ndarray of shape (m, p)
        First two parts of these classes for each shot, without its fold.

    folds : ndarray of shape (m,)
        Fold of each shot.
    """

    text_coef: NDArray[Any]
    means_coef: NDArray[Any]
    means_intercept: NDArray[Any]
    correction_coef: NDArray[Any]
    correction_intercept: NDArray[Any]
    statistics: Statistics
    means: Means | None
    text_weight: float
    means_weight: float
    shrinkage: float
    correction: Correction | None
    present: NDArray[Any]
    held_out_logits: NDArray[Any]
    folds: NDArray[Any]

    @property
    def coef(self) -> NDArray[Any]:
        """Coefficients (C, d) of the logits."""
        result: NDArray[Any] = self.text_coef + self.means_coef + self.correction_coef
        return result

    @property
    def intercept(self) -> NDArray[Any]:
        """Intercepts (C,) of the logits."""
        result: NDArray[Any] = self.means_intercept + self.correction_intercept
        return result

    def parts(self, queries: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Text, means and correction of queries (n, d), each (n, C)."""
        return (
            queries @ self.text_coef.T,
            queries @ self.means_coef.T + self.means_intercept,
            queries @ self.correction_coef.T + self.correction_intercept,
        )


def fit_text_prior(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    *,
    text: NDArray[Any] | None,
    logit_scale: float,
    n_classes: int,
) -> TextPriorModel:
    """Fit the classifier; every weight is chosen on held-out shots, with a belief.

    Parameters
    ----------
    shots : ndarray of shape (m, d)
        Unit features of the shots; m may be 0.

    codes : ndarray of shape (m,)
        Their class codes.

    weights : ndarray of shape (m,) or None
        Weight of each: a weight of 2 is the shot given twice, 0 is no shot.

    text : ndarray of shape (C, d) or None
        Unit text features.

    logit_scale : float
        Scale of the text logits.

    n_classes : int
        Number of classes C.
    """
    weights = np.ones(len(shots)) if weights is None else weights.astype(np.float64)
    counted = weights > 0
    shots, codes, weights = shots[counted], codes[counted], weights[counted]
    statistics = Statistics.of(shots, codes, weights, n_classes)
    scaled = (
        np.zeros_like(statistics.sums) if text is None else logit_scale * text.astype(np.float64)
    )
    folds = balanced_folds(shots, codes)
    present = np.flatnonzero(statistics.counts)
    if not len(shots):
        return _zero_shot(scaled, statistics)

    means = class_means(statistics, text)
    choice = choose_weights(
        shots,
        codes,
        weights,
        folds,
        text=text,
        logit_scale=logit_scale,
        means=means,
        statistics=statistics,
    )
    alpha = choice.means_weight
    whitening = means.whitening(choice.shrinkage)
    white = (shots - means.centre) @ whitening
    # As far as the means are uncertain, and as far as one covariance for all classes is wrong.
    variances = np.maximum(alpha / (KAPPA + means.counts[present]) + alpha**2, LEAST_VARIANCE)
    correction = fit_correction(
        white, np.searchsorted(present, codes), weights, choice.logits, variances
    )
    coef, intercept = discriminants(means, choice.shrinkage)
    correction_coef = np.zeros_like(coef)
    correction_coef[present] = (whitening @ correction.coef).T
    return TextPriorModel(
        text_coef=choice.text_weight * scaled,
        means_coef=alpha * coef,
        means_intercept=alpha * intercept,
        correction_coef=correction_coef,
        correction_intercept=-correction_coef @ means.centre,
        statistics=statistics,
        means=means,
        text_weight=choice.text_weight,
        means_weight=alpha,
        shrinkage=choice.shrinkage,
        correction=correction,
        present=present,
        held_out_logits=choice.logits,
        folds=folds,
    )


def _zero_shot(scaled: NDArray[Any], statistics: Statistics) -> TextPriorModel:
    """Text alone."""
    nothing = np.zeros_like(scaled), np.zeros(len(scaled))
    none = np.zeros(0, np.intp)
    return TextPriorModel(
        text_coef=scaled,
        means_coef=nothing[0],
        means_intercept=nothing[1],
        correction_coef=nothing[0],
        correction_intercept=nothing[1],
        statistics=statistics,
        means=None,
        text_weight=1.0,
        means_weight=0.0,
        shrinkage=1.0,
        correction=None,
        present=none,
        held_out_logits=np.zeros((0, 0)),
        folds=none,
    )
