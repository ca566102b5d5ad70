"""Choose the weight of Gaussian discriminants relative to the text prior, on held-out shots."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from sktip._maths.discriminant import ClassStatistics, views_as_samples
from sktip._maths.selection.beliefs import (
    GDA_FOLDS,
    GDA_GROUPS,
    GDA_SPREAD,
    LEAST_TRUST,
    MOST_TRUST_OF_ONE_SHOT,
    SHOTS_OF_FULL_BELIEF,
    SPREAD_OF_TEXT,
    precision,
)
from sktip._maths.selection.folds import class_balanced_weights, fold_numbers
from sktip._maths.selection.minimum import inverse_temperature

#: Range of the search around the belief, in the logarithm, and its tolerance.
RANGE, TOLERANCE = (-7.0, 7.0), 1e-2
#: Logit of a class that does not compete. Its probability is 0 at any temperature.
NEVER = -1e30


@dataclass(frozen=True)
class DiscriminantWeight:
    """The chosen weight.

    Parameters
    ----------
    alpha : float
        Weight of the discriminants relative to the text logits.

    logits : ndarray of shape (q, g) or None
        Logits of each held-out sample for its competing classes. If it has fewer of them than other
        samples, the rest is -1e30. None if no shot could be held out.
    """

    alpha: float
    logits: NDArray[Any] | None = None


@dataclass(frozen=True)
class HeldOutGroup:
    """Held-out samples and their competing classes.

    Parameters
    ----------
    rows : ndarray of shape (q,)
        Indices of the samples.

    classes : ndarray of shape (g,)
        Codes of the competing classes, ascending.

    votes : ndarray of shape (q, g)
        Discriminants of the samples.

    n_shots : float
        Mean number of shots per class that are not held out.
    """

    rows: NDArray[Any]
    classes: NDArray[Any]
    votes: NDArray[Any]
    n_shots: float


def chosen_weight(
    statistics: ClassStatistics,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    *,
    groups: NDArray[Any] | None = None,
    text: NDArray[Any],
    logit_scale: float,
) -> DiscriminantWeight:
    """Choose the most probable weight of the discriminants relative to the text prior.

    Parameters
    ----------
    statistics : ClassStatistics
        Statistics of all samples, the views of the shots.

    shots : ndarray of shape (m, n_views, d)
        Unit features.

    codes : ndarray of shape (m,)
        Class codes of the shots.

    weights : ndarray of shape (m,) or None
        Weights of the shots.

    groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together.

    text : ndarray of shape (C, d)
        Unit text features.

    logit_scale : float
        Scale of the text logits.
    """
    text = logit_scale * text.astype(np.float64, copy=False)
    # Classes are sorted by their text features before they are split into groups, so that the choice does
    # not depend on their labels.
    order = np.lexsort(text.T[::-1])
    place = np.argsort(order)
    codes, text, statistics = place[codes], text[order], statistics.spread_to(len(text), place)
    shots = shots.astype(np.float64, copy=False)
    belief = _believed_weight(len(codes) / len(np.unique(codes)))
    parts = list(held_out_groups(shots, codes, weights, len(text), groups))
    is_held_out, n_views = bool(parts), shots.shape[1]
    if is_held_out:
        samples, codes, weights = views_as_samples(shots, codes, weights)
    else:
        # The class means serve as queries. Only their discriminants for the wrong classes are used.
        present = np.unique(codes)
        scores, intercepts = statistics.discriminants()
        samples, codes, weights, n_views = statistics.means, np.arange(len(text)), None, 1
        votes = samples[present] @ scores.T + intercepts
        parts = [HeldOutGroup(present, np.arange(len(text)), votes, belief)]
    priors = [samples[part.rows] @ text[part.classes].T for part in parts]
    spread_of_text, spread_of_votes = _spreads(parts, priors, codes)
    if spread_of_votes == 0:
        return DiscriminantWeight(belief)
    prior, votes, targets, shares = _side_by_side(parts, priors, codes, weights)
    strength = precision(GDA_SPREAD, len(targets) / n_views)
    # The text has not seen the shots, so its log-loss on them shows how far it can be trusted.
    confidence, _ = inverse_temperature(prior, targets, shares, precision=strength)
    most = 1.0 if is_held_out else MOST_TRUST_OF_ONE_SHOT
    trust = min(max(confidence * spread_of_text / SPREAD_OF_TEXT, LEAST_TRUST), most)
    unit = spread_of_text / spread_of_votes / trust**2
    if not is_held_out:
        return DiscriminantWeight(unit * belief)
    start = unit * float(np.mean([_believed_weight(part.n_shots) for part in parts]))
    votes *= start
    factor = _best_factor(prior, votes, targets, shares, strength)
    return DiscriminantWeight(factor * unit * belief, (prior + factor * votes).T.numpy())


def weight_without_text(statistics: ClassStatistics, logit_scale: float) -> DiscriminantWeight:
    """Weight at which the discriminants have the usual spread of CLIP's text logits."""
    own = np.flatnonzero(statistics.counts)
    scores, intercepts = statistics.discriminants()
    spread = variance_of_competing(statistics.means[own] @ scores.T + intercepts, own)
    # The usual logit scale of CLIP is 100.
    wanted = SPREAD_OF_TEXT * logit_scale / 100
    return DiscriminantWeight(wanted / float(np.sqrt(spread)) if spread > 0 else 1.0)


