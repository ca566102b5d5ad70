"""Beta, lambda, gamma and temperature of a kernel ridge regression, chosen on held-out shots.

Predictions for held-out shots have a closed form; all tensors are in double precision.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor

from sktip._maths.kernel_ridge import residual_targets, ridge_factor
from sktip._maths.selection.beliefs import PROKER_SPREAD, precision, published_ridge
from sktip._maths.selection.folds import class_balanced_weights, fold_numbers
from sktip._maths.selection.held_out import HeldOutShots
from sktip._maths.selection.minimum import best_factor, inverse_temperature

#: A search ends when beta and lambda are known to this, in the logarithm, and the cost to as much
#: as one shot tells, or after so many tries.
TOLERANCE, INDIFFERENCE, MAX_TRIES = 0.3, 1.0, 20
#: Its first step, in the logarithm.
FIRST_STEP = -0.7


@dataclass(frozen=True)
class RidgeValues:
    """What was chosen.

    Parameters
    ----------
    beta, lam, gamma : float
        Sharpness, ridge, and weight of the correction.

    temperature : float
        What the logits are divided by.

    logits : Tensor of shape (q, C) or None
        Logits of the held-out rows, fold by fold, before the division. Where nothing could be held
        out they are those of the text for all rows; None without text.
    """

    beta: float
    lam: float
    gamma: float
    temperature: float
    logits: Tensor | None


@dataclass(frozen=True)
class HeldOutRidge:
    """Rows that are held out, fold by fold, and the regression on all others.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Unit features of all rows.

    targets : Tensor of shape (m, C)
        Residual targets of the regression.

    folds : sequence of Tensor
        Rows that are held out together.

    shots : HeldOutShots
        The held-out rows, with the text logits at the logit scale.

    n_shots : int
        Number of held-out images, each of which has the same number of rows.

    logit_scale : float
        Scale at which predictions make logits.
    """

    keys: Tensor
    targets: Tensor
    folds: Sequence[Tensor]
    shots: HeldOutShots
    n_shots: int
    logit_scale: float

    @property
    def precision(self) -> float:
        """Strength of the beliefs beside the mean log-loss."""
        return precision(PROKER_SPREAD, self.n_shots)

    def search(
        self,
        start: tuple[float, float, float],
        free: tuple[bool, bool, bool],
        on_try: Callable[..., None],
    ) -> tuple[float, float, float]:
        """Most probable beta, lambda and gamma, by the log-loss of the held-out rows.

        Parameters
        ----------
        start : tuple of float
            Beta, lambda and gamma that are believed in.

        free : tuple of bool
            Which of them may change: beta or lambda at least.

        on_try : callable
            Called with each `beta` and `lam` before they are tried.
        """
        centre = np.log(start)
        movable = [index for index in (0, 1) if free[index]]
        gammas: dict[tuple, float] = {}

        def values_at(moved: NDArray) -> tuple[float, float]:
            point = centre[:2].copy()
            point[movable] += moved
            beta, lam = np.exp(point).tolist()
            return beta, lam

        def cost(moved: NDArray) -> float:
            beta, lam = values_at(moved)
            on_try(beta=beta, lam=lam)
            predictions = held_out_predictions(self.keys, self.targets, self.folds, beta, lam)
            votes = (self.logit_scale * start[2]) * predictions.T
            if free[2]:
                factor, _, value = best_factor(self.shots, votes, precision=self.precision)
            else:
                factor, (value, _, _) = 1.0, self.shots.log_loss(votes, 1.0)
            gammas[tuple(moved)] = factor * start[2]
            return self.n_shots * (value + self.precision * float((moved**2).sum()) / 2)

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
        return *values_at(found.x), gammas[tuple(found.x)]


def chosen_values(
    keys: Tensor,
    codes: NDArray,
    text: Tensor | None,
    *,
    n_views: int,
    n_classes: int,
    logit_scale: float,
    beta: float | None,
    lam: float | None,
    gamma: float | None,
    progress: Callable[[], AbstractContextManager[Callable[..., None]]],
) -> RidgeValues:
    """Most probable values of those that are not given, and the temperature.

    Parameters
    ----------
    keys : Tensor of shape (m * n_views, d)
        Unit features of the shots' views, in double precision.

    codes : ndarray of shape (m,)
        Class codes of the shots.

    text : Tensor of shape (C, d) or None
        Text features.

    n_views : int
        Views of each shot, which are held out together.

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
    start_beta = published_beta if beta is None else beta
    start_lam = published_lam if lam is None else lam
    start = start_beta, start_lam, start_lam if gamma is None else gamma
    # All that is left to choose, gamma, has a published value.
    searches = beta is None or lam is None
    free = beta is None, lam is None, gamma is None and searches

    numbers, codes = fold_numbers(codes).repeat(n_views), codes.repeat(n_views)
    folds = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    # The text has not seen any shot: where none can be held out, all of them tell its temperature.
    rows = np.concatenate(folds) if folds else np.arange(len(keys))
    row_codes = torch.as_tensor(codes, device=keys.device)
    row_folds = [torch.as_tensor(fold, device=keys.device) for fold in folds]
    targets = residual_targets(keys, row_codes, text, n_classes)
    prior = (
        keys.new_zeros((n_classes, len(rows)))
        if text is None
        else logit_scale * text @ keys[rows].T
    )
    weights = keys.new_tensor(class_balanced_weights(codes[rows]))
    shots = HeldOutShots(prior, row_codes[rows], weights)
    ridge = HeldOutRidge(keys, targets, row_folds, shots, len(rows) // n_views, logit_scale)
    values = start
    if folds and searches:
        with progress() as on_try:
            values = ridge.search(start, free, on_try)
    logits = None if text is None else keys[rows] @ text.T
    if folds:
        predictions = held_out_predictions(keys, targets, row_folds, values[0], values[1])
        logits = values[2] * predictions + (0 if logits is None else logits)
    temperature = 1 / logit_scale
    if logits is not None:
        factor, _ = inverse_temperature(
            logit_scale * logits.T, shots.codes, shots.weights, precision=ridge.precision
        )
        temperature /= factor
    return RidgeValues(*values, temperature, logits)


def held_out_predictions(
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
