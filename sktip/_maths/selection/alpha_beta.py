"""Alpha and beta of Tip-Adapter, chosen on held-out shots: one pass for each beta."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.selection.beliefs import (
    PAPER_ALPHA,
    PAPER_BETA,
    SPREAD,
    TRUST,
    distance_to_paper,
    precision,
)
from sktip._maths.selection.criteria import Accuracy, Criterion, LogLoss, Score
from sktip._maths.selection.held_out import HeldOutShots, HeldOutVotes
from sktip._maths.selection.minimum import inverse_temperature

#: Scores that differ by less are equal.
ROUNDING = 1e-12


@dataclass(frozen=True)
class AlphaBeta:
    """What was chosen, and what led to it.

    Parameters
    ----------
    alpha, beta : float
        The residual ratio and the sharpness chosen.

    score : float
        Their score; NaN if nothing was held out.

    alphas : ndarray of shape (n_betas,) or (n_alphas,)
        The best residual ratio of each beta, or those given.

    scores : ndarray of shape (n_betas,) or (n_alphas, n_betas)
        Scores of all that was tried.

    held_out : HeldOutVotes or None
        The votes that they are scores of; None if nothing was held out.
    """

    alpha: float
    beta: float
    score: float
    alphas: NDArray[Any]
    scores: NDArray[Any]
    held_out: HeldOutVotes | None

    @cached_property
    def logits(self) -> NDArray[Any] | None:
        """Logits of the held-out shots, fold by fold, at the values chosen: (q, C)."""
        if self.held_out is None:
            return None
        return self.held_out.shots.logits(self.held_out.at(self.beta), self.alpha)


def papers_values(alphas: NDArray[Any] | None, betas: NDArray[Any]) -> AlphaBeta:
    """Choose the paper's values, or the nearest of those to try, where nothing can be held out."""
    tried = np.array([PAPER_ALPHA]) if alphas is None else alphas
    shape = (len(betas),) if alphas is None else (len(alphas), len(betas))
    return AlphaBeta(
        float(tried[distance_to_paper(tried, PAPER_BETA).argmin()]),
        float(betas[distance_to_paper(PAPER_ALPHA, betas).argmin()]),
        np.nan,
        np.full(shape, PAPER_ALPHA) if alphas is None else alphas,
        np.full(shape, np.nan),
        None,
    )


def most_probable_values(
    held_out: HeldOutVotes, *, alphas: NDArray[Any] | None, betas: NDArray[Any], spread: float
) -> AlphaBeta:
    """Choose by the log-loss of the held-out shots, and a belief in the paper's values.

    Parameters
    ----------
    held_out : HeldOutVotes
        Votes for the held-out shots.

    alphas : ndarray of shape (n_alphas,) or None
        Residual ratios to try; None considers all.

    betas : ndarray of shape (n_betas,)
        Sharpnesses to try.

    spread : float
        Standard deviation of the logarithms of both about the paper's values.
    """
    shots, n_evidence = held_out.shots, held_out.n_evidence
    scale = zero_shot_scale(shots) if held_out.has_text else 1.0
    scaled = replace(shots, prior=scale * shots.prior)
    hits = []

    def votes_at(beta: float) -> Tensor:
        votes = held_out.at(beta)
        if not held_out.has_text:
            hits.append(scaled.hits(votes, 1.0))
        return votes.mul_(scale)

    criterion = LogLoss(scaled, precision(spread, n_evidence))
    alphas, scores = _scores(criterion, votes_at, alphas, betas)
    costs = -n_evidence * scores + _distances(alphas, betas, scores) / (2 * spread**2)
    if not held_out.has_text:
        # alpha changes no answer then, and the log-loss rewards a dull beta: ask for right answers.
        nearness = torch.as_tensor(distance_to_paper(PAPER_ALPHA, betas))
        beta = nearest_within_two_errors(torch.stack(hits).cpu(), shots.weights.cpu(), nearness)
        kept = np.full_like(costs, np.inf)
        kept[..., beta] = costs[..., beta]
        costs = kept
    return _chosen(int(costs.argmin()), alphas, betas, scores, held_out)


