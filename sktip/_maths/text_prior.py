"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The model of a unit feature x of class c, with text feature w_c:

    x ~ N(mu_c, S)     mu_c ~ N(m_c, S / kappa)     m_c: predicted from the text
    logits = a s w_c'x + alpha g_c(x) + B_c'(x - centre)

g is the discriminant of the posterior means, and B a multinomial logistic regression on top of the
first two terms. Every weight is chosen on held-out shots: from statistics of all shots, those of a fold
are subtracted. The steps of `fit_text_prior`, in order: statistics, class means, covariance, weights,
wrong labels, correction, confidence. NumPy arrays only.

Features of several encoders are blocks of columns, with a discriminant each: covariances between blocks are
taken to be 0. The weights of the text and of all discriminants are chosen together, and one correction
learns from all columns what they miss. Without text, the class means of a block are those of the shots, drawn
to their common mean.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from sktip._maths.folds import balanced_folds, class_balanced_weights, distinct_rows
from sktip._maths.log_loss import DOUBLE, log_loss, most_probable_weights
from sktip._maths.unit import columns_of

#: Weight of the predicted mean of a class, in shots.
KAPPA = 3.0
#: Ridge penalty of the map from text to means, in mean squared lengths of the centred text features.
RIDGE = 3.0
#: Prior of the scale of that map, with the weight of so many classes.
SCALE, SCALE_CLASSES = 0.3, 2.0
#: Weight, in the covariance, of the deviations of class means from the predicted ones.
MEANS_IN_COVARIANCE = 0.03
#: Shrinkages of the covariance that are tried on held-out shots: of a block with text, of the only block without,
#: and of a block without text beside others. Where no shots can be held out, it is the first without text.
SHRINKAGES = {"text": (0.5,), "no text": (0.85, 0.5, 0.2), "beside": (0.75, 0.5, 0.25)}
#: Prior of the discriminants' weight: the ratio of their spread over the wrong classes to that of the text
#: logits, at one shot per class. It grows with the square root of the shots.
SPREAD = 0.4
#: Usual spread of CLIP's text logits, which is used where there is no text.
SPREAD_OF_TEXT = 3.0
#: Factor of the logits where no shots can be held out, with text and without.
UNTESTED, UNTESTED_WITHOUT_TEXT = 0.85, 0.4
#: Prior belief that labels are right, as a number of right labels. A smaller share of wrong labels than
#: the second number does not justify a second fit.
RIGHT_LABELS, LEAST_WRONG = 50.0, 0.01
#: Folds at most, and held-out shots that are enough to choose a few numbers.
MAX_FOLDS, ENOUGH = 8, 4000


