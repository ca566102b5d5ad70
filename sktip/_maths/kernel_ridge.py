"""Kernel ridge regression on what the text prior leaves over, and its left-out shots in closed form.

Everything here takes and returns torch tensors. Systems are solved in double precision: kernels of
unit features are all positive, so that their largest eigenvalue grows with the number of rows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from sktip._maths.cache import BLOCK_ELEMENTS, affinity, blocks
from sktip._maths.selection import Questions, best_alpha

#: Standard deviation, in the logarithm, of the belief in the values that a search starts from.
SPREAD = 0.7
#: A search ends when beta and lambda are known to this, in the logarithm, and the cost to as much
#: as one shot tells, or after so many tries.
TOLERANCE, INDIFFERENCE, MAX_TRIES = 0.3, 1.0, 20
#: Its first step, in the logarithm.
FIRST_STEP = -0.7


def residual_targets(keys: Tensor, codes: Tensor, text: Tensor | None, n_classes: int) -> Tensor:
    """One-hot labels less the cosines with the text features, ``L - K W'``: (m, C)."""
    targets = keys.new_zeros((len(keys), n_classes)) if text is None else -keys @ text.T
    targets[torch.arange(len(keys), device=keys.device), codes] += 1
    return targets


def ridge_factor(keys: Tensor, beta: float, lam: float) -> Tensor:
    """Cholesky factor of ``k(K, K) + lambda I``: (m, m), the only matrix of its size.

    Raises
    ------
    ValueError
        If the matrix is singular, as far as double precision can tell.
    """
    kernel = affinity(keys, keys, beta)
    kernel.diagonal().add_(lam)
    info = torch.empty(0, dtype=torch.int32, device=keys.device)
    factor, info = torch.linalg.cholesky_ex(kernel, out=(kernel, info))
    pivots = factor.diagonal() ** 2
    # The diagonal of the kernel is 1: a pivot below the rounding of that is nothing but rounding.
    if info.item() or not pivots.min() > torch.finfo(keys.dtype).eps * (1 + lam):
        raise ValueError(
            f"the kernel ridge regression has no solution in double precision with lam={lam:g} and "
            f"beta={beta:g}: shots are too similar to one another. Raise lam, or beta, or remove "
            "shots that are given twice."
        )
    return factor


def dual_coefficients(keys: Tensor, targets: Tensor, beta: float, lam: float) -> Tensor:
    """Solution of ``(k(K, K) + lambda I) a = R``: (m, C)."""
    return torch.cholesky_solve(targets, ridge_factor(keys, beta, lam))


def left_out_predictions(
    keys: Tensor, targets: Tensor, folds: Sequence[Tensor], beta: float, lam: float
) -> Tensor:
    """Predict the rows of each fold from all other rows: (q, C), fold by fold.

    With ``A = inv(k(K, K) + lambda I)`` it is ``R_F - inv(A_FF) (A R)_F`` for a fold F.
    """
    factor = ridge_factor(keys, beta, lam)
    duals = torch.cholesky_solve(targets, factor)
    # The whole inverse is the product of this with itself; only the blocks of the folds are needed.
    root = torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
    torch.linalg.solve_triangular(factor, root, upper=False, out=root)
    predictions = []
    for rows in folds:
        own = root[:, rows]
        predictions.append(targets[rows] - torch.linalg.solve(own.T @ own, duals[rows]))
    return torch.cat(predictions)


def chosen_values(
    keys: Tensor,
    codes: Tensor,
    text: Tensor | None,
    folds: Sequence[Tensor],
    *,
    weights: Tensor,
    n_shots: int,
    n_classes: int,
    logit_scale: float,
    start: tuple[float, float, float],
    free: tuple[bool, bool, bool],
    on_try: Callable[..., None] = lambda beta, lam: None,
) -> tuple[float, float, float]:
    """Most probable beta, lambda and gamma, by the log-loss of the left-out rows.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Unit features of all rows, in double precision.

    codes : Tensor of shape (m,)
        Their class codes.

    text : Tensor of shape (C, d) or None
        Text features.

    folds : sequence of Tensor
        Rows that are left out together.

    weights : Tensor of shape (q,)
        Weight of each left-out row, fold by fold; their sum is 1.

    n_shots : int
        Number of images that are left out.

    n_classes : int
        Number of classes C.

    logit_scale : float
        Scale at which the logits make probabilities.

    start : tuple of float
        Beta, lambda and gamma that are believed in.

    free : tuple of bool
        Which of them may change: beta or lambda at least.

    on_try : callable
        Called with each `beta` and `lam` before they are tried.

    Returns
    -------
    beta, lam, gamma : float
    """
    rows = torch.cat(list(folds))
    targets = residual_targets(keys, codes, text, n_classes)
    prior = (
        keys.new_zeros((n_classes, len(rows)))
        if text is None
        else logit_scale * text @ keys[rows].T
    )
    questions = Questions(prior, codes[rows], weights)
    centre = np.log(start)
    movable = [index for index in (0, 1) if free[index]]
    gammas: dict[tuple, float] = {}

    def cost(moved: np.ndarray) -> float:
        point = centre[:2].copy()
        point[movable] += moved
        beta, lam = np.exp(point)
        on_try(beta=beta, lam=lam)
        predictions = left_out_predictions(keys, targets, folds, beta, lam)
        votes = (logit_scale * start[2]) * predictions.T
        if free[2]:
            factor, _, value = best_alpha(questions, votes, precision=1 / (n_shots * SPREAD**2))
        else:
            factor, (value, _, _) = 1.0, questions.log_loss(votes, 1.0)
        gammas[tuple(moved)] = factor * start[2]
        return n_shots * value + (moved**2).sum() / (2 * SPREAD**2)

    steps = np.vstack([np.zeros(len(movable)), FIRST_STEP * np.eye(len(movable))])
    found = minimize(
        cost,
        steps[0],
        method="Nelder-Mead",
        options={
            "initial_simplex": steps,
            "xatol": TOLERANCE,
            "fatol": INDIFFERENCE,
            "maxfev": MAX_TRIES,
        },
    )
    point = centre[:2].copy()
    point[movable] += found.x
    return float(np.exp(point[0])), float(np.exp(point[1])), gammas[tuple(found.x)]


def fitted_temperature(
    logits: Tensor, codes: Tensor, weights: Tensor, n_shots: int, *, logit_scale: float
) -> float:
    """Find the most probable divisor of logits (q, C), about 1 / `logit_scale`."""
    scaled = logit_scale * logits.T
    questions = Questions(torch.zeros_like(scaled), codes, weights)
    factor, _, _ = best_alpha(questions, scaled, precision=1 / (n_shots * SPREAD**2))
    return 1 / (logit_scale * factor)


def ridge_logits(
    queries: Tensor, keys: Tensor, duals: Tensor, text: Tensor | None, *, beta: float, gamma: float
) -> Tensor:
    """Logits ``f W' + gamma k(f, K) a`` of unit queries: (n, C), in blocks of queries."""
    logits = queries.new_empty((len(queries), duals.shape[1]))
    for rows in blocks(len(queries), len(keys), BLOCK_ELEMENTS):
        votes = affinity(queries[rows], keys, beta).T @ duals
        logits[rows] = votes.mul_(gamma)
        if text is not None:
            logits[rows] += queries[rows] @ text.T
    return logits
