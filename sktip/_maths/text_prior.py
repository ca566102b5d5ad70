"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The logits of a unit feature x, of text features w_c, are, with one temperature t for all,

    t (a s w_c'x + alpha g_c(x) + B_c'(x - centre))

g is the discriminant of the class means (`discriminants`), and B a multinomial logistic regression on top of the
first two terms (`correction`). With text, they are mixed with a logistic regression on top of the first term alone
(`second_opinion`). Shots are held out twice. `Learnt` chooses a and alpha by the log-loss of shots under
models without them; `_temperature` chooses t by that of shots under answers that are `Learnt` without them. Few
shots show little, and a log-normal prior of each number decides the rest. NumPy arrays only.

Features of several encoders are blocks of columns, with a discriminant each: covariances between blocks are
taken to be 0. The weights of the text and of all discriminants are chosen together, and one correction
learns from all columns what they miss. Without text, the class means of a block are those of the shots, drawn
to their common mean.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.contributions import sparse
from sktip._maths.correction import fit_correction
from sktip._maths.discriminants import (
    KAPPA,
    SHRINKAGE,
    SPREAD_OF_TEXT,
    Discriminants,
    shrinkage_for,
)
from sktip._maths.folds import (
    ENOUGH_SHOTS,
    MAX_FOLDS,
    balanced_folds,
    class_balanced_weights,
    distinct_rows,
)
from sktip._maths.label_beliefs import label_beliefs
from sktip._maths.log_loss import DOUBLE, log_loss, most_probable_weights
from sktip._maths.second_opinion import VARIANCE, WEIGHT, second_opinion
from sktip._maths.statistics import Statistics
from sktip._maths.unit import columns_of

#: Prior of the discriminants' weight: the ratio of their spread to that of the text logits, at one shot per
#: class. It grows with the square root of the shots.
SPREAD_AT_ONE_SHOT = 0.4
#: Smallest spread of the text logits that is used. Texts below the second number can hardly tell the classes apart, and
#: count as none.
LEAST_SPREAD, NO_SPREAD = 2.5, 0.3
#: Odds that names mean something, before it is seen whether texts tell the shots better than chance.
ODDS = 10.0
#: Factor of all logits before held-out shots are seen, with text and without.
TEMPERATURE, WITHOUT_TEXT = 0.85, 0.6
#: Shots on which weights are chosen.
SCORED = 4000


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


class Block(NamedTuple):
    """A block of columns, in a basis (d, r) of what its shots and its text, (C, r) or None, span.

    Until held-out shots are seen, `spread` is that of its discriminants at one shot per class, and `trust` a
    factor of them.
    """

    basis: NDArray[Any]
    text: NDArray[Any] | None
    spread: float
    trust: float


class Shots(NamedTuple):
    """Labelled features, (m, r) in the basis of each block.

    Their text logits are (m, C), or None without text; codes, weights and folds are (m,).
    """

    features: list[NDArray[Any]]
    text_logits: NDArray[Any] | None
    codes: NDArray[Any]
    weights: NDArray[Any]
    folds: NDArray[Any]

    def where(self, rows: NDArray[np.bool_]) -> "Shots":
        """Return some of the shots."""
        logits = None if self.text_logits is None else self.text_logits[rows]
        features = [block[rows] for block in self.features]
        return Shots(features, logits, self.codes[rows], self.weights[rows], self.folds[rows])

    def statistics(self, n_classes: int) -> list[Statistics]:
        """Sum up the shots, for each block."""
        return [
            Statistics.of(block, self.codes, self.weights, n_classes) for block in self.features
        ]


