"""How much Gaussian discriminants are worth beside the text prior, asked of left-out shots."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor

from sktip._maths.discriminant import ClassStatistics
from sktip._maths.selection import Questions, best_alpha

#: Parts that shots and classes are dealt into for leaving out.
N_FOLDS, N_GROUPS = 4, 4
#: From so many shots a class on, discriminants are believed to be worth as much as the text.
SHOTS_OF_FULL_BELIEF = 6
#: Standard deviation of beliefs, in the logarithm.
SPREAD = 1.0
#: Text logits of CLIP that can be taken at their word spread this widely between wrong classes.
SPREAD_OF_TEXT = 3.0
#: Text that says nothing is not trusted infinitely little.
LEAST_TRUST = 1e-2
#: How far around the belief the weight is looked for, in the logarithm, and how exactly.
RANGE, TOLERANCE = (-7.0, 7.0), 1e-2


@dataclass(frozen=True)
class Piece:
    """Left-out samples, and the classes that compete for them.

    Parameters
    ----------
    rows : ndarray of shape (q,)
        Which samples.

    classes : ndarray of shape (g,)
        Codes of the competing classes, ascending.

    votes : ndarray of shape (q, g)
        Their discriminants.

    n_shots : float
        Shots a class that are not left out, on average.
    """

    rows: NDArray
    classes: NDArray
    votes: NDArray
    n_shots: float


def leave_out(
    samples: NDArray, codes: NDArray, places: NDArray, weights: NDArray | None, n_classes: int
) -> Iterator[Piece]:
    """Ask left-out samples for their class, without anything that has seen them.

    Some shots of every class are left out together, so that no class is a shot short. With few
    shots that leaves no covariance: it must come from classes that do not compete, since a mean
    whose own shots shaped the covariance looks nearer than it is. So the classes are dealt into
    groups; those of a group compete with one another, and the covariance is that of all other
    groups' shots and of the shots in the group that are not left out.

    Parameters
    ----------
    samples : ndarray of shape (n, d)
        Unit features.

    codes : ndarray of shape (n,)
        Their class codes.

    places : ndarray of shape (n,)
        Place of each sample's image among those of its class, from 0.

    weights : ndarray of shape (n,) or None
        Weight of each.

    n_classes : int
        Number of classes C.
    """
    n_shots = _shots_of(codes, places, n_classes)
    present = np.flatnonzero(n_shots)
    n_groups = max(1, min(N_GROUPS, len(present) // 2))
    group_of = np.full(n_classes, -1)
    group_of[present] = np.arange(len(present)) % n_groups
    folds = places % N_FOLDS
    several = n_shots[codes] > 1

    def statistics(rows: NDArray) -> ClassStatistics:
        own = None if weights is None else weights[rows]
        return ClassStatistics.of(samples[rows], codes[rows], n_classes, own)

    if len(present) < 2:
        # Nobody competes.
        return
    for group in range(n_groups):
        inside = group_of[codes] == group
        others = statistics(~inside)
        classes = np.flatnonzero(group_of == group)
        for fold in range(min(N_FOLDS, n_shots.max())):
            out = inside & several & (folds == fold)
            whole = others + statistics(inside & ~out)
            if not out.any() or not whole.has_spread or not (whole.counts[classes] > 0).all():
                continue
            scores, intercepts = whole.discriminants()
            rows = np.flatnonzero(out)
            votes = samples[rows] @ scores[classes].T + intercepts[classes]
            # Every image has the same number of views.
            left = (inside & ~out).sum() / inside.sum() * n_shots[classes].mean()
            yield Piece(rows, classes, votes, left)


def spread_of_rivals(logits: NDArray, own: NDArray) -> float:
    """Mean variance of the logits (q, g) of the classes other than each row's `own`.

    What a right answer adds is left aside; of two classes, there is only the difference.
    """
    if logits.shape[1] > 2:
        kept = np.ones_like(logits, dtype=bool)
        kept[np.arange(len(logits)), own] = False
        logits = logits[kept].reshape(len(logits), -1)
    return float(logits.var(axis=1, ddof=1).mean())


def chosen_weight(
    statistics: ClassStatistics,
    samples: NDArray,
    codes: NDArray,
    places: NDArray,
    *,
    weights: NDArray | None,
    text: NDArray,
) -> float:
    """Most probable weight of the discriminants beside the text prior.

    Parameters
    ----------
    statistics : ClassStatistics
        Of all samples.

    samples : ndarray of shape (n, d)
        Unit features.

    codes : ndarray of shape (n,)
        Their class codes.

    places : ndarray of shape (n,)
        Place of each sample's image among those of its class, from 0.

    weights : ndarray of shape (n,) or None
        Weight of each.

    text : ndarray of shape (C, d)
        Text features times the logit scale.
    """
    n_shots = _shots_of(codes, places, len(text))
    n_views = len(samples) / n_shots.sum()
    belief = _belief(n_shots[n_shots > 0].mean())
    pieces = list(leave_out(samples, codes, places, weights, len(text)))
    left_out = bool(pieces)
    if not left_out:
        # The means themselves are asked: of their discriminants, only the wrong classes' count.
        present = np.flatnonzero(n_shots)
        scores, intercepts = statistics.discriminants()
        samples, codes, weights = statistics.means, np.arange(len(text)), None
        n_views = 1.0
        pieces = [Piece(present, codes, samples[present] @ scores.T + intercepts, belief)]
    priors = [samples[piece.rows] @ text[piece.classes].T for piece in pieces]
    questions, prior, votes = _questions(pieces, priors, codes, weights)
    precision = 1 / (len(questions.target) / n_views * SPREAD**2)
    spread_of_text, spread_of_votes = _spreads(pieces, priors, codes)
    if spread_of_votes == 0:
        return belief
    # The text has not seen the shots, so its log-loss on them says how far it can be trusted.
    sureness, _, _ = best_alpha(questions, prior, precision=precision)
    trust = min(max(sureness * spread_of_text / SPREAD_OF_TEXT, LEAST_TRUST), 1.0)
    unit = spread_of_text / spread_of_votes / trust**2
    factor = 1.0
    if left_out:
        start = unit * float(np.mean([_belief(piece.n_shots) for piece in pieces]))
        factor = _best_factor(questions, prior, start * votes, precision)
    return float(factor * unit * belief)


def _best_factor(questions: Questions, prior: Tensor, votes: Tensor, precision: float) -> float:
    """Factor of the votes with which, at its own best temperature, the sum has the least cost.

    At a fixed temperature the log-loss would keep the votes of a weak prior small only because
    the sum, at the prior's scale, would be too sure of its errors.
    """

    def cost(u: float) -> float:
        logits = torch.add(prior, votes, alpha=math.exp(u))
        _, _, value = best_alpha(questions, logits, precision=precision)
        return value + precision * u * u / 2

    found = minimize_scalar(cost, bounds=RANGE, method="bounded", options={"xatol": TOLERANCE})
    return math.exp(found.x)


def _shots_of(codes: NDArray, places: NDArray, n_classes: int) -> NDArray:
    """Count the shots of each class: (C,)."""
    n_shots = np.zeros(n_classes, np.intp)
    np.maximum.at(n_shots, codes, places + 1)
    return n_shots


def _belief(n_shots: float) -> float:
    """Weight believed in at first, in units of the text prior's spread."""
    return float(min(1.0, n_shots / SHOTS_OF_FULL_BELIEF))


