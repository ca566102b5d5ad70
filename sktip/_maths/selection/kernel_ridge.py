"""A kernel ridge regression, with its values chosen on held-out shots.

Predictions for held-out shots have a closed form, from the Cholesky factor that solves the
regression; all arithmetic is in double precision.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from sktip._maths.kernel_ridge import dual_coefficients, residual_targets, ridge_factor
from sktip._maths.selection.beliefs import (
    FEW_SHOTS_LAMBDA,
    PROKER_SPREAD,
    precision,
    published_ridge,
)
from sktip._maths.selection.folds import DistinctShots, class_balanced_weights, fold_numbers
from sktip._maths.selection.held_out import HeldOutShots
from sktip._maths.selection.minimum import best_factor, inverse_temperature

#: Beside a text prior, and up to so many rows, beta and lambda are searched for, which takes many times
#: as long as the regression. Elsewhere published values do as well or better, since gamma is chosen.
SEARCHED_ROWS = 2048
#: Up to so many rows each is held out once to choose gamma and the temperature. Of more, so many are,
#: in whole folds, one of them at least.
ALL_HELD_OUT, HELD_OUT_ROWS = 3500, 1024
#: The search ends when beta and lambda are known to this, in the logarithm, and the cost to as much
#: as one shot tells, or after so many tries.
TOLERANCE, INDIFFERENCE, MAX_TRIES = 0.3, 1.0, 20
#: Its first step, in the logarithm.
FIRST_STEP = -0.7


@dataclass(frozen=True)
class FittedRidge:
    """The solution of a regression, and what was chosen for it.

    Parameters
    ----------
    beta, lam, gamma : float
        Sharpness, ridge, and weight of the correction.

    temperature : float
        What the logits are divided by.

    duals : Tensor of shape (m, C)
        Dual coefficients.

    logits : Tensor of shape (q, C)
        Logits of the held-out rows, fold by fold, before the division. Where nothing could be held
        out they are those of the text for all rows, zeros without one.
    """

    beta: float
    lam: float
    gamma: float
    temperature: float
    duals: Tensor
    logits: Tensor


@dataclass(frozen=True)
class OrderedRows:
    """Rows of a regression, those that are held out last, fold by fold.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Unit features, in the type of the dual coefficients.

    codes : Tensor of shape (m,)
        Their class codes.

    weights : Tensor of shape (m,) or None
        How much the error at each counts.

    sizes : list of int
        Rows of each fold.

    text : Tensor of shape (C, d) or None
        Text features, in double precision.

    n_classes : int
        Number of classes C.
    """

    keys: Tensor
    codes: Tensor
    weights: Tensor | None
    sizes: list[int]
    text: Tensor | None
    n_classes: int

    def solved(self, beta: float, lam: float) -> tuple[Tensor, Tensor]:
        """Dual coefficients (m, C), and predictions for the held-out rows (q, C)."""
        factor = ridge_factor(self.keys.double(), beta, lam, self.weights)
        duals = dual_coefficients(factor, self.keys, self.codes, self.text, self.n_classes)
        first = len(self.keys) - sum(self.sizes)
        # The rest of the factor makes room.
        factor = factor[first:, first:].clone()
        last, all_classes = (self.keys[first:], self.codes[first:]), slice(0, self.n_classes)
        targets = residual_targets(*last, self.text, all_classes)
        return duals, held_out_predictions(factor, targets, duals[first:].double(), self.sizes)


def fit_ridge(
    keys: Tensor,
    codes: NDArray[Any],
    text: Tensor | None,
    *,
    weights: NDArray[Any] | None = None,
    counted: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    n_views: int,
    **values: Any,
) -> FittedRidge:
    """Solve the regression with the most probable values of those that are not given.

    A shot that is given twice is held out as one, of twice the weight.

    Parameters
    ----------
    keys : Tensor of shape (m * n_views, d)
        Unit features of the shots' views, in the type of the dual coefficients.

    codes : ndarray of shape (m,)
        Class codes of the shots.

    text : Tensor of shape (C, d) or None
        Text features.

    weights, counted : ndarray of shape (m,) or None
        Weight of each shot in the regression, and as a held-out one; None if all weigh the same.

    groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together.

    n_views : int
        Views of each shot, which are held out together.

    **values
        What `fit_distinct_shots` is given besides.
    """
    shots = keys.view(len(codes), n_views, -1)
    distinct = DistinctShots.of(shots.cpu().numpy(), codes, groups)
    if weights is None and len(distinct.rows) == len(codes):
        return fit_distinct_shots(
            keys, codes, text, weights=None, counted=None, groups=groups, n_views=n_views, **values
        )
    own, total = np.ones(len(codes)) if weights is None else weights, distinct.summed(weights)
    fitted = fit_distinct_shots(
        shots[distinct.rows].flatten(0, 1),
        codes[distinct.rows],
        text,
        weights=total,
        counted=distinct.summed(counted),
        groups=None if groups is None else groups[distinct.rows],
        n_views=n_views,
        **values,
    )
    shares = fitted.duals.new_tensor(own / total[distinct.inverse])
    duals = fitted.duals.view(len(total), n_views, -1)[distinct.inverse] * shares[:, None, None]
    return replace(fitted, duals=duals.flatten(0, 1))


def fit_distinct_shots(
    keys: Tensor,
    codes: NDArray[Any],
    text: Tensor | None,
    *,
    weights: NDArray[Any] | None,
    counted: NDArray[Any] | None,
    groups: NDArray[Any] | None,
    n_views: int,
    n_classes: int,
    logit_scale: float,
    beta: float | None,
    lam: float | None,
    gamma: float | None,
    progress: Callable[[], AbstractContextManager[Callable[..., None]]],
) -> FittedRidge:
    """Solve the regression of shots that differ; parameters are those of `fit_ridge` and these.

    Parameters
    ----------
    n_classes : int
        Number of classes C.

    logit_scale : float
        Scale at which the logits make probabilities.

    beta, lam, gamma : float or None
        Values that are given. None is chosen; gamma, where the others are given, is lambda.

    progress : callable
        Opens a context around the search, whose function is called with each `beta` and `lam`.
    """
    published_beta, published_lam = published_ridge(len(codes) / len(np.unique(codes)))
    # Where the other two are numbers, gamma has a published value too.
    free = beta is None, lam is None, gamma is None and (beta is None or lam is None)
    is_searched = any(free[:2]) and text is not None and len(keys) <= SEARCHED_ROWS
    believed = gamma
    if believed is None:
        believed = published_lam if lam is None else lam
    beta = published_beta if beta is None else beta
    if lam is None:
        lam = published_lam if is_searched or not free[2] else FEW_SHOTS_LAMBDA

    folds = _folds_to_hold_out(fold_numbers(codes, groups=groups).repeat(n_views))
    codes = codes.repeat(n_views)
    weights = None if weights is None else weights.repeat(n_views)
    held_out = np.concatenate([np.empty(0, np.intp), *folds])
    order = np.concatenate([np.setdiff1d(np.arange(len(keys)), held_out), held_out])
    rows = OrderedRows(
        keys[order],
        torch.as_tensor(codes[order], device=keys.device),
        None if weights is None else torch.as_tensor(weights[order], device=keys.device),
        [len(fold) for fold in folds],
        None if text is None else text.double(),
        n_classes,
    )
    searches = is_searched and bool(folds)
    # First of all, while nothing else takes memory.
    solution = None if searches else rows.solved(beta, lam)
    # The text has not seen any shot: where none can be held out, all of them tell its temperature.
    asked = held_out if folds else order
    last = rows.keys[-len(asked) :].double()
    logits = last.new_zeros((len(asked), n_classes))
    if rows.text is not None:
        torch.mm(last, rows.text.T, out=logits)
    if counted is not None:
        counted = counted.repeat(n_views)[asked]
    shots = HeldOutShots(
        logit_scale * logits.T,
        rows.codes[-len(asked) :],
        last.new_tensor(class_balanced_weights(codes[asked], counted)),
    )
    n_shots = len(asked) // n_views
    strength = precision(PROKER_SPREAD, n_shots)

    def best_gamma(predictions: Tensor, scale: float = logit_scale) -> tuple[float, float]:
        if not free[2]:
            return believed, shots.log_loss((scale * believed) * predictions.T, 1.0)[0]
        scaled = replace(shots, prior=shots.prior * (scale / logit_scale))
        votes = (scale * believed) * predictions.T
        factor, _, cost = best_factor(scaled, votes, precision=strength)
        return factor * believed, cost

    if searches:
        with progress() as on_try:

            def cost(beta: float, lam: float) -> float:
                on_try(beta=beta, lam=lam)
                return best_gamma(rows.solved(beta, lam)[1])[1]

            beta, lam = _searched(cost, (beta, lam), free[:2], strength, n_shots)
    duals, predictions = solution or rows.solved(beta, lam)
    gamma, scale = believed, logit_scale
    if folds:
        gamma, _ = best_gamma(predictions)
        if not searches:
            # At the scale of the text alone a sum that is too confident would be held down.
            scale = _best_scale(logits + gamma * predictions, shots, logit_scale, strength)
            gamma, _ = best_gamma(predictions, scale)
        logits.add_(predictions, alpha=gamma)
    if folds or text is not None:
        scale = _best_scale(logits, shots, logit_scale, strength)
    as_given = torch.empty_like(duals)
    as_given[order] = duals
    return FittedRidge(beta, lam, gamma, 1 / scale, as_given, logits)


def _best_scale(logits: Tensor, shots: HeldOutShots, believed: float, strength: float) -> float:
    """Most probable scale of the logits (q, C) of held-out shots."""
    factor, _ = inverse_temperature(
        believed * logits.T, shots.codes, shots.weights, precision=strength
    )
    return factor * believed


def _searched(
    cost: Callable[[float, float], float],
    start: tuple[float, float],
    free: tuple[bool, bool],
    strength: float,
    n_shots: int,
) -> tuple[float, float]:
    """Beta and lambda of least cost, those that are `free`, with a belief in the start."""
    movable = np.flatnonzero(free)

    def values_at(moved: NDArray[Any]) -> tuple[float, float]:
        point = np.log(start)
        point[movable] += moved
        beta, lam = np.exp(point).tolist()
        return beta, lam

    def total(moved: NDArray[Any]) -> float:
        return n_shots * (cost(*values_at(moved)) + strength * float((moved**2).sum()) / 2)

    steps = np.vstack([np.zeros(len(movable)), FIRST_STEP * np.eye(len(movable))])
    found = minimize(
        total,
        steps[0],
        method="Nelder-Mead",
        options={
            "initial_simplex": steps,
            "xatol": TOLERANCE,
            "fatol": INDIFFERENCE,
            "maxfev": MAX_TRIES,
        },
    )
    return values_at(found.x)


def held_out_predictions(
    factor: Tensor, targets: Tensor, duals: Tensor, sizes: list[int]
) -> Tensor:
    """Predict the rows of each fold from all other rows: (q, C), fold by fold.

    With ``A = inv(k(K, K) + lambda I)`` it is ``R_F - inv(A_FF) (A R)_F`` for a fold F. Of the last
    rows, A is the inverse of what the last block of the Cholesky factor makes alone.

    Parameters
    ----------
    factor : Tensor of shape (q, q)
        The last block.

    targets, duals : Tensor of shape (q, C)
        Residual targets R and dual coefficients A R of the last rows.

    sizes : list of int
        Rows of each fold, in their order.
    """
    if len(sizes) <= 1:
        return targets.sub_(factor @ (factor.T @ duals))
    root = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    root = torch.linalg.solve_triangular(factor, root, upper=False)
    parts = zip(targets.split(sizes), duals.split(sizes), root.split(sizes, dim=1), strict=True)
    for part, own_duals, own in parts:
        part.sub_(torch.linalg.solve(own.T @ own, own_duals))
    return targets


def _folds_to_hold_out(numbers: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows of each fold: of all folds, or of as many as are needed where there are many rows."""
    folds = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    folds = [fold for fold in folds if len(fold)]
    if len(numbers) > ALL_HELD_OUT:
        n_rows = np.cumsum([len(fold) for fold in folds])
        folds = folds[: max(1, int((n_rows <= HELD_OUT_ROWS).sum()))]
    return folds
