"""Weights and temperature of the few-shot classifier, chosen on held-out shots.

The weights are chosen by the log-loss of shots under models without them, and the temperature with everything learnt
again without a fold: means, covariance and correction. Few shots show little, and a log-normal prior of each
number decides the rest.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.blocks import Block, agreement
from sktip._maths.correction import fit_correction
from sktip._maths.discriminants import KAPPA, SHRINKAGE, Discriminants
from sktip._maths.folds import ENOUGH, class_balanced_weights
from sktip._maths.log_loss import DOUBLE, log_loss, most_probable_weights
from sktip._maths.second_opinion import WEIGHT, second_opinion
from sktip._maths.statistics import Statistics
from sktip._maths.unit import columns_of

#: Shrinkages of a block without text that are tried on held-out shots. The first is used where there are too few.
SHRINKAGES = (0.85, 0.5, 0.2)
#: Prior of the discriminants' weight: the ratio of their spread to that of the text logits, at one shot per
#: class. It grows with the square root of the shots.
SPREAD = 0.4
#: Factor of all logits before held-out shots are seen, with text and without.
TEMPERATURE, WITHOUT_TEXT = 0.85, 0.6
#: Prior belief that labels are right, as a number of right labels. A smaller share of wrong labels than
#: the second number does not justify a second fit.
RIGHT_LABELS, LEAST_WRONG = 50.0, 0.01
#: Shots on which the weights are chosen.
SCORED = 4000


class Answer(NamedTuple):
    """What is learnt from the shots, but for the temperature.

    `factors` were chosen on held-out shots; `text` is that of the text logits, and `means` are the weights of the
    discriminants, `models`, of each block, whose covariances have these `shrinkages`. `correction` and `second`, the second
    opinion, (C, r), have columns for all blocks; `variances`, (C, n_blocks), are those of the correction's prior, and
    `residuals` and `second_residuals`, (m, p), those of the shots for the classes that are `present`. `held_out`, (m, p),
    are text and discriminants from models without the shot; None if too few shots can be held out.
    """

    factors: NDArray[Any]
    text: float
    means: list[float]
    models: list[Discriminants]
    shrinkages: list[float]
    present: NDArray[Any]
    correction: NDArray[Any]
    variances: NDArray[Any]
    residuals: NDArray[Any]
    second: NDArray[Any]
    second_residuals: NDArray[Any] | None
    held_out: NDArray[Any] | None

    @property
    def coef(self) -> NDArray[Any]:
        """Coefficients (C, r) of the discriminants, the correction and the second opinion."""
        pairs = zip(self.means, self.models, strict=True)
        means = np.hstack([weight * model.coef for weight, model in pairs])
        result: NDArray[Any] = means + self.correction + self.second
        return result

    @property
    def intercept(self) -> NDArray[Any]:
        """Intercepts (C,) of the discriminants and the correction."""
        pairs = zip(self.means, self.models, strict=True)
        means = np.sum([weight * model.intercept for weight, model in pairs], axis=0)
        centre = np.hstack([model.centre for model in self.models])
        result: NDArray[Any] = means - self.correction @ centre
        return result


class _Part(NamedTuple):
    """Discriminants of one block, their weight by the prior, and held-out logits (m, p) at this weight."""

    model: Discriminants
    weight: float
    shrinkage: float
    logits: NDArray[Any]


class _Kept(NamedTuple):
    """The shots that are not in the folds `out`.

    Their `rows` and `folds`, (m,); the classes that are `present`, (p,), positions in these as `targets`, (m,), and
    weights that give all classes the same total, `even`, (m,). Weights are chosen on the `scored` ones. `counts`, (C,),
    are shots of the classes, `held` the folds that can be held out, and `per_class` is the mean number of shots
    of a class in the models that are tested.
    """

    out: tuple[int, ...]
    rows: NDArray[Any]
    folds: NDArray[Any]
    present: NDArray[Any]
    targets: NDArray[Any]
    even: NDArray[Any]
    scored: NDArray[Any]
    counts: NDArray[Any]
    held: list[int]
    per_class: float
    dtype: Any

    def most_probable(self, terms: list[NDArray[Any]]) -> tuple[NDArray[Any], float]:
        """Weights of terms of the logits, and the cost of their sum."""
        rows = self.scored
        return most_probable_weights(
            [term[rows] for term in terms], self.targets[rows], self.even[rows]
        )


class Learner:
    """Learns from the shots of all folds, or of all but some.

    Codes, weights and folds are (m,). `text_logits`, (m, C), are None without text.
    """

    def __init__(
        self,
        blocks: list[Block],
        codes: NDArray[Any],
        weights: NDArray[Any],
        folds: NDArray[Any],
        *,
        text_logits: NDArray[Any] | None,
        n_classes: int,
    ):
        self.blocks, self.codes, self.weights, self.folds = blocks, codes, weights, folds
        self.text_logits, self.n_classes = text_logits, n_classes
        self.n_folds = int(folds.max()) + 1
        with_text = [block.text is not None for block in blocks]
        self.main = with_text.index(True) if any(with_text) else 0
        self.agreement = np.array([agreement(blocks[self.main], block) for block in blocks])
        self.sums = [
            [self._sums_of(block, folds == fold) for fold in range(self.n_folds)]
            for block in blocks
        ]
        self.whole = [self._sums_of(block, slice(None)) for block in blocks]

    def _sums_of(self, block: Block, rows: Any) -> Statistics:
        features, codes, weights = block.features[rows], self.codes[rows], self.weights[rows]
        return Statistics.of(features, codes, weights, self.n_classes)

    def _sums(self, number: int, out: tuple[int, ...]) -> Statistics:
        """Statistics of a block without the shots of some folds."""
        result = self.whole[number]
        for fold in out:
            result = result.without(self.sums[number][fold])
        return result

    def answer(self, *out: int, like: Answer | None = None) -> Answer:
        """Learn everything but the temperature without the shots of some folds.

        Weights are chosen by the log-loss of each fold under models without it. Only classes that have
        shots compete: queries may show the others just as often. With another answer, nothing is chosen again.
        """
        kept = self._kept(out)
        if like is None:
            parts = [self._best_part(kept, number) for number in range(len(self.blocks))]
        else:
            parts = [self._part(kept, *pair) for pair in enumerate(like.shrinkages)]
        trust = self._trust(kept.per_class)
        terms = []
        if self.text_logits is not None:
            terms.append(self.text_logits[kept.rows][:, kept.present].astype(kept.dtype))
        if kept.held:
            terms += [kept.dtype(own) * one.logits for own, one in zip(trust, parts, strict=True)]
        factors = kept.most_probable(terms)[0] if like is None else like.factors[: len(terms)]
        logits = np.zeros((len(kept.rows), len(kept.present)), kept.dtype)
        for factor, term in zip(factors, terms, strict=True):
            logits += kept.dtype(factor) * term
        means = trust * np.array([one.weight for one in parts])
        if kept.held:
            means = means * factors[-len(parts) :]
        models = [one.model for one in parts]
        # The uncertainty of the class means, and of the one covariance. Blocks that agree share it.
        n = np.maximum(kept.counts[kept.present, None], 1)
        variances = means / (KAPPA + n) + means**2 / n
        variances = np.maximum(variances, 1e-12) / trust.sum()
        ranks = [block.features.shape[1] for block in self.blocks]
        pairs = zip(models, self.blocks, strict=True)
        white = np.hstack([one.whitened(block.features[kept.rows]) for one, block in pairs])
        by_column = variances if len(ranks) == 1 else np.repeat(variances, ranks, 1)
        found, residuals = fit_correction(white, kept.targets, kept.even, logits, by_column)
        correction = np.zeros((self.n_classes, sum(ranks)))
        for own, model in zip(columns_of(ranks), models, strict=True):
            correction[kept.present, own] = model.unwhitened(found[:, own])
        text, second, second_residuals = 0.0, np.zeros_like(correction), None
        if self.text_logits is not None:
            text, own = float(factors[0]), columns_of(ranks)[self.main]
            raw, offset = self.blocks[self.main].features[kept.rows], kept.dtype(text) * terms[0]
            found, second_residuals = second_opinion(raw, kept.targets, kept.even, offset)
            second[kept.present, own] = WEIGHT * found
            means, variances = (1 - WEIGHT) * means, (1 - WEIGHT) * variances
            correction *= 1 - WEIGHT
        return Answer(
            factors,
            text,
            means.tolist(),
            models,
            [one.shrinkage for one in parts],
            kept.present,
            correction,
            variances,
            residuals,
            second,
            second_residuals,
            logits if kept.held else None,
        )

    def _kept(self, out: tuple[int, ...]) -> _Kept:
        """Describe the shots that are not in some folds, and which of their folds can be held out."""
        rows = np.flatnonzero(~np.isin(self.folds, out))
        folds, codes, weights = self.folds[rows], self.codes[rows], self.weights[rows]
        present, targets = np.unique(codes, return_inverse=True)
        counts = self._sums(0, out).counts
        rests = {fold: self._sums(0, (*out, fold)).counts for fold in np.unique(folds).tolist()}
        # A shot tests a model that has other shots of its class. If there are fewer of these shots than
        # classes, they would decide too much.
        pairs = zip(folds.tolist(), codes.tolist(), strict=True)
        tests = np.array([rests[fold][code] > 0 for fold, code in pairs])
        tested = float(weights[tests].sum()) >= len(present)
        held = {fold: rest for fold, rest in rests.items() if tested and rest.any()}
        used = list(held.values()) or [counts]
        per_class = float(np.mean([n.sum() / np.minimum(n, 1).sum() for n in used]))
        even = class_balanced_weights(targets, weights)
        # By weight, since a shot of weight 2 counts like one that is given twice.
        scored = np.flatnonzero(
            folds <= np.searchsorted(np.cumsum(np.bincount(folds, weights)), SCORED)
        )
        dtype = np.float64 if len(rows) * len(present) <= DOUBLE else np.float32
        return _Kept(
            out, rows, folds, present, targets, even, scored, counts, list(held), per_class, dtype
        )

    def _best_part(self, kept: _Kept, number: int) -> _Part:
        """Fit the discriminants of a block at the shrinkage that serves the held-out shots."""
        if self.blocks[number].text is not None:
            return self._part(kept, number, SHRINKAGE)
        if not kept.held:
            return self._part(kept, number, SHRINKAGES[0])
        tried = [self._part(kept, number, shrinkage) for shrinkage in SHRINKAGES]
        costs = [kept.most_probable([one.logits])[1] for one in tried]
        return tried[int(np.argmin(costs))]

    def _part(self, kept: _Kept, number: int, shrinkage: float) -> _Part:
        """Fit the discriminants of a block, with all shots and without each fold."""
        block = self.blocks[number]
        main = block if block.text is not None else self.blocks[self.main]
        spread = SPREAD * np.sqrt(kept.per_class) * main.spread

        def fitted(*out: int) -> tuple[Discriminants, float]:
            sums = self._sums(number, (*kept.out, *out))
            model = Discriminants(sums, block.text, shrinkage, block.width, ridge=block.ridge)
            return model, model.weight_for(spread)

        logits = np.zeros((len(kept.rows), len(kept.present)), kept.dtype)
        for fold in kept.held:
            model, weight = fitted(fold)
            at = kept.folds == fold
            own = block.features[kept.rows[at]] @ model.coef[kept.present].T
            logits[at] = weight * (own + model.intercept[kept.present])
        return _Part(*fitted(), shrinkage, logits)

    def _trust(self, per_class: float) -> NDArray[Any]:
        """Factor of the discriminants of each block before held-out shots are seen."""
        if self.text_logits is None:
            result: NDArray[Any] = self.agreement / self.agreement.sum()
            return result
        # The text tells the class means of its block, but those of the others are only as certain as the shots.
        certainty = per_class / (per_class + KAPPA)
        without = [block.text is None for block in self.blocks]
        return self.agreement * np.where(without, certainty, 1)

    def temperature(self, answer: Answer) -> float:
        """Factor of all logits at which the answers without a fold are calibrated on it.

        Of two folds, neither can hold out others. Then the answer's own held-out logits stand for both.
        """
        usual = TEMPERATURE if self.text_logits is not None else WITHOUT_TEXT
        if answer.held_out is None:
            return usual
        present, targets = np.unique(self.codes, return_inverse=True)
        tested, logits = [], []
        for fold in range(self.n_folds):
            rows = np.flatnonzero(self.folds == fold)
            rest = self.answer(fold, like=answer) if self.n_folds > 2 else None
            if rest is None or rest.held_out is None:
                found = answer.held_out[rows]
            else:
                features = np.hstack([block.features[rows] for block in self.blocks])
                found = features @ rest.coef.T + rest.intercept
                if self.text_logits is not None:
                    found += rest.text * self.text_logits[rows]
                found = found[:, present]
            tested.append(rows)
            logits.append(found)
            if self.weights[np.concatenate(tested)].sum() >= ENOUGH:
                break
        rows = np.concatenate(tested)
        even = class_balanced_weights(targets, self.weights)[rows]
        parts = [usual * np.vstack(logits)]
        return usual * float(most_probable_weights(parts, targets[rows], even)[0][0])


def label_beliefs(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> NDArray[Any] | None:
    """Probability that each label is right, (m,), from held-out logits (m, p); None if nearly all are.

    A label is right, or with probability e any class at random. The most probable e and the
    temperature of the held-out logits are found together, by expectation-maximisation.
    """
    n_classes = logits.shape[1]
    if n_classes < 2:
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
    return kept / (kept + wrong / n_classes) if wrong else np.ones(len(held_out))


def _share_of_wrong(held_out: NDArray[Any], weights: NDArray[Any], n_classes: int) -> float:
    """Most probable share of wrong labels, up to a half, by bisection: the cost is convex in it."""
    low, high = 0.0, 0.5
    for _ in range(30):
        share = (low + high) / 2
        mixed = (1 - share) * held_out + share / n_classes
        slope = weights @ ((held_out - 1 / n_classes) / mixed) + RIGHT_LABELS / (1 - share)
        low, high = (low, share) if slope > 0 else (share, high)
    return low
