"""Choose alpha and beta of Tip-Adapter on held-out shots, in one pass for each beta."""

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
    """The chosen values, and the scores of all values.

    Parameters
    ----------
    alpha, beta : float
        Chosen residual ratio and sharpness.

    score : float
        Score of the chosen values. NaN if no shot was held out.

    alphas : ndarray of shape (n_betas,) or (n_alphas,)
        Best residual ratio for each beta, or the given ones.

    scores : ndarray of shape (n_betas,) or (n_alphas, n_betas)
        Scores of all values that were tried.

    held_out : HeldOutVotes or None
        Votes for the held-out shots. None if no shot was held out.
    """

    alpha: float
    beta: float
    score: float
    alphas: NDArray[Any]
    scores: NDArray[Any]
    held_out: HeldOutVotes | None

    @cached_property
    def logits(self) -> NDArray[Any] | None:
        """Logits of the held-out shots at the chosen values, fold by fold: (q, C)."""
        if self.held_out is None:
            return None
        return self.held_out.shots.logits(self.held_out.at(self.beta), self.alpha)


def papers_values(alphas: NDArray[Any] | None, betas: NDArray[Any]) -> AlphaBeta:
    """Choose the paper's values, or the nearest values to try, if no shot can be held out."""
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
    """Choose by the log-loss of the held-out shots plus a prior belief in the paper's values.

    Parameters
    ----------
    held_out : HeldOutVotes
        Votes for the held-out shots.

    alphas : ndarray of shape (n_alphas,) or None
        Residual ratios to try. None considers all.

    betas : ndarray of shape (n_betas,)
        Values of the sharpness to try.

    spread : float
        Standard deviation of the belief, in the logarithm of each value.
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
        # Without text, alpha changes no prediction, and the log-loss prefers a beta that is too small.
        # So beta is chosen by accuracy.
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
    """Choose by a score. Ties go to the values nearest to the paper's.

    Parameters
    ----------
    held_out : HeldOutVotes
        Votes for the held-out shots.

    scoring : {"accuracy", "neg_log_loss"} or callable
        Score to maximise. A callable gets the logits of all held-out shots, (q, C), fold by fold.

    alphas : ndarray of shape (n_alphas,) or None
        Residual ratios to try. None considers all, or a grid for a callable.

    betas : ndarray of shape (n_betas,)
        Values of the sharpness to try.
    """
    shots, tolerance = held_out.shots, ROUNDING
    criterion: Criterion
    if scoring == "neg_log_loss":
        criterion = LogLoss(shots)
    elif scoring == "accuracy":
        criterion = Accuracy(shots)
        # A difference of one shot counts as a tie.
        tolerance += 1 / len(shots.codes)
    else:
        criterion = Score(shots, scoring)
    alphas, scores = _scores(criterion, held_out.at, alphas, betas)
    if np.isnan(scores).all():
        raise ValueError(
            "scoring returns NaN for every alpha and beta; use another scorer, or splits of cv that it can "
            "score."
        )
    good = scores >= np.nanmax(scores) - tolerance
    nearest = np.where(good, _distances(alphas, betas, scores), np.inf).argmin()
    return _chosen(int(nearest), alphas, betas, scores, held_out)


def zero_shot_scale(shots: HeldOutShots) -> float:
    """Scale of the text logits with the smallest log-loss of the zero-shot classifier on the shots.

    The zero-shot classifier has not seen the shots, so its loss shows whether it is overconfident. A
    scale between 1/2 and 2 is replaced by 1.
    """
    strength = precision(SPREAD, len(shots.codes))
    factor, _ = inverse_temperature(shots.prior, shots.codes, shots.weights, precision=strength)
    return factor if abs(np.log(factor)) > np.log(TRUST) else 1.0


def nearest_within_two_errors(hits: Tensor, weights: Tensor, distances: Tensor) -> int:
    """Row of `hits`, (b, q), with the smallest distance among those that are about as accurate as the best.

    A row is about as accurate if the difference is within two standard errors, paired by held-out shot.
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
    """Best alpha for each beta with its score, or the scores of a grid: (n_alphas, n_betas)."""
    if alphas is None:
        best, scores = np.array([criterion.best(votes_at(beta)) for beta in betas]).T.copy()
        return best, scores
    scores = np.empty((len(alphas), len(betas)))
    for column, beta in enumerate(betas):
        votes = votes_at(beta)
        scores[:, column] = [criterion.at(votes, alpha) for alpha in alphas]
    return alphas, scores


def _distances(alphas: NDArray[Any], betas: NDArray[Any], scores: NDArray[Any]) -> NDArray[Any]:
    """Distances of all scored values to the paper's, in the shape of the scores."""
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
