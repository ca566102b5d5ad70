"""From shots and text to one linear classifier."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.confidence import (
    ENOUGH,
    confidence_factor,
    easy_shots_factor,
    offset_of_uncertain_classes,
    variances,
)
from sktip._maths.text_prior.correction import Correction, fit_correction
from sktip._maths.text_prior.folds import balanced_folds
from sktip._maths.text_prior.held_out import FoldModel, enough, fold_models
from sktip._maths.text_prior.labels import label_beliefs
from sktip._maths.text_prior.means import Means, class_means
from sktip._maths.text_prior.statistics import Statistics
from sktip._maths.text_prior.weights import Choice, choose_weights, discriminants


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

    offsets : ndarray of shape (C,)
        What `means_intercept` has more than the discriminants, for classes whose means are uncertain.

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

    factor : float
        What all logits, the two weights and the correction are multiplied with, so that they are as
        confident as held-out shots, and easy shots, allow.

    correction : Correction or None
        The correction in whitened features; None without shots.

    present : ndarray of shape (p,)
        Codes of the classes that have shots; the correction knows no others.

    held_out_logits : ndarray of shape (m, p)
        First two parts of these classes for each shot, without its fold and without `factor`.

    folds : ndarray of shape (m,)
        Fold of each shot.

    weights : ndarray of shape (m,)
        Weight of each shot given, times the probability that its label is right; held-out logits and
        folds leave out those of weight 0.
    """

    text_coef: NDArray[Any]
    means_coef: NDArray[Any]
    means_intercept: NDArray[Any]
    correction_coef: NDArray[Any]
    correction_intercept: NDArray[Any]
    offsets: NDArray[Any]
    statistics: Statistics
    means: Means | None
    text_weight: float
    means_weight: float
    shrinkage: float
    factor: float
    correction: Correction | None
    present: NDArray[Any]
    held_out_logits: NDArray[Any]
    folds: NDArray[Any]
    weights: NDArray[Any]

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
    groups: NDArray[Any] | None = None,
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

    groups : ndarray of shape (m,), int, or None
        Group of each, numbered from 0; shots of a group share a fold.

    text : ndarray of shape (C, d) or None
        Unit text features.

    logit_scale : float
        Scale of the text logits.

    n_classes : int
        Number of classes C.
    """
    weights = np.ones(len(shots)) if weights is None else weights.astype(np.float64)
    scaled = np.zeros((n_classes, shots.shape[1]))
    if text is not None:
        scaled = logit_scale * text.astype(np.float64)
    if not weights.any():
        return _zero_shot(scaled, np.zeros(len(shots)))
    first_stage = partial(
        _first_stage,
        shots,
        codes,
        groups=groups,
        text=text,
        logit_scale=logit_scale,
        size=n_classes,
    )
    stage = first_stage(weights)
    rows = stage.rows
    targets = np.searchsorted(stage.present, codes[rows])
    asked = enough(stage.folds, ENOUGH)
    beliefs = label_beliefs(stage.choice.logits, targets, weights[rows], asked)
    if beliefs is not None:
        weights = weights.copy()
        weights[rows] *= beliefs
        stage = first_stage(weights)
    return _second_stage(
        shots, codes, weights, stage, text=text, scaled=scaled, logit_scale=logit_scale
    )


@dataclass(frozen=True)
class _Stage:
    """Means and weights, before the correction."""

    rows: NDArray[Any]
    folds: NDArray[Any]
    statistics: Statistics
    present: NDArray[Any]
    means: Means
    models: list[FoldModel]
    choice: Choice


def _first_stage(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    *,
    groups: NDArray[Any] | None,
    text: NDArray[Any] | None,
    logit_scale: float,
    size: int,
) -> _Stage:
    """Means of the classes, and the weights of text and discriminants; `size` is C."""
    rows = np.flatnonzero(weights)
    shots, codes, weights = shots[rows], codes[rows], weights[rows]
    statistics = Statistics.of(shots, codes, weights, size)
    folds = balanced_folds(shots, codes, None if groups is None else groups[rows])
    means = class_means(statistics, text)
    models = fold_models(shots, codes, weights, folds, statistics=statistics, text=text)
    choice = choose_weights(
        shots,
        codes,
        weights,
        folds,
        text=text,
        logit_scale=logit_scale,
        models=models,
        means=means,
        statistics=statistics,
    )
    present = np.flatnonzero(statistics.counts)
    return _Stage(rows, folds, statistics, present, means, models, choice)


def _second_stage(
    shots: NDArray[Any],
    codes: NDArray[Any],
    all_weights: NDArray[Any],
    stage: _Stage,
    *,
    text: NDArray[Any] | None,
    scaled: NDArray[Any],
    logit_scale: float,
) -> TextPriorModel:
    """Correction, offsets of uncertain classes and confidence."""
    shots, codes, weights = shots[stage.rows], codes[stage.rows], all_weights[stage.rows]
    means, present, choice, folds = stage.means, stage.present, stage.choice, stage.folds
    targets, alpha = np.searchsorted(present, codes), choice.means_weight
    whitening = means.whitening(choice.shrinkage)
    white = (shots - means.centre) @ whitening
    correction = fit_correction(
        white, targets, weights, choice.logits, variances(alpha, means.counts[present])
    )
    coef, intercept = discriminants(means, choice.shrinkage)
    correction_coef = np.zeros_like(coef)
    correction_coef[present] = (whitening @ correction.coef).T
    correction_intercept = -correction_coef @ means.centre
    offsets = np.zeros(len(coef))
    if text is not None:
        offsets = offset_of_uncertain_classes(
            shots,
            codes,
            weights,
            folds,
            statistics=stage.statistics,
            text=text,
            logit_scale=logit_scale,
            choice=choice,
        )
    first_coef = choice.text_weight * scaled + alpha * coef
    first_intercept = alpha * intercept + offsets
    factor = confidence_factor(
        shots,
        targets,
        weights,
        folds,
        models=stage.models,
        choice=choice,
        statistics=stage.statistics,
        offsets=offsets[present],
        coef=(first_coef + correction_coef)[present],
        intercept=(first_intercept + correction_intercept)[present],
        believed=np.column_stack([first_coef, first_intercept])[present],
    )
    if text is not None:
        factor *= easy_shots_factor(
            shots,
            targets,
            weights,
            folds,
            text_logits=scaled[present],
            counts=means.counts[present],
        )
    return TextPriorModel(
        text_coef=factor * choice.text_weight * scaled,
        means_coef=factor * alpha * coef,
        means_intercept=factor * first_intercept,
        correction_coef=factor * correction_coef,
        correction_intercept=factor * correction_intercept,
        offsets=factor * offsets,
        statistics=stage.statistics,
        means=means,
        text_weight=factor * choice.text_weight,
        means_weight=factor * alpha,
        shrinkage=choice.shrinkage,
        factor=factor,
        correction=replace(
            correction,
            coef=factor * correction.coef,
            responses=factor * correction.responses,
        ),
        present=present,
        held_out_logits=choice.logits,
        folds=folds,
        weights=all_weights,
    )


def _zero_shot(scaled: NDArray[Any], weights: NDArray[Any]) -> TextPriorModel:
    """Text alone; `weights` (m,) are all 0."""
    nothing = np.zeros_like(scaled), np.zeros(len(scaled))
    none = np.zeros(0, np.intp)
    statistics = Statistics.of(scaled[:0], none, np.zeros(0), len(scaled))
    return TextPriorModel(
        text_coef=scaled,
        means_coef=nothing[0],
        means_intercept=nothing[1],
        correction_coef=nothing[0],
        correction_intercept=nothing[1],
        offsets=nothing[1],
        statistics=statistics,
        means=None,
        text_weight=1.0,
        means_weight=0.0,
        shrinkage=1.0,
        factor=1.0,
        correction=None,
        present=none,
        held_out_logits=np.zeros((0, 0)),
        folds=none,
        weights=weights,
    )