class Learnt:
    """What shots teach, but for the temperature. Only classes that are `present` compete.

    `text` is the weight of the text logits, and `weights` are those of the discriminants, `models`, of each block.
    The `correction` and the `second` opinion, (C, r), have columns for all blocks; `variances` (p, n_blocks) are
    those of the correction's prior, and `residuals` and `second_residuals` (m, p) those of the shots. `held_out`
    (m, p) are text and discriminants from models without the shot; without any, `is_tested` is False. `factors` are
    those chosen on held-out shots. Given those of more shots, nothing is chosen.
    """

    def __init__(
        self,
        shots: Shots,
        blocks: list[Block],
        n_classes: int,
        factors: NDArray[Any] | None = None,
    ):
        self.present, self.targets = np.unique(shots.codes, return_inverse=True)
        self.even = class_balanced_weights(self.targets, shots.weights)
        shape = len(shots.codes), len(self.present)
        dtype: Any = np.float64 if np.prod(shape) <= DOUBLE else np.float32
        whole = shots.statistics(n_classes)
        rests = _without_each_fold(shots, whole)
        self.is_tested = bool(rests)
        used = [rest[0] for rest in rests.values()] or whole[:1]
        per_class = float(np.mean([sums.per_class for sums in used]))

        trust = np.array([block.trust for block in blocks])
        terms = []
        if shots.text_logits is None:
            trust /= trust.sum()
        else:
            terms.append(shots.text_logits[:, self.present].astype(dtype))
            # The text tells the class means of its block; those of the others are only as certain as the shots.
            without = np.array([block.text is None for block in blocks])
            trust[without] *= per_class / (per_class + KAPPA)
        self.models, weights = [], []
        for i, block in enumerate(blocks):
            spread = trust[i] * SPREAD_AT_ONE_SHOT * np.sqrt(per_class) * block.spread
            self.models.append(_discriminants(whole[i], block))
            weights.append(self.models[i].weight_for(spread))
            logits = np.zeros(shape, dtype)
            for fold, rest in rests.items():
                own, model = shots.folds == fold, _discriminants(rest[i], block)
                found = shots.features[i][own] @ model.coef[self.present].T
                logits[own] = model.weight_for(spread) * (found + model.intercept[self.present])
            if rests:
                terms.append(logits)
        if factors is None:
            sizes = np.cumsum(np.bincount(shots.folds, shots.weights))
            scored = shots.folds <= np.searchsorted(sizes, SCORED)
            factors, _ = most_probable_weights(
                [term[scored] for term in terms], self.targets[scored], self.even[scored]
            )
        self.factors = factors[: len(terms)]
        self.held_out = np.zeros(shape, dtype)
        for factor, term in zip(self.factors, terms, strict=True):
            self.held_out += dtype(factor) * term
        self.text = 0.0 if shots.text_logits is None else float(self.factors[0])
        self.weights = np.array(weights) * (self.factors[-len(blocks) :] if rests else 1)

        self.counts = whole[0].counts
        # The uncertainty of the class means. Blocks that agree share it.
        variances = self.weights / (KAPPA + self.counts[self.present, None])
        self.variances = np.maximum(variances, 1e-12) / trust.sum()
        self._correct(shots, blocks)

    def _correct(self, shots: Shots, blocks: list[Block]) -> None:
        """Learn the correction, and with text the second opinion, which takes its share of all but the text."""
        ranks = [block.basis.shape[1] for block in blocks]
        columns = columns_of(ranks)
        pairs = list(zip(self.models, shots.features, strict=True))
        white = np.hstack([model.whitened(features) for model, features in pairs])
        variances = np.repeat(self.variances, ranks, 1)
        found, self.residuals = fit_correction(
            white, self.targets, self.even, self.held_out, variances
        )
        self.correction = np.zeros((len(self.counts), white.shape[1]))
        for own, model in zip(columns, self.models, strict=True):
            self.correction[self.present, own] = model.unwhitened(found[:, own])
        self.second, self.second_residuals = np.zeros_like(self.correction), None
        if shots.text_logits is not None:
            main = _main(blocks)
            offset = (self.text * shots.text_logits[:, self.present]).astype(self.held_out.dtype)
            found, self.second_residuals = second_opinion(
                shots.features[main], self.targets, self.even, offset
            )
            self.second[self.present, columns[main]] = WEIGHT * found
            self.correction *= 1 - WEIGHT
            self.weights *= 1 - WEIGHT
            self.variances *= 1 - WEIGHT

    def logits(self, shots: Shots) -> NDArray[Any]:
        """Logits (n, p) of other shots."""
        centre = np.hstack([model.centre for model in self.models])
        features = np.hstack(shots.features)
        result = features @ (self.correction + self.second).T - self.correction @ centre
        for weight, model, block in zip(self.weights, self.models, shots.features, strict=True):
            result += weight * (block @ model.coef.T + model.intercept)
        if shots.text_logits is not None:
            result += self.text * shots.text_logits
        return result


def _main(blocks: list[Block]) -> int:
    """Return the number of the block with text."""
    return [block.text is not None for block in blocks].index(True)


