"""Calibration: an offset for classes with few shots, and one factor for all logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.correction import fit_correction
from sktip._maths.text_prior.held_out import FoldModel, enough, even_weights
from sktip._maths.text_prior.means import KAPPA, Means, class_means
from sktip._maths.text_prior.softmax import most_probable_factor, most_probable_weights
from sktip._maths.text_prior.statistics import Statistics
from sktip._maths.text_prior.weights import Choice, believed_weight, discriminants, text_spread

#: Standard deviation of the logarithm of the offset, whose median is 1.
DEVIATION_OF_OFFSET = 1.0
#: Standard deviation of the logarithm of the factor, which multiplies logits of a fitted temperature.
DEVIATION_OF_FACTOR = 0.25
#: Smallest prior variance of the correction, for discriminants of weight 0.
LEAST_VARIANCE = 1e-12
#: Two folds are too few to score a correction: the logits that it corrects would come from models that
#: were fitted on the fold that is scored.
LEAST_FOLDS = 3
#: Whole classes are held out in this many groups, to stand for classes without shots.
LEAST_GROUPS, MOST_GROUPS = 2, 8
#: Held-out shots from which one or two numbers are estimated.
ENOUGH = 1000
#: No more shots than these are held out to estimate an offset.
MOST_HELD_OUT = 4000
#: The log-loss of CLIP's text logits on ordinary photos is smallest at about this factor, or below. A
#: larger one on the shots means that they are easier than the queries will be. The correction for this
#: is limited.
USUAL_FACTOR, LEAST_EASE = 1.2, 0.7
#: Standard deviation of the logarithm of that factor, whose median is 1.
DEVIATION_OF_TEXT_FACTOR = 0.5
#: Text and discriminants are partly redundant, so their sum is overconfident, and only held-out shots
#: show by how much. With none, the logits are multiplied by the first number. With as many as the
#: second, they are multiplied by its square root, and so on.
REDUNDANCY, FEW_HELD_OUT = 0.8, 10


def variances(means_weight: float, counts: NDArray[Any]) -> NDArray[Any]:
    """Prior variance (C,) of the coefficients of the correction.

    Its two terms are the uncertainty of the class means, and the error of one covariance for all
    classes.
    """
    believed = means_weight / (KAPPA + counts) + means_weight**2
    result: NDArray[Any] = np.maximum(believed, LEAST_VARIANCE)
    return result


def offset_of_uncertain_classes(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    *,
    statistics: Statistics,
    text: NDArray[Any],
    logit_scale: float,
    choice: Choice,
) -> NDArray[Any]:
    """Offsets (C,) of the logits, in proportion to the share of the prior in each class mean.

    The mean of a class with few shots fits its images less well than the means of other classes fit
    theirs, so the class loses to them. The size of the offset is learnt by holding out whole classes,
    in the same proportion as there are classes without shots, together with a fold of the others. If
    all classes have equally many shots, the offset is 0.
    """
    counts = statistics.counts
    of_prior = KAPPA / (KAPPA + counts)
    of_prior -= of_prior.min()
    if not of_prior.any():
        return of_prior
    present = np.flatnonzero(counts)
    share = 1 - len(present) / len(counts)
    n_groups = int(np.clip(np.ceil(1 / share), LEAST_GROUPS, MOST_GROUPS)) if share else 0
    groups = np.full(len(counts), -1)
    if n_groups:
        # Groups of about equally many shots. Ties are broken by the text features, not by the labels.
        order = np.lexsort((text[present].sum(axis=1), -counts[present]))
        groups[present[order]] = np.arange(len(present)) % n_groups
    n_folds, evenly = folds.max() + 1, even_weights(codes, weights, counts)
    logits: list[NDArray[Any]] = []
    uncertain, targets, told, absent, n_out = [], [], [], [], 0
    for i in range(max(n_folds, n_groups)):
        gone = (groups == i % n_groups)[codes] if n_groups else np.zeros(len(codes), bool)
        out = gone | (folds == i % n_folds) if n_folds > 1 else gone
        if out.all() or not out.any() or n_out > MOST_HELD_OUT:
            continue
        rest = Statistics.of(shots[~out], codes[~out], weights[~out], len(counts))
        means = class_means(rest, text)
        coef, intercept = discriminants(means, choice.shrinkage)
        # The covariance of the few shots that are left may be far too small, and their discriminants
        # too large.
        spread = text_spread(means, text, logit_scale)
        believed = believed_weight(means, choice.shrinkage, spread, rest.shots)
        asked = shots[out]
        logits.append(
            min(choice.means_weight, believed) * (asked @ coef[present].T + intercept[present])
            + choice.text_weight * logit_scale * (asked @ text[present].T)
        )
        shares = KAPPA / (KAPPA + rest.counts[present])
        uncertain.append(np.broadcast_to(shares, logits[-1].shape))
        targets.append(np.searchsorted(present, codes[out]))
        told.append(evenly[out])
        absent.append(gone[out])
        n_out += len(asked)
    if not logits:
        return of_prior
    weighed, missing = np.concatenate(told), np.concatenate(absent)
    if n_groups:
        # Queries are assumed to be spread evenly over classes with and without shots.
        total = weighed.sum()
        for part, frequency in ((missing, share), (~missing, 1 - share)):
            weighed[part] *= total * frequency / max(weighed[part].sum(), 1e-12)
    found, _ = most_probable_weights(
        [np.concatenate(logits), np.concatenate(uncertain)],
        np.concatenate(targets),
        weighed,
        np.diag([DEVIATION_OF_FACTOR**-2, DEVIATION_OF_OFFSET**-2]),
        np.ones(2),
    )
    # The offset is returned in units of the unscaled logits.
    result: NDArray[Any] = float(found[1] / found[0]) * of_prior
    return result


def confidence_factor(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    *,
    models: list[FoldModel],
    choice: Choice,
    statistics: Statistics,
    offsets: NDArray[Any],
    coef: NDArray[Any],
    intercept: NDArray[Any],
    believed: NDArray[Any],
    text_logits: NDArray[Any] | None,
) -> float:
    """Find the factor of all logits that makes their probabilities calibrated.

    Parameters
    ----------
    shots, codes, weights, folds : ndarray of shape (m, d), (m,), (m,) and (m,)
        The shots; codes are among the p classes that have shots.

    models : list of FoldModel
        The means without each fold.

    choice : Choice
        Weights and held-out logits.

    statistics : Statistics
        Counts, sums and moment of the shots.

    offsets : ndarray of shape (p,)
        Offsets of the classes with few shots.

    coef, intercept : ndarray of shape (p, d) and (p,)
        Final logits, before the factor.

    believed : ndarray of shape (p, d + 1)
        Coefficients without the correction, the intercept last.

    text_logits : ndarray of shape (p, d) or None
        Coefficients of CLIP's text logits, at CLIP's own scale.
    """
    present = np.flatnonzero(statistics.counts)
    sample = enough(folds, ENOUGH)
    evenly = even_weights(codes, weights, statistics.counts[present])[sample]
    features, targets = shots[sample], codes[sample]

    def deviation(logits: NDArray[Any]) -> float:
        return _deviation(logits, targets, evenly)

    factor, n_held_out = 1.0, 0.0
    whole = deviation(features @ coef.T + intercept)
    usual = plain = deviation(features @ believed[:, :-1].T + believed[:, -1])
    if models:
        # The temperature was chosen for models of fewer shots, and for logits without the correction,
        # which is scored on folds here. The final logits are more confident than those.
        n_held_out = float(weights.sum())
        held_out = choice.logits[sample].astype(np.float64) + offsets
        if len(models) < LEAST_FOLDS:
            whole = plain
        else:
            for model in models:
                out = model.out[sample]
                if out.any():
                    held_out[out] += _corrected(
                        model, shots, codes, weights, present=present, choice=choice
                    )
            factor = most_probable_factor(held_out, targets, evenly, DEVIATION_OF_FACTOR)
        # The prior assumes that the spread of logits grows with the root of the number of shots.
        grown = np.sqrt(statistics.shots / np.mean([model.shots for model in models]))
        # Held-out logits without a spread set no limit.
        usual = grown * deviation(held_out) or np.inf
    # The correction, and the step to all shots, must not add more than is usual to the spread.
    if whole:
        factor *= min(1.0, usual / whole)
    if text_logits is not None or not models:
        factor *= REDUNDANCY ** (FEW_HELD_OUT / (FEW_HELD_OUT + n_held_out))
    if text_logits is not None:
        factor *= _easy_shots_factor(features @ text_logits.T, targets, evenly)
    return factor


def _easy_shots_factor(
    text_logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> float:
    """Find the factor of all logits, at most 1, for shots that are easier than the queries.

    Studio photos, or means of several views, are easier to classify than everyday photos. Held-out
    shots cannot show this, since they are easy too. CLIP's text logits, which never saw the shots,
    can: on easy shots they are less confident than they could be.
    """
    found = most_probable_factor(text_logits, codes, weights, DEVIATION_OF_TEXT_FACTOR)
    return float(np.clip(USUAL_FACTOR / found, LEAST_EASE, 1))


def _corrected(
    model: FoldModel,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    *,
    present: NDArray[Any],
    choice: Choice,
) -> NDArray[Any]:
    """Correction of the held-out shots of one fold, learnt from the other folds."""
    means: Means = model.means
    white = (shots - means.centre) @ means.whitening(choice.shrinkage)
    rest = ~model.out
    correction = fit_correction(
        white[rest],
        codes[rest],
        weights[rest],
        choice.logits[rest],
        variances(choice.means_weight, means.counts[present]),
    )
    result: NDArray[Any] = white[model.out] @ correction.coef
    return result


def _deviation(logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]) -> float:
    """Compute the standard deviation over the wrong classes' logits, root mean square over shots."""
    n_classes, rows = logits.shape[1], np.arange(len(codes))
    if n_classes < 3:
        return 0.0
    centred = logits - logits.mean(axis=1, keepdims=True)
    own = centred[rows, codes]
    # Without the logit of the own class, the mean of the others is not 0.
    wrong = (centred**2).sum(axis=1) - own**2 - own**2 / (n_classes - 1)
    return float(np.sqrt(max(weights @ wrong, 0) / (weights.sum() * (n_classes - 1))))
