"""Kernel ridge regression, with its parameters chosen on held-out shots.

Predictions for held-out shots have a closed form, with the Cholesky factor of the regression. All
computations are in double precision.
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

#: Largest number of rows for which beta and lambda are searched, if there is a text prior. The search takes
#: many times as long as the regression. With more rows, the published values are as good or better.
SEARCHED_ROWS = 2048
#: Up to the first number of rows, all of them are held out to choose gamma and the temperature. With more
#: rows, about the second number of them are held out, in at least one complete fold.
ALL_HELD_OUT, HELD_OUT_ROWS = 3500, 1024
#: The search ends at these tolerances, of beta and lambda in the logarithm and of the cost in shots, or
#: after this number of tries.
TOLERANCE, INDIFFERENCE, MAX_TRIES = 0.3, 1.0, 20
#: First step of the search, in the logarithm.
FIRST_STEP = -0.7


@dataclass(frozen=True)
class FittedRidge:
    """The solution of a regression, and its parameters.

    Parameters
    ----------
    beta, lam, gamma : float
        Sharpness, regularisation strength, and weight of the correction.

    temperature : float
        Temperature that the logits are divided by.

    duals : Tensor of shape (m, C)
        Dual coefficients.

    logits : Tensor of shape (q, C)
        Logits of the held-out rows, fold by fold, before the division. If no row could be held out,
        the text logits of all rows, or zeros without text.
    """

    beta: float
    lam: float
    gamma: float
    temperature: float
    duals: Tensor
    logits: Tensor


@dataclass(frozen=True)
class OrderedRows:
    """Rows of a regression. The held-out rows come last, fold by fold.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Unit features, in the type of the dual coefficients.

    codes : Tensor of shape (m,)
        Class codes of the rows.

    weights : Tensor of shape (m,) or None
        Weights of the errors.

    sizes : list of int
        Number of rows of each fold.

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
        # Free the rest of the factor.
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
    """Solve the regression, with the most probable values of parameters that are not given.

    Copies of a shot are held out together, as one shot with the sum of their weights.

    Parameters
    ----------
    keys : Tensor of shape (m * n_views, d)
        Unit features of the shots' views, in the type of the dual coefficients.

    codes : ndarray of shape (m,)
        Class codes of the shots.

    text : Tensor of shape (C, d) or None
        Text features.

    weights, counted : ndarray of shape (m,) or None
        Weights of the shots in the regression, and as held-out shots. None without weights.

    groups : ndarray of shape (m,), int, or None
        Shots of a group are held out together.

    n_views : int
        Number of views of each shot. They are held out together.

    **values
        Other arguments of `fit_distinct_shots`.
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
    """Solve the regression of distinct shots. Other parameters are those of `fit_ridge`.

    Parameters
    ----------
    n_classes : int
        Number of classes C.

    logit_scale : float
        Scale of the logits in the softmax.

    beta, lam, gamma : float or None
        Given values. None is chosen; if beta and lambda are given, gamma is lambda.

    progress : callable
        Opens a context around the search. Its function is called with each `beta` and `lam`.
    """
    published_beta, published_lam = published_ridge(len(codes) / len(np.unique(codes)))
    # If the other two are given, gamma has a published value too.
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
    # Solved first, while nothing else takes memory.
    solution = None if searches else rows.solved(beta, lam)
    # The text has not seen the shots. If none can be held out, its temperature is fitted on all of them.
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
            # At the scale of the text alone, gamma would be too small if the sum is overconfident.
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
    """Search the beta and lambda that are `free`, with a prior belief in their start values."""
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

    With ``A = inv(k(K, K) + lambda I)``, the prediction for a fold F is ``R_F - inv(A_FF) (A R)_F``. The
    last block of A is the inverse of ``L L'``, where L is the last block of the Cholesky factor.

    Parameters
    ----------
    factor : Tensor of shape (q, q)
        Last block of the Cholesky factor.

    targets, duals : Tensor of shape (q, C)
        Residual targets R and dual coefficients A R of the last rows.

    sizes : list of int
        Number of rows of each fold, in order.
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
    """Rows of each fold to hold out: of all folds, or of some folds if there are many rows."""
    folds = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    folds = [fold for fold in folds if len(fold)]
    if len(numbers) > ALL_HELD_OUT:
        n_rows = np.cumsum([len(fold) for fold in folds])
        folds = folds[: max(1, int((n_rows <= HELD_OUT_ROWS).sum()))]
    return folds
