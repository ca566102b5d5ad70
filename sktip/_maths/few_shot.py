"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The model of a unit feature x of class c, with text feature w_c:

    x ~ N(mu_c, S)     mu_c ~ N(m_c, S / kappa)     m_c: predicted from the text
    logits = a s w_c'x + alpha g_c(x) + B_c'(x - centre)

g is the discriminant of the posterior means, and B a multinomial logistic regression on top of the
first two terms. Every weight is chosen on held-out shots: from statistics of all shots, those of a fold
are subtracted. The steps of `fit_few_shot`, in order: statistics, class means, covariance, weights,
wrong labels, correction, confidence. NumPy arrays only.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from sktip._maths.folds import balanced_folds

#: Weight of the predicted mean of a class, in shots.
KAPPA = 3.0
#: Ridge penalty of the map from text to means, in mean squared lengths of the centred text features.
RIDGE = 3.0
#: Prior of the scale of that map, with the weight of so many classes.
SCALE, SCALE_CLASSES = 0.3, 2.0
#: Weight, in the covariance, of the deviations of class means from the predicted ones.
MEANS_IN_COVARIANCE = 0.03
#: Shrinkage of the covariance: with held-out shots and text; and those that are tried without text, of
#: which the first is used where no shots can be held out.
SHRINKAGE, SHRINKAGES = 0.5, (0.85, 0.5, 0.2)
#: Prior of the discriminants' weight: the ratio of their spread over the wrong classes to that of the text
#: logits, at one shot per class. It grows with the square root of the shots.
SPREAD = 0.4
#: Usual spread of CLIP's text logits, divided by the logit scale; used where there is no text.
SPREAD_OF_TEXT = 0.03
#: Standard deviation of the logarithm of a weight, before held-out shots are seen.
DEVIATION = 0.5
#: Factor of the logits where no shots can be held out, with text and without.
UNTESTED, UNTESTED_WITHOUT_TEXT = 0.85, 0.4
#: Prior belief that labels are right, as a number of right labels. A smaller share of wrong labels than
#: the second number does not justify a second fit.
RIGHT_LABELS, LEAST_WRONG = 50.0, 0.01
#: Folds at most, held-out shots that are enough to choose a few numbers, and folds that the confidence is
#: measured on if one has less.
MAX_FOLDS, ENOUGH, CONFIDENCE_FOLDS = 8, 4000, 3
#: The search for the correction ends when a step gains less than this fraction, or after so many steps.
TOLERANCE, MAX_STEPS = 1e-5, 60
#: Logits are clipped this far below the largest: smaller probabilities are slow denormal numbers.
LEAST_LOGIT = -60.0


class Statistics(NamedTuple):
    """Sums over samples, from which those of a fold can be subtracted.

    Parameters
    ----------
    counts : ndarray of shape (C,)
        Sum of the weights of each class.

    sums : ndarray of shape (C, d)
        Weighted sum of the features of each class.

    moment : ndarray of shape (d, d)
        Weighted sum of the outer products of all features.
    """

    counts: NDArray[Any]
    sums: NDArray[Any]
    moment: NDArray[Any]

    @classmethod
    def of(
        cls, features: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any], n_classes: int
    ) -> "Statistics":
        """Sum up labelled features (m, d) with weights (m,)."""
        weighted = features * weights[:, None]
        sums = np.zeros((n_classes, features.shape[1]))
        np.add.at(sums, codes, weighted)
        return cls(np.bincount(codes, weights, n_classes), sums, weighted.T @ features)

    def without(self, other: "Statistics") -> "Statistics":
        """Subtract the samples of a fold."""
        counts = self.counts - other.counts
        # A class whose samples are all in the fold may keep a count that is only rounding.
        counts[counts <= 1e-9 * self.counts] = 0
        sums = np.where(counts[:, None] > 0, self.sums - other.sums, 0)
        return Statistics(counts, sums, self.moment - other.moment)

    @property
    def present(self) -> float:
        """Number of classes with samples; one with a count below 1 counts in proportion."""
        return float(np.minimum(self.counts, 1).sum())