def _without_each_fold(shots: Shots, whole: list[Statistics]) -> dict[int, list[Statistics]]:
    """Sum up the shots without each fold, for each block; return nothing if too few can be held out.

    A shot tests a model that has other shots of its class. If there are fewer of these shots than
    classes, they would decide too much.
    """
    rests, tests = {}, np.zeros(len(shots.codes), bool)
    for fold in np.unique(shots.folds).tolist():
        own = shots.folds == fold
        out = shots.where(own).statistics(len(whole[0].counts))
        rest = [sums.without(part) for sums, part in zip(whole, out, strict=True)]
        tests[own] = rest[0].counts[shots.codes[own]] > 0
        if rest[0].counts.any():
            rests[fold] = rest
    return rests if shots.weights[tests].sum() >= len(np.unique(shots.codes)) else {}


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
    columns = columns_of(list(widths or [features.shape[1]]))
    weights = np.ones(len(features)) if weights is None else weights.astype(np.float64)
    rows = np.flatnonzero(weights)
    features, codes = features[rows].astype(np.float64), codes[rows]
    text_coef = np.zeros((n_classes, features.shape[1]))
    if text is not None:
        text_coef = logit_scale * text.astype(np.float64)
    if not len(rows):
        nothing = np.zeros_like(text_coef), np.zeros(n_classes)
        return TextPriorModel(
            text_weight=1.0,
            means_weights=[0.0] * len(columns),
            shrinkages=[SHRINKAGE] * len(columns),
            text_coef=text_coef,
            means_part=nothing,
            correction_part=nothing,
            statistics=_statistics(features, codes, weights[rows], n_classes, columns),
            prior=None,
            means=None,
            weights=weights,
            evidence={},
        )
    text_logits, spread = None, 0.0
    if text is not None:
        text_logits = features @ text_coef.T
        spread = _useful_spread(text_logits, codes, weights[rows])
    if not spread:
        text = text_logits = None
    blocks = _blocks(features, text, spread, columns)
    shots = Shots(
        [features[:, own] @ block.basis for own, block in zip(columns, blocks, strict=True)],
        text_logits,
        codes,
        weights[rows],
        balanced_folds(
            features,
            codes,
            weights[rows],
            None if groups is None else groups[rows],
            max_folds=MAX_FOLDS,
        ),
    )
    learnt = Learnt(shots, blocks, n_classes)
    if learnt.is_tested:
        beliefs = label_beliefs(learnt.held_out, learnt.targets, shots.weights)
        if beliefs is not None:
            weights[rows] *= beliefs
            shots = shots._replace(weights=weights[rows])
            learnt = Learnt(shots, blocks, n_classes)
    scale = _temperature(shots, blocks, learnt)

    if text_logits is None:
        # A class with less than one shot must not win by its prior mean.
        intercept = np.log(np.clip(learnt.counts, 1e-6, 1))
    else:
        # A class with few shots fits its images less well: by the squared error of its mean.
        errors = [model.error for model in learnt.models]
        error = scale * (learnt.weights @ errors)
        intercept = error / 2 * KAPPA / (KAPPA + learnt.counts)
    correction_intercept = np.zeros(n_classes)
    coef, correction, evidence = [], [], []
    ranks = columns_of([block.basis.shape[1] for block in blocks])
    for i, (model, block) in enumerate(zip(learnt.models, blocks, strict=True)):
        weight, second = scale * learnt.weights[i], scale * learnt.second[:, ranks[i]]
        own = scale * learnt.correction[:, ranks[i]] + second
        coef.append(weight * model.coef @ block.basis.T)
        # Features of the second opinion are not centred.
        intercept = intercept + weight * model.intercept + second @ model.centre
        correction.append(own @ block.basis.T)
        correction_intercept -= own @ model.centre
        evidence.append(
            {
                "centre": block.basis @ model.centre,
                "precision": model.solve(block.basis) @ block.basis.T,
                "weight": weight,
                "variances": scale * learnt.variances[:, i],
            }
        )
    if learnt.second_residuals is not None:
        evidence[_main(blocks)]["second"] = {
            "variance": scale * WEIGHT * VARIANCE,
            **sparse(learnt.second_residuals),
        }
    pairs = list(zip(learnt.models, blocks, strict=True))
    return TextPriorModel(
        text_weight=scale * learnt.text,
        means_weights=(scale * learnt.weights).tolist(),
        shrinkages=[model.shrinkage for model in learnt.models],
        text_coef=scale * learnt.text * text_coef,
        means_part=(np.hstack(coef), intercept),
        correction_part=(np.hstack(correction), correction_intercept),
        statistics=_statistics(features, codes, shots.weights, n_classes, columns),
        prior=np.hstack([model.prior @ block.basis.T for model, block in pairs]),
        means=np.hstack([model.means @ block.basis.T for model, block in pairs]),
        weights=weights,
        evidence={
            "rows": rows,
            "present": learnt.present,
            **sparse(learnt.residuals),
            "blocks": evidence,
        },
    )