def _spreads(
    pieces: Sequence[Piece], priors: Sequence[NDArray], codes: NDArray
) -> tuple[float, float]:
    """Spread of the wrong classes' text logits, and of their discriminants."""
    spread, n_rows = np.zeros(2), 0
    for piece, prior in zip(pieces, priors, strict=True):
        own = np.searchsorted(piece.classes, codes[piece.rows])
        n_rows += len(own)
        spread += len(own) * np.array(
            [spread_of_rivals(prior, own), spread_of_rivals(piece.votes, own)]
        )
    text, votes = np.sqrt(spread / n_rows).tolist()
    return text, votes


def _questions(
    pieces: Sequence[Piece], priors: Sequence[NDArray], codes: NDArray, weights: NDArray | None
) -> tuple[Questions, Tensor, Tensor]:
    """Put the pieces side by side: questions without a prior, text logits, and discriminants.

    A group that is a class short gets one that cannot win.
    """
    rows = np.concatenate([piece.rows for piece in pieces])
    width = max(len(piece.classes) for piece in pieces)
    closed, text, votes = np.full((width, len(rows)), -np.inf), *np.zeros((2, width, len(rows)))
    target = np.empty(len(rows), np.intp)
    start = 0
    for piece, logits in zip(pieces, priors, strict=True):
        part = slice(len(piece.classes)), slice(start, start + len(piece.rows))
        closed[part], text[part], votes[part] = 0, logits.T, piece.votes.T
        target[part[1]] = np.searchsorted(piece.classes, codes[piece.rows])
        start = part[1].stop
    counted = np.ones(len(rows)) if weights is None else weights[rows]
    # Every class counts the same.
    counted = counted / np.bincount(codes[rows])[codes[rows]]
    questions = Questions(
        torch.as_tensor(closed), torch.as_tensor(target), torch.as_tensor(counted / counted.sum())
    )
    return questions, torch.as_tensor(text), torch.as_tensor(votes)