class Discriminants:
    """Class means with a prior from the text, one covariance, and the discriminants of both.

    Parameters
    ----------
    statistics : Statistics
        At least one sample.

    text : ndarray of shape (C, d) or None
        Text features of the classes.

    shrinkage : float
        Fraction of the covariance that is replaced by its mean variance.

    width : int
        Number of columns that the mean variance is taken over.

    Attributes
    ----------
    prior, means : ndarray of shape (C, d)
        Class means as predicted from the text, and with the samples.

    centre : ndarray of shape (d,)
        Mean of all classes.

    covariance : ndarray of shape (d, d)
        Covariance within classes, shrunken.

    coef, intercept : ndarray of shape (C, d) and (C,)
        ``coef @ x + intercept`` is half the squared distance of x to `centre`, less that to the class
        mean, in units of the covariance.
    """

    def __init__(
        self, statistics: Statistics, text: NDArray[Any] | None, shrinkage: float, width: int
    ):
        counts, sums, moment = statistics
        own = sums / np.where(counts > 0, counts, 1)[:, None]
        # Certainty of the mean of the samples of each class, in shots.
        certainty = counts * KAPPA / (counts + KAPPA)
        self.centre = certainty @ own / certainty.sum()
        self.prior = self.centre + _predicted(own - self.centre, certainty, text)
        self.means = (KAPPA * self.prior + sums) / (KAPPA + counts)[:, None]
        apart = own - self.prior
        within = moment - (counts[:, None] * own).T @ own
        within += MEANS_IN_COVARIANCE * (certainty[:, None] * apart).T @ apart
        freedom = max(counts.sum() - statistics.present, 0)
        within /= freedom + MEANS_IN_COVARIANCE * statistics.present
        # Identical samples have no variance. The floor keeps the covariance invertible.
        variance = max(np.trace(within) / width, 1e-12)
        self.covariance = (1 - shrinkage) * within
        self.covariance[np.diag_indices_from(within)] += shrinkage * variance
        self.factor = cho_factor(self.covariance, lower=True)
        self.coef = self.solve(self.means - self.centre)
        self.intercept = -self.coef @ self.centre
        self.intercept -= ((self.means - self.centre) * self.coef).sum(axis=1) / 2
        # Squared distance of a mean that has been predicted from the true one: what the samples show, and no
        # more than the prior has.
        squared = (apart * self.solve(apart)).sum(axis=1)
        variances = float(np.trace(self.solve(within)))
        error = (
            certainty @ (squared - variances / np.where(counts > 0, counts, 1)) / certainty.sum()
        )
        self.error = min(max(error, 0.0), variances / KAPPA)

    def solve(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Multiply rows (n, d) by the inverse of the covariance."""
        result: NDArray[Any] = cho_solve(self.factor, rows.T).T
        return result

    def spread(self, coef: NDArray[Any], intercept: NDArray[Any] | float = 0.0) -> float:
        """Deviation of logits over the wrong classes, root mean square over samples of the model."""
        if len(coef) == 1:
            return 0.0
        logits = self.means @ coef.T + intercept
        np.fill_diagonal(logits, 0)
        wrong = len(coef) - 1
        logits -= logits.sum(axis=1, keepdims=True) / wrong
        np.fill_diagonal(logits, 0)
        coef = coef - coef.mean(axis=0)
        noise = (coef @ self.covariance * coef).sum() / len(coef)
        return float(np.sqrt((logits**2).sum() / (wrong * len(coef)) + noise))


def _predicted(
    means: NDArray[Any], certainty: NDArray[Any], text: NDArray[Any] | None
) -> NDArray[Any]:
    """Predict centred means from the text features of all classes: a scale, and ridge regression.

    The number of classes, not of shots, is the sample size. Without text, or if it is the same for all
    classes, the prediction is 0.
    """
    if text is None:
        return np.zeros_like(means)
    text = text - certainty @ text / certainty.sum()
    length = (text**2).sum() / len(text)
    if length < 1e-12:
        return np.zeros_like(means)
    weighted = (certainty / certainty.max())[:, None] * text
    belief = SCALE_CLASSES * length
    scale = ((weighted * means).sum() + SCALE * belief) / ((weighted * text).sum() + belief)
    gram = weighted.T @ text + RIDGE * length * np.eye(text.shape[1])
    rest = np.linalg.solve(gram, weighted.T @ (means - scale * text))
    result: NDArray[Any] = scale * text + text @ rest
    return result


def log_loss(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Weighted sum of the log-losses, and the probabilities (m, C)."""
    p = logits - logits.max(axis=1, keepdims=True)
    own = p[np.arange(len(codes)), codes].astype(np.float64)
    np.exp(np.maximum(p, LEAST_LOGIT, out=p), out=p)
    totals = p.sum(axis=1, keepdims=True)
    p /= totals
    return float(weights @ (np.log(totals[:, 0]) - own)), p


def most_probable_weights(
    parts: list[NDArray[Any]], codes: NDArray[Any], weights: NDArray[Any]
) -> tuple[NDArray[Any], float]:
    """Positive weights of parts of the logits, each (m, C), and the cost of their sum.

    The cost is the log-loss, and a normal prior of the logarithms of the weights.
    """
    rows = np.arange(len(codes))

    def cost(logs: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        factors = np.exp(logs)
        logits = sum(
            f * part for f, part in zip(factors.astype(parts[0].dtype), parts, strict=True)
        )
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        slopes = [weights @ np.einsum("ij,ij->i", rest, part) for part in parts]
        return loss + logs @ logs / (2 * DEVIATION**2), factors * slopes + logs / DEVIATION**2

    found = minimize(
        cost,
        np.zeros(len(parts)),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    return np.exp(found.x), float(found.fun)


def fit_correction(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    offset: NDArray[Any],
    variances: NDArray[Any],
    start: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Most probable coefficients B (C, r) of the logits ``offset + features @ B.T``, and residuals (m, C).

    Multinomial logistic regression; the prior mean of B is 0.

    Parameters
    ----------
    features : ndarray of shape (m, r)
        Whitened, centred features.

    codes, weights : ndarray of shape (m,)
        Classes and weights.

    offset : ndarray of shape (m, C)
        Logits from models without the shot.

    variances : ndarray of shape (C,)
        Prior variance of the coefficients of each class.

    start : ndarray of shape (C, r) or None
        Where the search begins.
    """
    rows, shape = np.arange(len(codes)), (len(variances), features.shape[1])
    features = features.astype(offset.dtype, copy=False)
    precisions = 1 / variances[:, None]
    # Units in which all classes have about the same posterior variance; they only change the speed.
    curvature = np.einsum("ij,ij,i", features, features, weights) / (25 * shape[1])
    units = 1 / np.sqrt(curvature + precisions)

    def residuals(coef: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        logits = features @ coef.T.astype(offset.dtype)
        logits += offset
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        rest *= weights.astype(rest.dtype)[:, None]
        return loss, rest

    def cost(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        coef = units * flat.reshape(shape)
        loss, rest = residuals(coef)
        slope = (rest.T @ features).astype(np.float64) + precisions * coef
        return loss + float((precisions * coef**2).sum()) / 2, (units * slope).ravel()

    found = minimize(
        cost,
        np.zeros(shape[0] * shape[1]) if start is None else (start / units).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "ftol": TOLERANCE, "gtol": 1e-8, "maxcor": 6},
    )
    coef = units * found.x.reshape(shape)
    return coef, -residuals(coef)[1]


@dataclass(frozen=True)
class FewShotModel:
    """A fitted classifier: its logits are the sum of three linear parts.

    Parameters
    ----------
    text_weight, means_weight : float
        Factors of the text logits and of the discriminants.

    shrinkage : float
        Of the covariance.

    means_coef, means_intercept : ndarray of shape (C, d) and (C,)
        The discriminants' part.

    correction_coef, correction_intercept : ndarray of shape (C, d) and (C,)
        The correction.

    coef, intercept : ndarray of shape (C, d) and (C,)
        The sum of the three.

    statistics : Statistics
        Of the shots.

    prior, means : ndarray of shape (C, d) or None
        Class means as predicted from the text, and with the shots; None without shots.

    weights : ndarray of shape (m,)
        Weight of each shot given, times the probability that its label is right.

    evidence : dict of ndarray
        What `shot_contributions` needs; empty without shots.
    """

    text_weight: float
    means_weight: float
    shrinkage: float
    means_coef: NDArray[Any]
    means_intercept: NDArray[Any]
    correction_coef: NDArray[Any]
    correction_intercept: NDArray[Any]
    coef: NDArray[Any]
    intercept: NDArray[Any]
    statistics: Statistics
    prior: NDArray[Any] | None
    means: NDArray[Any] | None
    weights: NDArray[Any]
    evidence: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class _Weights:
    """What is chosen on held-out shots.

    `logits` (m, p) are the text and the discriminants from models without the shot, for the p classes
    that have shots; `tested` says whether there are enough of them.
    """

    text: float
    means: float
    shrinkage: float
    logits: NDArray[Any]
    tested: bool


def fit_few_shot(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    *,
    groups: NDArray[Any] | None = None,
    text: NDArray[Any] | None,
    logit_scale: float,
    n_classes: int,
) -> FewShotModel:
    """Fit the classifier.

    Parameters
    ----------
    shots : ndarray of shape (m, d)
        Unit features of the shots; m may be 0.

    codes : ndarray of shape (m,)
        Their class codes.

    weights : ndarray of shape (m,) or None
        Weight of each: a weight of 2 is the shot given twice, 0 is no shot.

    groups : ndarray of shape (m,) or None
        Group of each; shots of a group are held out together.

    text : ndarray of shape (C, d) or None
        Unit text features.

    logit_scale : float
        Scale of the text logits.

    n_classes : int
        Number of classes C.
    """
    width = shots.shape[1]
    all_weights = np.ones(len(shots)) if weights is None else weights.astype(np.float64)
    scaled = np.zeros((n_classes, width))
    if text is not None:
        text = text.astype(np.float64)
        scaled = logit_scale * text
    rows = np.flatnonzero(all_weights)
    shots, codes, weights = shots[rows].astype(np.float64), codes[rows], all_weights[rows]
    if not len(rows):
        none = np.zeros(n_classes)
        nothing = Statistics(none, np.zeros_like(scaled), np.zeros((width, width)))
        empty = np.zeros_like(scaled), none, np.zeros_like(scaled), none
        return FewShotModel(
            1.0, 0.0, SHRINKAGES[0], *empty, scaled, none, nothing, None, None, all_weights, {}
        )
    folds = balanced_folds(
        shots, codes, weights, None if groups is None else groups[rows], max_folds=MAX_FOLDS
    )
    # Few shots and classes span few directions, and nothing is learnt about the others.
    basis = _basis(shots, text)
    inner = shots @ basis
    inner_text = None if text is None else text @ basis
    present, targets = np.unique(codes, return_inverse=True)

    def first_stage(weights: NDArray[Any]) -> tuple[Statistics, _Weights]:
        statistics = Statistics.of(inner, codes, weights, n_classes)
        return statistics, _choose_weights(
            inner, codes, weights, folds, statistics, inner_text, logit_scale, width
        )

    statistics, chosen = first_stage(weights)
    beliefs = _label_beliefs(chosen, targets, weights)
    if beliefs is not None:
        all_weights = all_weights.copy()
        all_weights[rows] *= beliefs
        weights = all_weights[rows]
        statistics, chosen = first_stage(weights)
    model = Discriminants(statistics, inner_text, chosen.shrinkage, width)
    counts, alpha = statistics.counts, chosen.means
    triangle = np.tril(model.factor[0])
    white = solve_triangular(triangle, (inner - model.centre).T, lower=True).T
    # The uncertainty of the class means, and the error of one covariance for all classes.
    variances = np.maximum(alpha / (KAPPA + counts[present]) + alpha**2, 1e-12)
    correction, residuals = fit_correction(white, targets, weights, chosen.logits, variances)
    scale = _confidence(white, targets, weights, folds, counts, chosen, variances, correction)
    if not chosen.tested:
        scale = UNTESTED_WITHOUT_TEXT if text is None else UNTESTED
    # The mean of a class with few shots fits its images less well, by the squared error of the mean.
    offsets = alpha * model.error / 2 * KAPPA / (KAPPA + counts)
    if text is None:
        # Without text, a class with less than one shot must not win by its prior mean.
        offsets += np.log(np.maximum(np.minimum(counts, 1), 1e-6)) / scale
    inner_correction = np.zeros((n_classes, inner.shape[1]))
    inner_correction[present] = solve_triangular(triangle, correction.T, lower=True, trans=1).T
    means_coef = scale * alpha * model.coef @ basis.T
    means_intercept = scale * (alpha * model.intercept + offsets)
    correction_coef = scale * inner_correction @ basis.T
    correction_intercept = -scale * inner_correction @ model.centre
    return FewShotModel(
        text_weight=scale * chosen.text,
        means_weight=scale * alpha,
        shrinkage=chosen.shrinkage,
        means_coef=means_coef,
        means_intercept=means_intercept,
        correction_coef=correction_coef,
        correction_intercept=correction_intercept,
        coef=scale * chosen.text * scaled + means_coef + correction_coef,
        intercept=means_intercept + correction_intercept,
        statistics=Statistics.of(shots, codes, weights, n_classes),
        prior=model.prior @ basis.T,
        means=model.means @ basis.T,
        weights=all_weights,
        evidence={
            "centre": basis @ model.centre,
            "precision": model.solve(basis) @ basis.T,
            "rows": rows,
            "present": present,
            "variances": scale * variances,
            **_sparse(residuals),
        },
    )


def _basis(shots: NDArray[Any], text: NDArray[Any] | None) -> NDArray[Any]:
    """Orthonormal basis (d, r) of the span of shots and text, or of the whole space."""
    rows = shots if text is None else np.vstack([shots, text])
    if len(rows) >= rows.shape[1]:
        return np.eye(rows.shape[1])
    return np.linalg.qr(rows.T)[0]


def _choose_weights(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    statistics: Statistics,
    text: NDArray[Any] | None,
    logit_scale: float,
    width: int,
) -> _Weights:
    """Choose weights and shrinkage by the log-loss of each fold under models without it.

    Only classes that have shots compete: queries may show the others just as often.
    """
    counts = statistics.counts
    present, targets = np.unique(codes, return_inverse=True)
    dtype = np.float64 if len(codes) * len(present) < 2**20 else np.float32
    text_logits = None
    if text is not None:
        text_logits = (shots @ (logit_scale * text[present].T)).astype(dtype)
    n_folds = folds.max() + 1
    rests = [
        statistics.without(Statistics.of(shots[out], codes[out], weights[out], len(counts)))
        for out in (folds == fold for fold in range(n_folds))
    ]
    # A shot tests a model that has other shots of its class. If there are fewer of these shots than
    # classes, they would decide too much.
    tests = np.array([rest.counts for rest in rests])[folds, codes] > 0
    tested = float(weights[tests].sum()) >= len(present)
    even = even_weights(codes, weights, counts)
    asked = np.flatnonzero(tests if tested else np.ones(len(codes), bool))
    if len(asked) > ENOUGH:
        asked = asked[folds[asked] <= np.sort(folds[asked])[ENOUGH]]
    best: Any = None
    if not tested:
        shrinkages: tuple[float, ...] = SHRINKAGES[:1]
    else:
        shrinkages = SHRINKAGES if text is None else (SHRINKAGE,)
    for shrinkage in shrinkages:
        whole = Discriminants(statistics, text, shrinkage, width)
        spread = logit_scale * SPREAD_OF_TEXT
        if text is not None:
            spread = whole.spread(logit_scale * text)
        models = [
            Discriminants(rest, text, shrinkage, width) if tested and rest.counts.any() else None
            for rest in rests
        ]
        kept = [rest.counts.sum() / rest.present for rest in rests if rest.counts.any()]
        per_class = np.mean(kept) if tested else counts.sum() / statistics.present
        unit = SPREAD * np.sqrt(per_class) * spread
        units, logits = [], np.zeros((len(codes), len(present)), dtype)
        for fold, model in enumerate(models):
            if model is not None:
                out = folds == fold
                units.append(_ratio(unit, model))
                part = shots[out] @ model.coef[present].T + model.intercept[present]
                logits[out] = units[-1] * part
        parts = ([] if text_logits is None else [text_logits]) + ([logits] if tested else [])
        found, cost = np.ones(0), 0.0
        if parts:
            found, cost = most_probable_weights(
                [part[asked] for part in parts], targets[asked], even[asked]
            )
        if best is None or cost < best[0] - 1e-6 * abs(best[0]):
            held_out = sum(
                (f * part for f, part in zip(found.astype(dtype), parts, strict=True)),
                np.zeros_like(logits),
            )
            # The covariance of all shots may be smaller than those of the folds, and its discriminants larger.
            alpha = (
                min(np.mean(units), _ratio(unit, whole)) * found[-1]
                if tested
                else _ratio(unit, whole)
            )
            best = (
                cost,
                _Weights(
                    float(found[0]) if text is not None else 1.0,
                    float(alpha),
                    shrinkage,
                    held_out,
                    tested,
                ),
            )
    result: _Weights = best[1]
    return result


def _ratio(unit: float, model: Discriminants) -> float:
    """Weight at which the discriminants of a model have this spread; 0 if the means are equal."""
    own = model.spread(model.coef, model.intercept)
    return unit / own if own > 1e-9 * max(1.0, float(np.abs(model.intercept).max())) else 0.0


def even_weights(codes: NDArray[Any], weights: NDArray[Any], counts: NDArray[Any]) -> NDArray[Any]:
    """Weights (m,) that give all classes with shots the same total, as queries are assumed to have.

    Their sum is the size of a balanced sample with the same information.
    """
    there = np.minimum(counts, 1)
    shares = there / np.where(counts > 0, counts, 1)
    information = there.sum() / (there * shares).sum()
    result: NDArray[Any] = weights * information * shares[codes]
    return result


def _label_beliefs(
    chosen: _Weights, codes: NDArray[Any], weights: NDArray[Any]
) -> NDArray[Any] | None:
    """Probability that each label is right, (m,); None if nearly all are.

    A label is right, or with probability e any class at random. The most probable e and the
    temperature of the held-out logits are found together, by expectation-maximisation.
    """
    logits, n_classes = chosen.logits, chosen.logits.shape[1]
    if not chosen.tested or n_classes < 2:
        return None
    rows, right, wrong = np.arange(len(codes)), np.ones(len(codes)), 0.0
    for _ in range(10):
        temperature = most_probable_weights([logits], codes, weights * right)[0][0]
        p = log_loss(logits.dtype.type(temperature) * logits, codes, weights)[1][rows, codes]
        before, wrong = wrong, _share_of_wrong(p.astype(np.float64), weights, n_classes)
        right = right_labels(p.astype(np.float64), wrong, n_classes)
        if abs(wrong - before) < LEAST_WRONG / 10:
            break
    return right if wrong >= LEAST_WRONG else None


def right_labels(held_out: NDArray[Any], wrong: float, n_classes: int) -> NDArray[Any]:
    """Probability that a label is right, (m,), if a share of the labels is random.

    Parameters
    ----------
    held_out : ndarray of shape (m,)
        Held-out probability of the label.

    wrong : float
        Share of labels that are drawn at random from all classes.

    n_classes : int
        Number of classes.
    """
    kept = (1 - wrong) * held_out
    result: NDArray[Any] = kept / (kept + wrong / n_classes) if wrong else np.ones(len(held_out))
    return result


def _share_of_wrong(held_out: NDArray[Any], weights: NDArray[Any], n_classes: int) -> float:
    """Most probable share of wrong labels, up to a half, by bisection: the cost is convex in it."""
    low, high = 0.0, 0.5
    for _ in range(30):
        share = (low + high) / 2
        mixed = (1 - share) * held_out + share / n_classes
        slope = weights @ ((held_out - 1 / n_classes) / mixed) + RIGHT_LABELS / (1 - share)
        low, high = (low, share) if slope > 0 else (share, high)
    return low


def _confidence(
    white: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    folds: NDArray[Any],
    counts: NDArray[Any],
    chosen: _Weights,
    variances: NDArray[Any],
    start: NDArray[Any],
) -> float:
    """Factor of all logits at which the probabilities of held-out shots, corrected, are calibrated.

    With two folds, the logits that a correction learns from come from models that know the shots that it
    is tested on. Then it is left out.
    """
    n_folds = folds.max() + 1
    if not chosen.tested:
        return 1.0
    tested = folds < (CONFIDENCE_FOLDS if len(codes) < ENOUGH else 1)
    logits = chosen.logits[tested].copy()
    if n_folds > 2:
        for fold in range(folds[tested].max() + 1):
            rest, out = folds != fold, folds == fold
            coef, _ = fit_correction(
                white[rest], codes[rest], weights[rest], chosen.logits[rest], variances, start
            )
            logits[folds[tested] == fold] += (white[out] @ coef.T).astype(logits.dtype)
    even = even_weights(codes, weights, counts[counts > 0])[tested]
    return float(most_probable_weights([logits], codes[tested], even)[0][0])


def _sparse(residuals: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Keep the residuals (m, p) that matter, as the arrays of a sparse matrix by columns."""
    from scipy.sparse import csc_array

    kept = csc_array(np.where(np.abs(residuals) > 1e-3, residuals, 0))
    return {"data": kept.data, "indices": kept.indices, "indptr": kept.indptr}


def shot_contributions(
    model_evidence: dict[str, NDArray[Any]],
    queries: NDArray[Any],
    targets: NDArray[Any],
    *,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    prior: NDArray[Any],
    means: NDArray[Any],
    means_weight: float,
) -> NDArray[Any]:
    """How much each shot changed the logit of one class for each query, (n, m).

    With the predicted means, the covariance, the weights and the residuals of the correction fixed, a
    logit is a sum over shots plus a remainder.

    Parameters
    ----------
    model_evidence : dict of ndarray
        `FewShotModel.evidence`.

    queries, targets : ndarray of shape (n, d) and (n,)
        Unit features of the queries, and the class code to explain for each.

    shots, codes, weights : ndarray of shape (m, d), (m,) and (m,)
        The shots of positive weight.

    prior, means : ndarray of shape (C, d)
        Class means as predicted from the text, and with the shots.

    means_weight : float
        Factor of the discriminants.
    """
    from scipy.sparse import csc_array

    e = model_evidence
    residuals = csc_array(
        (e["data"], e["indices"], e["indptr"]), shape=(len(shots), len(e["present"]))
    )
    weighted = queries @ e["precision"]
    # A shot moves the mean of its class by w (x - prior) / (kappa + n), and the correction, in whitened
    # features, by variance times residual times x.
    counts = np.bincount(codes, weights, len(means))
    places = (means + prior)[targets] / 2
    result = np.zeros((len(queries), len(shots)))
    correcting = (weighted - e["centre"] @ e["precision"]) @ (shots - e["centre"]).T
    columns = np.searchsorted(e["present"], targets)
    for row, code in enumerate(targets):
        own = codes == code
        moves = (shots[own] - prior[code]) * (weights[own] / (KAPPA + counts[code]))[:, None]
        result[row, own] = means_weight * moves @ (weighted[row] - places[row] @ e["precision"])
        if counts[code]:
            column = residuals[:, [columns[row]]].toarray()[:, 0]
            result[row] += e["variances"][columns[row]] * column * correcting[row]
    return result