class Statistics(NamedTuple):
    """Sums over samples, from which those of a fold can be subtracted.

    Sum of the weights of each class, (C,); weighted sums of its features, (C, d), and of the outer products of
    all features, (d, d).
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
        # NumPy counts no samples in integers.
        counts = np.bincount(codes, weights, n_classes).astype(np.float64)
        return cls(counts, sums, weighted.T @ features)

    def without(self, other: "Statistics") -> "Statistics":
        """Subtract the samples of a fold."""
        counts = self.counts - other.counts
        # A class whose samples are all in the fold may keep a count that is only rounding.
        counts[counts <= 1e-9 * self.counts] = 0
        sums = np.where(counts[:, None] > 0, self.sums - other.sums, 0)
        return Statistics(counts, sums, self.moment - other.moment)

    @classmethod
    def of_views(
        cls, views: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any] | None, n_classes: int
    ) -> "Statistics":
        """Sum up labelled shots, (m, n_views, d), whose views are samples."""
        n_views, weights = views.shape[1], np.ones(len(views)) if weights is None else weights
        samples = views.reshape(-1, views.shape[2]).astype(np.float64)
        return cls.of(samples, codes.repeat(n_views), weights.repeat(n_views), n_classes)

    @property
    def means(self) -> NDArray[Any]:
        """Means of the samples of each class, (C, d). Zeros for a class without samples."""
        result: NDArray[Any] = self.sums / np.where(self.counts > 0, self.counts, 1)[:, None]
        return result

    @property
    def scatter(self) -> NDArray[Any]:
        """Sum of the outer products of the differences between samples and their class mean, (d, d)."""
        means = self.means
        result: NDArray[Any] = self.moment - (self.counts[:, None] * means).T @ means
        return result

    @property
    def present(self) -> float:
        """Number of classes with samples; one with a count below 1 counts in proportion."""
        return float(np.minimum(self.counts, 1).sum())


class Discriminants:
    """Class means with a prior from the text, one covariance, and the discriminants of both.

    `statistics` have at least one sample, `text` is (C, d) or None, `shrinkage` is the fraction of the covariance
    that is replaced by its mean variance over `width` columns. `prior` and `means`, (C, d), are the class means
    as predicted from the text and with the samples, and `centre`, (d,), is the mean of all classes. The
    `covariance` within classes, (d, d), is shrunken. ``coef @ x + intercept`` is half the squared distance of x to
    the centre, less that to the class mean, in units of the covariance.
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
        # The floor, for samples that are nearly equal, is a thousandth of what photos have.
        variance = max(float(np.trace(within)), 1e-4) / width
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

    def whitened(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Centre rows (n, d), and map them to coordinates in which the covariance is 1."""
        triangle = np.tril(self.factor[0])
        result: NDArray[Any] = solve_triangular(triangle, (rows - self.centre).T, lower=True).T
        return result

    def unwhitened(self, coef: NDArray[Any]) -> NDArray[Any]:
        """Coefficients (p, d) of centred rows with the same logits as `coef` on whitened rows."""
        triangle = np.tril(self.factor[0])
        result: NDArray[Any] = solve_triangular(triangle, coef.T, lower=True, trans=1).T
        return result

    def weight_for(self, spread: float) -> float:
        """Weight at which the discriminants have this spread; 0 if the means are equal but for rounding."""
        own = self.spread(self.coef, self.intercept)
        return spread / own if own > 1e-9 * max(1.0, float(np.abs(self.intercept).max())) else 0.0

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


def fit_correction(
    shots: "Shots", offset: NDArray[Any], variances: NDArray[Any], start: NDArray[Any] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Most probable coefficients B (p, r) of ``offset + features @ B.T``, and the residuals (m, p).

    Multinomial logistic regression on whitened, centred features, whose `offset` (m, p) are logits from
    models without the shot. The coefficients have prior mean 0 and the given variances, (p, r) or (p, 1).
    """
    features, codes = shots.features.astype(offset.dtype), shots.targets
    weights = shots.weights.astype(offset.dtype)
    rows, shape = np.arange(len(codes)), (len(variances), features.shape[1])
    precisions = 1 / variances
    # Units in which all classes have about the same posterior variance; they only change the speed.
    units = 1 / np.sqrt(float(weights.sum()) / 25 + precisions)

    def residuals(coef: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        logits = features @ coef.T.astype(offset.dtype)
        logits += offset
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        rest *= weights[:, None]
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
        options={"ftol": 1e-3, "gtol": 1e-8, "maxcor": 6},
    )
    coef = units * found.x.reshape(shape)
    return coef, -residuals(coef)[1]


class Shots(NamedTuple):
    """Labelled samples with their folds; `targets` are positions in `present`, the classes that have shots."""

    features: NDArray[Any]
    codes: NDArray[Any]
    weights: NDArray[Any]
    folds: NDArray[Any]
    present: NDArray[Any]
    targets: NDArray[Any]

    def statistics(self, n_classes: int, rows: Any = slice(None)) -> Statistics:
        """Sum up some of the shots."""
        return Statistics.of(self.features[rows], self.codes[rows], self.weights[rows], n_classes)

    def even_weights(self) -> NDArray[Any]:
        """Weights (m,) that give all classes the same total."""
        return class_balanced_weights(self.targets, self.weights)


class TextPriorModel(NamedTuple):
    """A fitted classifier: its logits are the sum of three linear parts.

    `text_coef` (C, d) is `text_weight` times the text logits; the other parts have coefficients (C, d) and
    intercepts (C,). `prior` and `means` (C, d) are the class means as predicted from the text, and with the
    shots; None without shots. `weights` (m,) are those of the shots, times the probabilities that their
    labels are right. `evidence` is what `shot_contributions` needs; empty without shots. `means_weights`,
    `shrinkages` and `statistics` have an item for each block.
    """

    text_weight: float
    means_weights: list[float]
    shrinkages: list[float]
    text_coef: NDArray[Any]
    means_part: tuple[NDArray[Any], NDArray[Any]]
    correction_part: tuple[NDArray[Any], NDArray[Any]]
    statistics: list[Statistics]
    prior: NDArray[Any] | None
    means: NDArray[Any] | None
    weights: NDArray[Any]
    evidence: dict[str, Any]

    @property
    def relative_weights(self) -> list[float]:
        """Weights of the blocks' discriminants, the largest of which is 1; without shots, the text's block has 1."""
        largest = max(self.means_weights)
        if largest > 0:
            return [weight / largest for weight in self.means_weights]
        columns = columns_of([block.sums.shape[1] for block in self.statistics])
        return [float(len(columns) == 1 or self.text_coef[:, own].any()) for own in columns]

    @property
    def coef(self) -> NDArray[Any]:
        """Coefficients (C, d) of the logits."""
        result: NDArray[Any] = self.text_coef + self.means_part[0] + self.correction_part[0]
        return result

    @property
    def intercept(self) -> NDArray[Any]:
        """Intercepts (C,) of the logits."""
        result: NDArray[Any] = self.means_part[1] + self.correction_part[1]
        return result


def fit_text_prior(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    *,
    groups: NDArray[Any] | None = None,
    text: NDArray[Any] | None,
    logit_scale: float,
    n_classes: int,
    widths: Sequence[int] | None = None,
) -> TextPriorModel:
    """Fit the classifier.

    Unit features of the shots are (m, d), and m may be 0; class codes, weights and groups are (m,). A weight of 2
    is the shot given twice, 0 is no shot, and shots of a group are held out together. `widths` are those of the
    blocks, of which each has unit rows; None or empty for a single one. The text, (C, d) or None, has unit rows,
    and zeros in the columns of blocks without text.
    """
    widths = list(widths or [features.shape[1]])
    columns = columns_of(widths)
    all_weights = np.ones(len(features)) if weights is None else weights.astype(np.float64)
    rows, zeros = np.flatnonzero(all_weights), np.zeros(n_classes)
    features, codes = features[rows].astype(np.float64), codes[rows]
    text_coef = np.zeros((n_classes, features.shape[1]))
    if text is not None:
        text = text.astype(np.float64)
        text_coef = logit_scale * text
    if not len(rows):
        empty = np.zeros_like(text_coef), zeros
        return TextPriorModel(
            text_weight=1.0,
            means_weights=[0.0] * len(widths),
            shrinkages=[SHRINKAGES["no text"][0]] * len(widths),
            text_coef=text_coef,
            means_part=empty,
            correction_part=empty,
            statistics=[
                Statistics.of(features[:, own], codes, all_weights[rows], n_classes)
                for own in columns
            ],
            prior=None,
            means=None,
            weights=all_weights,
            evidence={},
        )
    folds = balanced_folds(
        features,
        codes,
        all_weights[rows],
        None if groups is None else groups[rows],
        max_folds=MAX_FOLDS,
    )
    classes = np.unique(codes, return_inverse=True)
    shots = Shots(features, codes, all_weights[rows], folds, *classes)
    blocks = [Block.of(features[:, own], None if text is None else text[:, own]) for own in columns]
    chosen = _choose_weights(shots, blocks, logit_scale, n_classes)
    beliefs = _label_beliefs(chosen, shots)
    if beliefs is not None:
        all_weights[rows] *= beliefs
        shots = shots._replace(weights=all_weights[rows])
        chosen = _choose_weights(shots, blocks, logit_scale, n_classes)
    alphas, models, counts = chosen.means, chosen.models, chosen.counts
    pairs = list(zip(models, blocks, strict=True))
    white = shots._replace(
        features=np.hstack([model.whitened(block.features) for model, block in pairs])
    )
    # The uncertainty of the class means, and the error of one covariance for all classes. Blocks that agree
    # share it.
    variances = [
        np.maximum(alpha / (KAPPA + counts[shots.present]) + alpha**2, 1e-12)[:, None]
        / chosen.agreeing
        for alpha in alphas
    ]
    ranks = [block.features.shape[1] for block in blocks]
    by_column = variances[0] if len(blocks) == 1 else np.repeat(np.hstack(variances), ranks, 1)
    correction, residuals = fit_correction(white, chosen.logits, by_column)
    # A class with few shots fits its images less well: by the squared error of its mean.
    error = sum(alpha * model.error for alpha, model in zip(alphas, models, strict=True))
    offsets = error / 2 * KAPPA / (KAPPA + counts)
    scale = UNTESTED_WITHOUT_TEXT if text is None else UNTESTED
    if chosen.tested:
        scale = _confidence(white, chosen, offsets[shots.present], by_column, correction)
    offsets *= scale
    if text is None:
        # Without text, a class with less than one shot must not win by its prior mean.
        offsets += np.log(np.clip(counts, 1e-6, 1))
    means_intercept, intercept = offsets, zeros
    means_coef, coef, evidence = [], [], []
    for i, (model, block) in enumerate(pairs):
        weight = scale * alphas[i]
        learnt = np.zeros_like(model.coef)
        learnt[shots.present] = scale * model.unwhitened(correction[:, columns_of(ranks)[i]])
        coef.append(learnt @ block.basis.T)
        intercept = intercept - learnt @ model.centre
        means_coef.append(weight * model.coef @ block.basis.T)
        means_intercept = means_intercept + weight * model.intercept
        own = {
            "centre": block.basis @ model.centre,
            "precision": model.solve(block.basis) @ block.basis.T,
            "weight": weight,
            "variances": scale * variances[i][:, 0],
        }
        evidence.append(own)
    return TextPriorModel(
        text_weight=scale * chosen.text,
        means_weights=[scale * alpha for alpha in alphas],
        shrinkages=chosen.shrinkages,
        text_coef=scale * chosen.text * text_coef,
        means_part=(np.hstack(means_coef), means_intercept),
        correction_part=(np.hstack(coef), intercept),
        statistics=[
            Statistics.of(features[:, own], codes, shots.weights, n_classes) for own in columns
        ],
        prior=np.hstack([model.prior @ block.basis.T for model, block in pairs]),
        means=np.hstack([model.means @ block.basis.T for model, block in pairs]),
        weights=all_weights,
        evidence={
            "rows": rows,
            "present": shots.present,
            **_sparse(residuals),
            "blocks": evidence,
        },
    )


class Block(NamedTuple):
    """Shots and text of one block of columns, in coordinates of a basis (d, r) of what they span."""

    features: NDArray[Any]
    text: NDArray[Any] | None
    basis: NDArray[Any]
    width: int

    @classmethod
    def of(cls, features: NDArray[Any], text: NDArray[Any] | None) -> "Block":
        """Project unit features (m, d) and text (C, d), which is None or 0 if the block has none."""
        text = None if text is None or not text.any() else text
        # Few shots and classes span few directions, and nothing is learnt about the others.
        rows = features if text is None else np.vstack([features, text])
        basis = np.eye(rows.shape[1])
        if len(rows) < rows.shape[1]:
            basis = np.linalg.qr(rows.T)[0]
        return cls(features @ basis, text if text is None else text @ basis, basis, len(basis))


class _Chosen(NamedTuple):
    """What is chosen on held-out shots.

    `logits` (m, p) are the text and the discriminants from models without the shot, for the p classes
    that have shots; `tested` says whether there are enough of them. `models` have all shots. `means`,
    `shrinkages` and `models` have an item for each block; `agreeing` is the number of blocks, of which each
    counts as much as it is trusted.
    """

    text: float
    means: list[float]
    shrinkages: list[float]
    logits: NDArray[Any]
    tested: bool
    models: list[Discriminants]
    counts: NDArray[Any]
    agreeing: float


def _choose_weights(
    shots: Shots, blocks: list[Block], logit_scale: float, n_classes: int
) -> _Chosen:
    """Choose weights and shrinkages by the log-loss of each fold under models without it.

    Only classes that have shots compete: queries may show the others just as often.
    """
    trial = _Trial(shots, blocks, n_classes, logit_scale)
    with_text = [block.text is not None for block in blocks]
    found: dict[int, _Part] = {}
    usual = SPREAD_OF_TEXT
    # The block with text comes first: it tells the spread of the text logits.
    for i in np.argsort(np.logical_not(with_text), kind="stable").tolist():
        candidates = SHRINKAGES["no text"][:1]
        if trial.tested:
            without = "no text" if len(blocks) == 1 else "beside"
            candidates = SHRINKAGES["text" if with_text[i] else without]
        tried = [trial.part(i, shrinkage, usual) for shrinkage in candidates]
        if len(tried) > 1:
            tried = [part._replace(cost=trial.most_probable([part.logits])[1]) for part in tried]
        found[i] = min(tried, key=lambda part: part.cost)
        usual = found[i].usual
    parts = [found[i] for i in range(len(blocks))]
    main = with_text.index(True) if any(with_text) else int(np.argmin([p.cost for p in parts]))
    trust = np.array([_agreement(shots, blocks[main], block) for block in blocks])
    if any(with_text):
        # The text tells the means of the main block, but those of the others are only as certain as the shots.
        certainty = trial.per_class / (trial.per_class + KAPPA)
        trust = np.where(with_text, trust, trust * certainty**2)
    agreeing = float(trust.sum())
    if not any(with_text):
        trust /= agreeing
    terms = [part.text_logits for part in parts if part.text_logits is not None]
    if trial.tested:
        terms += [trial.dtype(own) * part.logits for own, part in zip(trust, parts, strict=True)]
    factors, _ = trial.most_probable(terms)
    logits = np.zeros((len(shots.codes), len(shots.present)), trial.dtype)
    for factor, term in zip(factors, terms, strict=True):
        logits += trial.dtype(factor) * term
    alphas = [own * part.weight for own, part in zip(trust.tolist(), parts, strict=True)]
    if trial.tested:
        alphas = (factors[-len(parts) :] * alphas).tolist()
    return _Chosen(
        float(factors[0]) if any(with_text) else 1.0,
        alphas,
        [part.shrinkage for part in parts],
        logits,
        trial.tested,
        [part.model for part in parts],
        trial.sums[0][0].counts,
        agreeing,
    )


class _Part(NamedTuple):
    """The discriminants of one block.

    `weight` gives those of all shots, `model`, the usual spread. `logits` (m, p) are from models without the shot, at
    their weights, and `cost` is their log-loss. `text_logits` (m, p) are those of the block's text, or None, and
    `usual` is their spread.
    """

    shrinkage: float
    model: Discriminants
    weight: float
    logits: NDArray[Any]
    text_logits: NDArray[Any] | None
    usual: float
    cost: float = 0.0


class _Trial:
    """How shots are held out: sums over all shots and without each fold for each block, and the scored shots.

    `tested` says whether there are enough of them; `per_class` is the mean number of shots of a class in the
    models that are tested.
    """

    def __init__(self, shots: Shots, blocks: list[Block], n_classes: int, logit_scale: float):
        self.shots, self.blocks, self.logit_scale = shots, blocks, logit_scale
        folds, present = shots.folds, shots.present
        self.dtype: Any = np.float64 if len(folds) * len(present) <= DOUBLE else np.float32
        self.sums = []
        for block in blocks:
            own = shots._replace(features=block.features)
            whole = own.statistics(n_classes)
            outs = [own.statistics(n_classes, folds == fold) for fold in range(folds.max() + 1)]
            self.sums.append((whole, [whole.without(out) for out in outs]))
        whole, rests = self.sums[0]
        # A shot tests a model that has other shots of its class. If there are fewer of these shots than
        # classes, they would decide too much.
        tests = np.array([rest.counts for rest in rests])[folds, shots.codes] > 0
        self.tested = float(shots.weights[tests].sum()) >= len(present)
        rows = np.arange(len(folds))
        if len(rows) > ENOUGH:
            rows = rows[folds <= np.sort(folds)[ENOUGH]]
        self.scored = rows
        kept = [rest for rest in rests if self.tested and rest.counts.any()] or [whole]
        self.per_class = float(np.mean([rest.counts.sum() / rest.present for rest in kept]))

    def most_probable(self, terms: list[NDArray[Any]]) -> tuple[NDArray[Any], float]:
        """Weights of terms of the logits, and the cost of their sum."""
        even = self.shots.even_weights()[self.scored]
        scored = [term[self.scored] for term in terms]
        return most_probable_weights(scored, self.shots.targets[self.scored], even)

    def part(self, number: int, shrinkage: float, usual: float) -> _Part:
        """Fit the discriminants of a block, with all shots and without each fold."""
        block, (whole, rests) = self.blocks[number], self.sums[number]
        folds, present, text_logits = self.shots.folds, self.shots.present, None
        model = Discriminants(whole, block.text, shrinkage, block.width)
        if block.text is not None:
            text_coef = self.logit_scale * block.text
            usual = model.spread(text_coef)
            text_logits = (block.features @ text_coef[present].T).astype(self.dtype)
        spread = SPREAD * np.sqrt(self.per_class) * usual
        weight, weights = model.weight_for(spread), []
        logits = np.zeros((len(folds), len(present)), self.dtype)
        for fold, rest in enumerate(rests):
            if self.tested and rest.counts.any():
                held = Discriminants(rest, block.text, shrinkage, block.width)
                weights.append(held.weight_for(spread))
                out = folds == fold
                part = block.features[out] @ held.coef[present].T + held.intercept[present]
                logits[out] = weights[-1] * part
        if self.tested:
            # The covariance of all shots may be smaller than those of the folds, and its discriminants larger.
            weight = min(weight, float(np.mean(weights)))
        return _Part(shrinkage, model, weight, logits, text_logits, usual)


def _agreement(shots: Shots, main: Block, other: Block) -> float:
    """How far two blocks agree on which shots are alike, from 0 to 1, which is also that of a block with itself.

    A lower bound, by two standard errors, of the correlation of the products of centred features: the
    bias-corrected distance correlation of Szekely and Rizzo (2013), Journal of Multivariate Analysis 117. A
    block of noise has 0, however many columns it has. Labels are not used, so that one shot per class is enough.
    """
    if other is main:
        return 1.0
    rows = distinct_rows(shots.features)[:1024]
    n = len(rows)
    if n < 4:
        return 0.0
    first, second = (_centred_products(block.features[rows]) for block in (main, other))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    bound = (first * second).sum() / max(size, 1e-30) - 2 * np.sqrt(2 / (n * (n - 3)))
    return float(np.clip(bound, 0, 1))


def _centred_products(features: NDArray[Any]) -> NDArray[Any]:
    """Products of different rows, (n, n), minus their means by row and column such that noise has mean 0."""
    n = len(features)
    products: NDArray[Any] = features @ features.T
    np.fill_diagonal(products, 0)
    rows = products.sum(axis=1) / (n - 2)
    products += products.sum() / ((n - 1) * (n - 2)) - rows - rows[:, None]
    np.fill_diagonal(products, 0)
    return products


def _label_beliefs(chosen: _Chosen, shots: Shots) -> NDArray[Any] | None:
    """Probability that each label is right, (m,); None if nearly all are.

    A label is right, or with probability e any class at random. The most probable e and the
    temperature of the held-out logits are found together, by expectation-maximisation.
    """
    logits, codes, weights = chosen.logits, shots.targets, shots.weights
    n_classes = logits.shape[1]
    if not chosen.tested or n_classes < 2:
        return None
    rows, right, wrong = np.arange(len(codes)), np.ones(len(codes)), 0.0
    for _ in range(10):
        factor = logits.dtype.type(most_probable_weights([logits], codes, weights * right)[0][0])
        p = log_loss(factor * logits, codes, weights)[1][rows, codes].astype(np.float64)
        before, wrong = wrong, _share_of_wrong(p, weights, n_classes)
        right = right_labels(p, wrong, n_classes)
        if abs(wrong - before) < LEAST_WRONG / 10:
            break
    return right if wrong >= LEAST_WRONG else None


def right_labels(held_out: NDArray[Any], wrong: float, n_classes: int) -> NDArray[Any]:
    """Probability that a label is right, (m,), from its held-out probability, (m,).

    The share `wrong` of the labels is drawn at random from all classes.
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
    white: Shots,
    chosen: _Chosen,
    offsets: NDArray[Any],
    variances: NDArray[Any],
    start: NDArray[Any],
) -> float:
    """Factor of all logits at which the probabilities of held-out shots, corrected, are calibrated.

    With two folds, the logits that a correction learns from come from models that know the shots that it
    is tested on. Then it is left out.
    """
    folds = white.folds
    tested = folds < (3 if len(folds) < ENOUGH else 1)
    logits = chosen.logits + offsets.astype(chosen.logits.dtype)
    if folds.max() > 1:
        for fold in range(folds[tested].max() + 1):
            out, rest = folds == fold, folds != fold
            others = white._replace(
                features=white.features[rest],
                targets=white.targets[rest],
                weights=white.weights[rest],
            )
            coef, _ = fit_correction(others, chosen.logits[rest], variances, start)
            logits[out] += (white.features[out] @ coef.T).astype(logits.dtype)
    even = white.even_weights()[tested]
    return float(most_probable_weights([logits[tested]], white.targets[tested], even)[0][0])


def _sparse(residuals: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Keep the residuals (m, p) that matter, as the arrays of a sparse matrix by columns."""
    from scipy.sparse import csc_array

    kept = csc_array(np.where(np.abs(residuals) > 1e-3, residuals, 0))
    return {"data": kept.data, "indices": kept.indices, "indptr": kept.indptr}


def shot_contributions(
    evidence: dict[str, Any],
    queries: NDArray[Any],
    targets: NDArray[Any],
    *,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    prior: NDArray[Any],
    means: NDArray[Any],
) -> NDArray[Any]:
    """How much each shot changed the logit of one class for each query, (n, m).

    With the predicted means, the covariances, the weights and the residuals of the correction fixed, a
    logit is a sum over shots plus a remainder.

    `evidence` is that of the `TextPriorModel`. Unit features of queries are (n, d), and the class codes to explain
    (n,). The shots of positive weight are (m, d), their codes and weights (m,). `prior` and `means`, (C, d), are
    the class means as predicted from the text, and with the shots.
    """
    from scipy.sparse import csc_array

    e = evidence
    residuals = csc_array(
        (e["data"], e["indices"], e["indptr"]), shape=(len(shots), len(e["present"]))
    )
    # A shot moves the mean of its class by w (x - prior) / (kappa + n), and the correction, in whitened
    # features, by variance times residual times x.
    counts = np.bincount(codes, weights, len(means))
    columns = np.searchsorted(e["present"], targets)
    result = np.zeros((len(queries), len(shots)))
    widths = [len(block["centre"]) for block in e["blocks"]]
    for block, part in zip(e["blocks"], columns_of(widths), strict=True):
        own_shots, own_prior = shots[:, part], prior[:, part]
        centre, precision = block["centre"], block["precision"]
        weighted = queries[:, part] @ precision
        places = (means[:, part] + own_prior)[targets] / 2
        correcting = (weighted - centre @ precision) @ (own_shots - centre).T
        for row, code in enumerate(targets):
            own = codes == code
            share = block["weight"] * weights[own] / (KAPPA + counts[code])
            moves = (own_shots[own] - own_prior[code]) @ (weighted[row] - places[row] @ precision)
            result[row, own] += share * moves
            if counts[code]:
                column = residuals[:, [columns[row]]].toarray()[:, 0]
                result[row] += block["variances"][columns[row]] * column * correcting[row]
    return result