def _statistics(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    n_classes: int,
    columns: list[slice],
) -> list[Statistics]:
    return [Statistics.of(features[:, own], codes, weights, n_classes) for own in columns]


def _useful_spread(text_logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]) -> float:
    """Deviation of the text logits (m, C) over the classes; 0 if they tell nothing about the shots."""
    n_classes = text_logits.shape[1]
    variances = np.var(text_logits, axis=1, ddof=min(1, n_classes - 1))
    spread = float(np.sqrt(np.average(variances, weights=weights)))
    chance = weights.sum() * np.log(n_classes) + np.log(ODDS)
    # The second cost is never above the first, which is quick, and nearly always enough.
    useless = (
        log_loss(text_logits, codes, weights)[0] > chance
        and most_probable_weights([text_logits], codes, weights)[1] > chance
    )
    return 0.0 if spread < NO_SPREAD or useless else max(spread, LEAST_SPREAD)


def _blocks(
    features: NDArray[Any], text: NDArray[Any] | None, spread: float, columns: list[slice]
) -> list[Block]:
    """Blocks of columns of the shots and the text, whose logits have this spread."""
    texts = [
        None if text is None or not text[:, own].any() else text[:, own].astype(np.float64)
        for own in columns
    ]
    main = next(
        (own for own, part in zip(columns, texts, strict=True) if part is not None), columns[0]
    )
    blocks = []
    for own, part in zip(columns, texts, strict=True):
        # Few shots and classes span few directions, and nothing is learnt about the others.
        spanning = features[:, own] if part is None else np.vstack([features[:, own], part])
        basis = np.eye(spanning.shape[1])
        if len(spanning) < len(basis):
            basis = np.linalg.qr(spanning.T)[0]
        trust = 1.0 if own == main else _agreement(features[:, main], features[:, own])
        if part is None:
            blocks.append(Block(basis, None, SPREAD_OF_TEXT, trust))
        else:
            blocks.append(Block(basis, part @ basis, spread, trust))
    return blocks


def _agreement(main: NDArray[Any], other: NDArray[Any]) -> float:
    """How far two blocks of features agree on which shots are alike, from 0 to 1.

    The correlation of the products of different, centred shots, less its deviation for noise. Labels are not
    used, so that one shot per class is enough.
    """
    rows = distinct_rows(main)[:1024]
    n = len(rows)
    if n < 4:
        return 0.0
    products = []
    for block in (main[rows], other[rows]):
        apart = block - block.mean(axis=0)
        products.append((apart @ apart.T)[np.triu_indices(n, 1)])
        products[-1] -= products[-1].mean()
    size = np.sqrt((products[0] ** 2).sum() * (products[1] ** 2).sum())
    return float(np.clip(products[0] @ products[1] / max(size, 1e-30) - 2 / n, 0, 1))


def _discriminants(statistics: Statistics, block: Block) -> Discriminants:
    width = len(block.basis)
    shrinkage = shrinkage_for(statistics, width)
    if block.text is not None:
        shrinkage = min(shrinkage, SHRINKAGE)
    return Discriminants(statistics, block.text, shrinkage, width)


def _temperature(shots: Shots, blocks: list[Block], learnt: Learnt) -> float:
    """Factor of all logits at which the answers without a fold are calibrated on it.

    Of two folds, neither can hold out others. Then the answer's own held-out logits stand for both.
    """
    usual = TEMPERATURE if shots.text_logits is not None else WITHOUT_TEXT
    if not learnt.is_tested:
        return usual
    tested, logits = np.zeros(len(shots.codes), bool), np.array(learnt.held_out)
    for fold in range(shots.folds.max() + 1):
        own = shots.folds == fold
        tested |= own
        if shots.folds.max() > 1:
            rest = Learnt(shots.where(~own), blocks, len(learnt.counts), learnt.factors)
            if rest.is_tested:
                logits[own] = rest.logits(shots.where(own))[:, learnt.present]
        if shots.weights[tested].sum() >= ENOUGH_SHOTS:
            break
    parts = [usual * logits[tested]]
    factors, _ = most_probable_weights(parts, learnt.targets[tested], learnt.even[tested])
    return usual * float(factors[0])
