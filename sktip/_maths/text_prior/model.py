"""From shots, text and statistics of a pool to one linear classifier."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.correction import Correction, fit_correction
from sktip._maths.text_prior.folds import balanced_folds
from sktip._maths.text_prior.means import KAPPA, Means, class_means
from sktip._maths.text_prior.softmax import most_probable_weights
from sktip._maths.text_prior.statistics import Statistics

#: Shrinkages that are tried, the one that is believed in first.
SHRINKAGES = (0.85, 0.7, 0.5, 0.35, 0.2)
#: Belief in the discriminants of one shot per class: their spread in that of the text logits. It
#: grows with the square root of the shots, of which an unlabelled sample is a part.
SPREAD_OF_ONE_SHOT, PART_OF_A_SHOT = 0.45, 0.3
#: Spread of CLIP's text logits, in parts of the logit scale. It stands in where there is no text.
SPREAD_OF_TEXT = 0.03
#: Standard deviations of the logarithms of the temperature and of the discriminants' weight.
DEVIATION_OF_TEMPERATURE, DEVIATION_OF_WEIGHT = 0.5, 1.0
#: Text and discriminants tell partly the same. Where no shot can be held out that has both, their sum
#: is taken for so much less sure than the text's temperature makes it.
SHARED = 0.8
#: Logits of so many shots and classes are computed in single precision.
MANY = 2**22


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

    means : Means or None
        Prior and posterior of the class means; None without any sample.

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

    text_coef: NDArray
    means_coef: NDArray
    means_intercept: NDArray
    correction_coef: NDArray
    correction_intercept: NDArray
    means: Means | None
    text_weight: float
    means_weight: float
    shrinkage: float
    correction: Correction | None
    present: NDArray
    held_out_logits: NDArray
    folds: NDArray

    @property
    def coef(self) -> NDArray:
        """Coefficients (C, d) of the logits."""
        return self.text_coef + self.means_coef + self.correction_coef

    @property
    def intercept(self) -> NDArray:
        """Intercepts (C,) of the logits."""
        return self.means_intercept + self.correction_intercept

    def parts(self, queries: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Text, means and correction of queries (n, d), each (n, C)."""
        return (
            queries @ self.text_coef.T,
            queries @ self.means_coef.T + self.means_intercept,
            queries @ self.correction_coef.T + self.correction_intercept,
        )

    def shot_contributions(
        self, query: NDArray, code: int, shots: NDArray, codes: NDArray, weights: NDArray | None
    ) -> tuple[NDArray, NDArray]:
        """How far each shot moved the logit of one class for one query (d,).

        Given the predicted means, the weights and the responses, the logit is a sum over shots:
        what is left of it is the text and the mean that it predicts.

        Parameters
        ----------
        query : ndarray of shape (d,)
            Features of the query.

        code : int
            The class.

        shots, codes, weights : ndarray of shape (m, d), (m,) and (m,) or None
            As given to the fit.

        Returns
        -------
        through_means, through_correction : ndarray of shape (m,)
            The second adds up to the part of the correction, the first to the part of the means less
            what the prior mean of the class contributes.
        """
        if self.means is None or self.correction is None:
            return np.zeros(len(shots)), np.zeros(len(shots))
        weights = np.ones(len(shots)) if weights is None else weights
        whitening = self.means.whitening(self.shrinkage)
        white = (shots - self.means.centre) @ whitening
        asked = (query - self.means.centre) @ whitening
        mean = (self.means.posterior[code] - self.means.centre) @ whitening
        own = np.where(codes == code, weights, 0) / (KAPPA + self.means.counts[code])
        through_means = self.means_weight * own * (white @ (asked - mean / 2))
        through_correction = np.zeros(len(shots))
        for column in np.flatnonzero(self.present == code):
            # A shot of weight 0 has no response.
            basis, gain = self.correction.basis, self.correction.gain[:, column]
            similarity = white[weights > 0] @ basis @ (gain * (asked @ basis))
            responses = self.correction.responses[:, column]
            through_correction[weights > 0] = similarity * responses
        return through_means, through_correction


