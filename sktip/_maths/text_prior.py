"""Class means with a prior predicted from text, and a correction: a linear few-shot classifier.

The logits of a unit feature x, of text features w_c, are, with one temperature t for all,

    t (a s w_c'x + alpha g_c(x) + B_c'(x - centre))

g is the discriminant of the class means (`discriminants`), and B a multinomial logistic regression on top of the
first two terms (`correction`). With text, they are mixed with a logistic regression on top of the first term alone
(`second_opinion`). Weights and temperature are chosen on held-out shots (`choice`). NumPy arrays only.

Features of several encoders are blocks of columns, with a discriminant each: covariances between blocks are
taken to be 0. The weights of the text and of all discriminants are chosen together, and one correction
learns from all columns what they miss. Without text, the class means of a block are those of the shots, drawn
to their common mean.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.blocks import NO_SPREAD, Block, spread_of
from sktip._maths.choice import Learner, label_beliefs
from sktip._maths.contributions import sparse
from sktip._maths.discriminants import KAPPA, SHRINKAGE
from sktip._maths.folds import MAX_FOLDS, balanced_folds
from sktip._maths.second_opinion import VARIANCE, WEIGHT
from sktip._maths.statistics import Statistics
from sktip._maths.unit import columns_of


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
    columns = columns_of(list(widths or [features.shape[1]]))
    all_weights = np.ones(len(features)) if weights is None else weights.astype(np.float64)
    rows = np.flatnonzero(all_weights)
    features, codes = features[rows].astype(np.float64), codes[rows]
    text_coef = np.zeros((n_classes, features.shape[1]))
    if text is not None:
        text = text.astype(np.float64)
        text_coef = logit_scale * text

    def statistics() -> list[Statistics]:
        own = all_weights[rows]
        return [Statistics.of(features[:, part], codes, own, n_classes) for part in columns]

    if not len(rows):
        nothing = np.zeros_like(text_coef), np.zeros(n_classes)
        return TextPriorModel(
            text_weight=1.0,
            means_weights=[0.0] * len(columns),
            shrinkages=[SHRINKAGE] * len(columns),
            text_coef=text_coef,
            means_part=nothing,
            correction_part=nothing,
            statistics=statistics(),
            prior=None,
            means=None,
            weights=all_weights,
            evidence={},
        )
    if spread_of(features @ text_coef.T, all_weights[rows]) < NO_SPREAD:
        text = None
    own_groups = None if groups is None else groups[rows]
    folds = balanced_folds(features, codes, all_weights[rows], own_groups, max_folds=MAX_FOLDS)
    blocks = [
        Block.of(
            features[:, own],
            all_weights[rows],
            None if text is None else text[:, own],
            logit_scale,
        )
        for own in columns
    ]

    def learner() -> Learner:
        return Learner(
            blocks,
            codes,
            all_weights[rows],
            folds,
            text_logits=None if text is None else features @ text_coef.T,
            n_classes=n_classes,
        )

    shots = learner()
    answer = shots.answer()
    if answer.held_out is not None:
        targets = np.searchsorted(answer.present, codes)
        beliefs = label_beliefs(answer.held_out, targets, all_weights[rows])
        if beliefs is not None:
            all_weights[rows] *= beliefs
            shots = learner()
            answer = shots.answer()
    scale = shots.temperature(answer)
    counts = shots.whole[0].counts
    if text is None:
        # A class with less than one shot must not win by its prior mean.
        offsets = np.log(np.clip(counts, 1e-6, 1))
    else:
        # A class with few shots fits its images less well: by the squared error of its mean.
        pairs = zip(answer.means, answer.models, strict=True)
        error = sum(weight * model.error for weight, model in pairs)
        offsets = scale * error / 2 * KAPPA / (KAPPA + counts)
    means_coef, means_intercept = [], offsets
    correction_coef, correction_intercept = [], np.zeros(n_classes)
    evidence = []
    ranks = [block.features.shape[1] for block in blocks]
    for i, (model, block, own) in enumerate(
        zip(answer.models, blocks, columns_of(ranks), strict=True)
    ):
        weight, second = scale * answer.means[i], scale * answer.second[:, own]
        learnt = scale * answer.correction[:, own] + second
        means_coef.append(weight * model.coef @ block.basis.T)
        # Features of the second opinion are not centred.
        means_intercept = means_intercept + weight * model.intercept + second @ model.centre
        correction_coef.append(learnt @ block.basis.T)
        correction_intercept -= learnt @ model.centre
        evidence.append(
            {
                "centre": block.basis @ model.centre,
                "precision": model.solve(block.basis) @ block.basis.T,
                "weight": weight,
                "variances": scale * answer.variances[:, i],
            }
        )
    if answer.second_residuals is not None:
        evidence[shots.main]["second"] = {
            "variance": scale * WEIGHT * VARIANCE,
            **sparse(answer.second_residuals),
        }
    fitted = list(zip(answer.models, blocks, strict=True))
    return TextPriorModel(
        text_weight=scale * answer.text,
        means_weights=[scale * weight for weight in answer.means],
        shrinkages=answer.shrinkages,
        text_coef=scale * answer.text * text_coef,
        means_part=(np.hstack(means_coef), means_intercept),
        correction_part=(np.hstack(correction_coef), correction_intercept),
        statistics=statistics(),
        prior=np.hstack([model.prior @ block.basis.T for model, block in fitted]),
        means=np.hstack([model.means @ block.basis.T for model, block in fitted]),
        weights=all_weights,
        evidence={
            "rows": rows,
            "present": answer.present,
            **sparse(answer.residuals),
            "blocks": evidence,
        },
    )