def held_out_groups(
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    n_classes: int,
    shot_groups: NDArray[Any] | None = None,
) -> Iterator[HeldOutGroup]:
    """Classify held-out samples by statistics that have not seen them.

    Some shots of every class are held out together, which treats all classes alike. With few shots, the
    remaining shots leave no covariance, and a mean looks too close to a sample if its own shots shaped
    the covariance. So the covariance must come from classes that do not compete. The classes are split
    into groups. The classes of a group compete with each other, and the covariance is that of the
    shots of all other groups and of the shots in the group that are not held out.

    Parameters
    ----------
    shots : ndarray of shape (m, n_views, d)
        Unit features.

    codes : ndarray of shape (m,)
        Class codes of the shots.

    weights : ndarray of shape (m,) or None
        Weights of the shots.

    n_classes : int
        Number of classes C.

    shot_groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together.
    """
    n_shots = np.bincount(codes, minlength=n_classes)
    present = np.flatnonzero(n_shots)
    if len(present) < 2:
        # There are no competing classes.
        return
    n_groups = max(1, min(GDA_GROUPS, len(present) // 2))
    group_of = np.full(n_classes, -1)
    group_of[present] = np.arange(len(present)) % n_groups
    n_views = shots.shape[1]
    folds = fold_numbers(codes, GDA_FOLDS, shot_groups).repeat(n_views)
    samples, codes, sample_weights = views_as_samples(shots, codes, weights)

    def statistics(rows: NDArray[Any]) -> ClassStatistics:
        own = None if sample_weights is None else sample_weights[rows]
        return ClassStatistics.of(samples[rows], codes[rows], n_classes, own)

    for group in range(n_groups):
        inside = group_of[codes] == group
        others = statistics(~inside)
        classes = np.flatnonzero(group_of == group)
        for fold in range(folds.max() + 1):
            held_out = inside & (folds == fold)
            whole = others + statistics(inside & ~held_out)
            can_tell = whole.has_spread and (whole.counts[classes] > 0).all()
            if not held_out.any() or not can_tell:
                continue
            scores, intercepts = whole.discriminants()
            rows = np.flatnonzero(held_out)
            votes = samples[rows] @ scores[classes].T + intercepts[classes]
            left = (inside & ~held_out).sum() / inside.sum() * n_shots[classes].mean()
            yield HeldOutGroup(rows, classes, votes, left)


def variance_of_competing(logits: NDArray[Any], own: NDArray[Any]) -> float:
    """Mean variance of the logits (q, g) of the classes other than each row's `own`.

    The own class is excluded, except with two classes, where only the difference matters.
    """
    if logits.shape[1] > 2:
        kept = np.ones_like(logits, dtype=bool)
        kept[np.arange(len(logits)), own] = False
        logits = logits[kept].reshape(len(logits), -1)
    return float(logits.var(axis=1, ddof=1).mean())


def _best_factor(
    prior: Tensor, votes: Tensor, codes: Tensor, weights: Tensor, strength: float
) -> float:
    """Factor of the votes with the smallest cost of the sum, at the best temperature of the sum.

    At a fixed temperature, the log-loss would give a small factor beside a weak, overconfident prior,
    only because the sum would be overconfident too.
    """

    def cost(u: float) -> float:
        logits = torch.add(prior, votes, alpha=math.exp(u))
        _, value = inverse_temperature(logits, codes, weights, precision=strength)
        return value + strength * u * u / 2

    found = minimize_scalar(cost, bounds=RANGE, method="bounded", options={"xatol": TOLERANCE})
    return math.exp(found.x)


def _believed_weight(n_shots: float) -> float:
    """Median of the prior belief in the weight, in units of the spread of the text prior."""
    return float(min(1.0, n_shots / SHOTS_OF_FULL_BELIEF))


def _spreads(
    groups: Sequence[HeldOutGroup], priors: Sequence[NDArray[Any]], codes: NDArray[Any]
) -> tuple[float, float]:
    """Spreads of the text logits and of the discriminants of the wrong classes."""
    variances, n_rows = np.zeros(2), 0
    for group, prior in zip(groups, priors, strict=True):
        own = np.searchsorted(group.classes, codes[group.rows])
        n_rows += len(own)
        both = variance_of_competing(prior, own), variance_of_competing(group.votes, own)
        variances += len(own) * np.array(both)
    text, votes = np.sqrt(variances / n_rows).tolist()
    return text, votes


def _side_by_side(
    groups: Sequence[HeldOutGroup],
    priors: Sequence[NDArray[Any]],
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Text logits and discriminants of all groups, each (g, q), with classes and weights (q,).

    Groups with fewer classes are padded with classes that cannot win.
    """
    rows = np.concatenate([group.rows for group in groups])
    width = max(len(group.classes) for group in groups)
    prior, votes = np.full((width, len(rows)), NEVER), np.zeros((width, len(rows)))
    targets = np.empty(len(rows), np.intp)
    start = 0
    for group, logits in zip(groups, priors, strict=True):
        part = slice(len(group.classes)), slice(start, start + len(group.rows))
        prior[part], votes[part] = logits.T, group.votes.T
        targets[part[1]] = np.searchsorted(group.classes, codes[group.rows])
        start = part[1].stop
    counted = class_balanced_weights(codes[rows], None if weights is None else weights[rows])
    return (
        torch.as_tensor(prior),
        torch.as_tensor(votes),
        torch.as_tensor(targets),
        torch.as_tensor(counted),
    )