def fit_text_prior(
    shots: NDArray,
    codes: NDArray,
    weights: NDArray | None = None,
    *,
    text: NDArray | None,
    logit_scale: float,
    n_classes: int,
    pool: Statistics | None = None,
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

    pool : Statistics or None
        Statistics of unlabelled samples, by their responsibilities.
    """
    weights = np.ones(len(shots)) if weights is None else weights.astype(np.float64)
    counted = weights > 0
    shots, codes, weights = shots[counted], codes[counted], weights[counted]
    labelled = Statistics.of(shots, codes, weights, n_classes)
    unlabelled = Statistics.none(n_classes, shots.shape[1]) if pool is None else pool
    scaled = None if text is None else logit_scale * text.astype(np.float64)
    folds = balanced_folds(shots, codes)
    # Shots tell their own classes apart. That a class has none says nothing about queries.
    present = np.flatnonzero(labelled.counts)
    targets = np.searchsorted(present, codes)
    whole = labelled + unlabelled
    if whole.counts.sum() == 0:
        return _zero_shot(shots, scaled, n_classes)

    effective = _effective_shots(labelled, unlabelled)
    remaining = [
        labelled - Statistics.of(shots[out], codes[out], weights[out], n_classes)
        for out in (folds == fold for fold in range(folds.max(initial=-1) + 1))
    ]
    models = [
        class_means(left + unlabelled, text) if (left + unlabelled).counts.any() else None
        for left in remaining
    ]
    block = np.float32 if len(shots) * len(present) > MANY else np.float64
    text_logits = None
    if scaled is not None:
        text_logits = (shots @ scaled[present].T.astype(shots.dtype)).astype(block)
    spread = SPREAD_OF_TEXT * logit_scale
    means = class_means(whole, text)

    best_cost, chosen = np.inf, (SHRINKAGES[0], np.ones(2), 0.0, np.zeros((0, 0)))
    for shrinkage in SHRINKAGES:
        held_out = np.zeros((len(shots), len(present)), block)
        units = []
        for fold, (left, model) in enumerate(zip(remaining, models, strict=True)):
            if model is None:
                continue
            out = folds == fold
            coef, intercept = _discriminants(model, shrinkage)
            unit = _believed_weight(
                model, shrinkage, scaled, spread, _effective_shots(left, unlabelled)
            )
            held_out[out] = unit * (shots[out] @ coef[present].T + intercept[present])
            units.append(unit)
        if not units:
            units = [_believed_weight(means, shrinkage, scaled, spread, effective)]
        parts = [held_out] if text_logits is None else [text_logits, held_out]
        found, cost = most_probable_weights(
            parts, targets, weights, np.ones(len(parts)), _precision(len(parts))
        )
        if cost < best_cost - 1e-9 * abs(cost):
            logits = sum((float(w) * part for w, part in zip(found, parts, strict=True)), 0)
            best_cost, chosen = cost, (shrinkage, found, float(np.mean(units)), logits)
    shrinkage, found, unit, logits = chosen
    if text is not None and not any(models):
        found = SHARED * found
    text_weight = float(found[0]) if text is not None else 1.0
    alpha = float(found[-1]) * unit

    whitening = means.whitening(shrinkage)
    white = (shots - means.centre) @ whitening
    # As far as the means are uncertain, and as far as one covariance for all classes is wrong.
    variances = alpha / (KAPPA + means.counts[present]) + alpha**2
    correction = fit_correction(white, targets, weights, logits, variances)
    coef, intercept = _discriminants(means, shrinkage)
    correction_coef = np.zeros_like(coef)
    correction_coef[present] = (whitening @ correction.coef).T
    return TextPriorModel(
        text_coef=np.zeros_like(coef) if scaled is None else text_weight * scaled,
        means_coef=alpha * coef,
        means_intercept=alpha * intercept,
        correction_coef=correction_coef,
        correction_intercept=-correction_coef @ means.centre,
        means=means,
        text_weight=text_weight,
        means_weight=alpha,
        shrinkage=shrinkage,
        correction=correction,
        present=present,
        held_out_logits=logits,
        folds=folds,
    )


def _zero_shot(shots: NDArray, scaled: NDArray | None, n_classes: int) -> TextPriorModel:
    """Text alone."""
    nothing = np.zeros((n_classes, shots.shape[1])), np.zeros(n_classes)
    text = nothing[0] if scaled is None else scaled
    return TextPriorModel(
        text, *nothing, *nothing, None, 1.0, 0.0, SHRINKAGES[0], None,
        np.zeros(0, np.intp), np.zeros((0, 0)), np.zeros(0, np.intp),
    )  # fmt: skip


def _effective_shots(labelled: Statistics, unlabelled: Statistics) -> float:
    return labelled.shots + PART_OF_A_SHOT * float(np.median(unlabelled.counts))


def _discriminants(means: Means, shrinkage: float) -> tuple[NDArray, NDArray]:
    """Coefficients and intercepts of ``(x - centre) P (mu_c - centre) - |mu_c - centre|_P^2 / 2``."""
    whitening = means.whitening(shrinkage)
    white = (means.posterior - means.centre) @ whitening
    coef = white @ whitening.T
    return coef, -coef @ means.centre - (white**2).sum(axis=1) / 2


def _believed_weight(
    means: Means, shrinkage: float, scaled: NDArray | None, spread: float, shots: float
) -> float:
    """Weight at which the discriminants spread as is believed of so many shots per class.

    The spread is that between the wrong classes of a sample drawn from the model.
    """
    values = means.values / means.shrunken(shrinkage)
    whitening = means.whitening(shrinkage)
    white = (means.posterior - means.centre) @ whitening
    own = _spread(white @ white.T - (white**2).sum(axis=1) / 2, white * np.sqrt(values))
    if scaled is not None:
        noise = scaled @ (means.vectors * np.sqrt(means.values))
        spread = _spread(means.posterior @ scaled.T, noise)
    return SPREAD_OF_ONE_SHOT * np.sqrt(shots) * spread / own if own > 0 else 0.0


def _spread(logits: NDArray, noise: NDArray) -> float:
    """Standard deviation between wrong classes, of logits (C, C) of the means and of the noise."""
    n_classes = len(logits)
    if n_classes == 2:
        difference = noise[0] - noise[1]
        return float(np.sqrt(difference @ difference / 2))
    wrong = ~np.eye(n_classes, dtype=bool)
    competing = logits[wrong].reshape(n_classes, -1)
    return float(np.sqrt(competing.var(axis=1).mean() + noise.var(axis=0).sum()))


def _precision(n_parts: int) -> NDArray:
    """Of the belief: the discriminants' weight is relative to the temperature, which is that of the text."""
    weight = DEVIATION_OF_WEIGHT**-2.0
    if n_parts == 1:
        return np.array([[weight]])
    temperature = DEVIATION_OF_TEMPERATURE**-2.0
    return np.array([[temperature + weight, -weight], [-weight, weight]])
