"""How confident the whole is: an offset for classes that are hardly known, and one factor for all logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.correction import fit_correction
from sktip._maths.text_prior.held_out import FoldModel, enough, even_weights
from sktip._maths.text_prior.means import KAPPA, Means, class_means
from sktip._maths.text_prior.softmax import most_probable_weights
from sktip._maths.text_prior.statistics import Statistics
from sktip._maths.text_prior.weights import Choice, believed_weight, discriminants, text_spread

#: Standard deviation of the logarithm of the offset, whose median is 1.
DEVIATION_OF_OFFSET = 1.0
#: Standard deviation of the logarithm of the factor, which multiplies logits of a fitted temperature.
DEVIATION_OF_FACTOR = 0.25
#: Prior variance of a correction of discriminants that say nothing.
LEAST_VARIANCE = 1e-12
#: Two folds tell nothing of a correction: the logits that it corrects come from the very fold that
#: is scored.
LEAST_FOLDS = 3
#: Classes without shots are imitated by leaving out whole classes, in so many groups.
LEAST_GROUPS, MOST_GROUPS = 2, 8
#: Held-out shots that one or two numbers are found on.
ENOUGH = 1000
#: More shots than these are not held out for an offset.
MOST_HELD_OUT = 4000
#: CLIP's own text logits are about as confident as they should be on photos. Where shots allow a factor
#: above this, they are easier than the photos to come; how much easier they may be has a limit.
USUAL_FACTOR, LEAST_EASE = 1.2, 0.7
#: Standard deviation of the logarithm of that factor, whose median is 1.
DEVIATION_OF_TEXT_FACTOR = 0.5


def variances(means_weight: float, counts: NDArray[Any]) -> NDArray[Any]:
    """Prior variance (C,) of the coefficients of the correction.

    As far as the means are uncertain, and as far as one covariance for all classes is wrong.
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

    The mean of a class with few shots fits its images less well than those of the others do, and the
    class loses to them. By how much is learnt by leaving out whole classes, as many as have no
    shots, together with a fold of the others. Where all classes have as many shots there is nothing
    to offset.
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
        # Of each group about as many shots; equal counts are told apart by the texts' own order.
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
        # Few shots may be left, whose covariance is far too small and whose discriminants are too large.
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
        # Queries of classes without shots are as frequent as these classes.
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
    # The logits keep their scale here, and the offset is in their units.
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
) -> float:
    """Find the factor of all logits that the shots' held-out logits ask for.

    Two things make the whole more confident than the held-out logits whose temperature was chosen:
    the correction, which is judged on folds here, and the step from fewer shots to all.

    Parameters
    ----------
    shots, codes, weights, folds : ndarray of shape (m, d), (m,), (m,) and (m,)
        The shots; codes are among the p classes that have shots.

    models : list of FoldModel
        The means without each fold.

    choice : Choice
        Weights and held-out logits.

    statistics : Statistics
        Of the shots.

    offsets : ndarray of shape (p,)
        Of uncertain classes.

    coef, intercept : ndarray of shape (p, d) and (p,)
        Of the whole.

    believed : ndarray of shape (p, d + 1)
        Of the whole without the correction, the intercept last.
    """
    present = np.flatnonzero(statistics.counts)
    counts = statistics.counts[present]
    asked = enough(folds, ENOUGH)
    evenly = even_weights(codes, weights, counts)[asked]
    features, codes_asked = shots[asked], codes[asked]

    def deviation(logits: NDArray[Any]) -> float:
        return _deviation(logits, codes_asked, evenly)

    plain = features @ believed[:, :-1].T + believed[:, -1]
    if not models:
        # Nothing was held out. The spread is the one believed in, and the correction adds none.
        whole, usual = deviation(features @ coef.T + intercept), deviation(plain)
        return min(1.0, usual / whole) if whole else 1.0
    held_out = choice.logits[asked].astype(np.float64) + offsets
    factor, whole = 1.0, deviation(plain)
    if len(models) >= LEAST_FOLDS:
        whole = deviation(features @ coef.T + intercept)
        for model in models:
            out = model.out[asked]
            if out.any():
                held_out[out] += _corrected(
                    model, shots, codes, weights, present=present, choice=choice
                )
        precision = np.array([[DEVIATION_OF_FACTOR**-2]])
        found, _ = most_probable_weights([held_out], codes_asked, evenly, precision, np.ones(1))
        factor = float(found[0])
    # As believed, logits spread with the root of the shots.
    grown = np.sqrt(statistics.shots / np.mean([model.shots for model in models]))
    usual = grown * deviation(held_out)
    return factor * min(1.0, usual / whole) if usual and whole else factor


def easy_shots_factor(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    *,
    text_logits: NDArray[Any],
    counts: NDArray[Any],
) -> float:
    """Find the factor of all logits, at most 1, for shots that are easier than other photos.

    Studio photos, or means of several views, are easier to tell apart than everyday photos. Held-out
    shots cannot show this, since they are as easy as the others. CLIP's own text logits can: they
    are too cautious on easy shots.

    Parameters
    ----------
    shots, codes, weights, folds : ndarray of shape (m, d), (m,), (m,) and (m,)
        The shots; codes are among the p classes that have shots.

    text_logits : ndarray of shape (p, d)
        Coefficients of CLIP's text logits, at CLIP's own scale.

    counts : ndarray of shape (p,)
        Shots of each class.
    """
    rows = enough(folds, ENOUGH)
    evenly = even_weights(codes, weights, counts)[rows]
    logits = shots[rows] @ text_logits.T
    precision = np.array([[DEVIATION_OF_TEXT_FACTOR**-2]])
    found, _ = most_probable_weights([logits], codes[rows], evenly, precision, np.ones(1))
    return float(np.clip(USUAL_FACTOR / found[0], LEAST_EASE, 1))


def _corrected(
    model: FoldModel,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    *,
    present: NDArray[Any],
    choice: Choice,
) -> NDArray[Any]:
    """Correction of the shots of one fold, learnt from the others."""
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
    """Compute the standard deviation between wrong classes, root mean square over the shots."""
    n_classes, rows = logits.shape[1], np.arange(len(codes))
    if n_classes < 3:
        return 0.0
    centred = logits - logits.mean(axis=1, keepdims=True)
    own = centred[rows, codes]
    # Without its own logit, the mean of the others is not 0 any more.
    wrong = (centred**2).sum(axis=1) - own**2 - own**2 / (n_classes - 1)
    return float(np.sqrt(max(weights @ wrong, 0) / (weights.sum() * (n_classes - 1))))