def best_values(
    held_out: HeldOutVotes,
    scoring: Literal["accuracy", "neg_log_loss"] | Callable[[NDArray[Any]], float],
    *,
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
) -> AlphaBeta:
    """Choose by a score; where several are as good, the values nearest to the paper's.

    Parameters
    ----------
    held_out : HeldOutVotes
        Votes for the held-out shots.

    scoring : {"accuracy", "neg_log_loss"} or callable
        What to maximise; a callable gets the logits of all held-out shots, (q, C), fold by fold.

    alphas : ndarray of shape (n_alphas,) or None
        Residual ratios to try; None considers all, or a grid of them for a callable.

    betas : ndarray of shape (n_betas,)
        Sharpnesses to try.
    """
    shots, tolerance = held_out.shots, ROUNDING
    criterion: Criterion
    if scoring == "neg_log_loss":
        criterion = LogLoss(shots)
    elif scoring == "accuracy":
        criterion = Accuracy(shots)
        # One shot more or less is luck.
        tolerance += 1 / len(shots.codes)
    else:
        criterion = Score(shots, scoring)
    alphas, scores = _scores(criterion, held_out.at, alphas, betas)
    if np.isnan(scores).all():
        raise ValueError(
            "scoring gives NaN for every alpha and beta; use another scorer, or parts of `cv` that it "
            "can score."
        )
    good = scores >= np.nanmax(scores) - tolerance
    nearest = np.where(good, _distances(alphas, betas, scores), np.inf).argmin()
    return _chosen(int(nearest), alphas, betas, scores, held_out)


def zero_shot_scale(shots: HeldOutShots) -> float:
    """Factor that the text logits want, by the log-loss of the zero-shot classifier.

    That classifier has not seen the shots, so its loss on them says how far its confidence is
    right. A factor within 2 of 1 is taken as 1.
    """
    strength = precision(SPREAD, len(shots.codes))
    factor, _ = inverse_temperature(shots.prior, shots.codes, shots.weights, precision=strength)
    return factor if abs(np.log(factor)) > np.log(TRUST) else 1.0


def nearest_within_two_errors(hits: Tensor, weights: Tensor, distances: Tensor) -> int:
    """Row of `hits`, (b, q), that is least distant of those about as often right as the best.

    "About" is two standard errors of the difference from the best, paired by held-out shot.
    """
    values, weights = hits.double(), weights.double()
    lost = values[(values @ weights).argmax()] - values
    mean = lost @ weights
    error = ((lost - mean[:, None]) ** 2 @ weights**2).sqrt()
    fine = mean <= 2 * error + ROUNDING
    return int(torch.where(fine, distances, torch.inf).argmin())


def _scores(
    criterion: Criterion,
    votes_at: Callable[[float], Tensor],
    alphas: NDArray[Any] | None,
    betas: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Best alpha of each beta and their scores, or the scores of a grid: (n_alphas, n_betas)."""
    if alphas is None:
        best, scores = np.array([criterion.best(votes_at(beta)) for beta in betas]).T.copy()
        return best, scores
    scores = np.empty((len(alphas), len(betas)))
    for column, beta in enumerate(betas):
        votes = votes_at(beta)
        scores[:, column] = [criterion.at(votes, alpha) for alpha in alphas]
    return alphas, scores


def _distances(alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """Distance to the paper's values of all that was scored, in the shape of the scores."""
    return distance_to_paper(alphas if scores.ndim == 1 else alphas[:, np.newaxis], betas)


def _chosen(
    index: int,
    alphas: NDArray[Any],
    betas: NDArray[Any],
    scores: NDArray[Any],
    held_out: HeldOutVotes,
) -> AlphaBeta:
    place = np.unravel_index(index, scores.shape)
    return AlphaBeta(
        float(alphas[place[0]]),
        float(betas[place[-1]]),
        float(scores[place]),
        alphas,
        scores,
        held_out,
    )
