"""Kernel ridge regression on the residuals of the text prior.

All functions take and return torch tensors. Systems are solved in double precision, because the entries
of the kernel are all positive and its largest eigenvalue grows with the number of rows.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.cache import affinity
from sktip._maths.folds import MAX_FOLDS, class_balanced_weights, scored_folds
from sktip._maths.log_loss import most_probable_weights
from sktip._maths.unit import unit_norm

#: Numbers of shots per class, and their published beta and lambda (Y. Bendou et al., CVPR 2025).
PUBLISHED = np.array([[1, 2, 4, 8, 16], [3, 2.6, 1.5, 1.66, 1.7], [0.05, 0.05, 0.05, 0.07, 0.1]])
#: Number of rows, or of classes, in one batch.
BATCH = 256


class FittedRidge(NamedTuple):
    """Sharpness, regularisation, weight of the correction, temperature, and dual coefficients (m, C)."""

    beta: float
    lam: float
    gamma: float
    temperature: float
    duals: Tensor


def published_values(n_shots: float) -> tuple[float, float]:
    """Interpolate the published beta and lambda in the logarithm of the number of shots."""
    shots, betas, lams = PUBLISHED
    at, known = np.log(n_shots), np.log(shots)
    return float(np.interp(at, known, betas)), float(np.interp(at, known, lams))


def fit_ridge(
    keys: Tensor,
    codes: NDArray[Any],
    text: Tensor | None,
    *,
    weights: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    n_views: int,
    n_classes: int,
    logit_scale: float,
    beta: float | None,
    lam: float | None,
    gamma: float | None,
) -> FittedRidge:
    """Solve the regression, and choose gamma and the temperature on held-out shots.

    The keys, (m * n_views, d), are unit features of the shots' views, in the type of the dual coefficients; the
    views of a shot are held out together. Codes, weights and groups are (m,), and text is (C, d) or None. A
    beta, lambda or gamma of None is the published value, or for gamma the most probable one.
    """
    shot_weights = np.ones(len(codes)) if weights is None else weights
    shots = unit_norm(keys.view(len(codes), n_views, -1).mean(dim=1).cpu().numpy())
    folds = scored_folds(shots, codes, shot_weights, groups, max_folds=MAX_FOLDS)
    usual_beta, usual_lam = published_values(shot_weights.sum() / len(np.unique(codes)))
    beta = usual_beta if beta is None else beta
    lam = usual_lam if lam is None else lam
    # The held-out rows come last, fold by fold.
    order = np.argsort(folds.repeat(n_views), kind="stable")
    sizes = np.bincount(folds.repeat(n_views) + 1)[1:].tolist()
    first = len(order) - sum(sizes)
    ordered, row_codes = keys[order], codes[order // n_views]
    targets = torch.as_tensor(row_codes, device=keys.device)
    row_weights = shot_weights[order // n_views]
    factor = ridge_factor(
        ordered.double(),
        beta,
        lam,
        None if weights is None else torch.as_tensor(row_weights, device=keys.device),
    )
    duals = dual_coefficients(factor, ordered, targets, text, n_classes)
    factor = factor[first:, first:].clone()  # Frees the rest.
    # Without held-out shots, the logits of the text, which has not seen the shots, show the temperature.
    scored = slice(first if sizes else 0, None)
    ordered, scored_codes = ordered[scored], row_codes[scored]
    even = class_balanced_weights(scored_codes, row_weights[scored]) / n_views
    parts = []
    if text is not None:
        parts.append((logit_scale * (ordered.double() @ text.double().T)).cpu().numpy())
    if sizes:
        residuals = residual_targets(ordered, targets[first:], text, slice(0, n_classes))
        votes = held_out_predictions(factor, residuals, duals[first:].double(), sizes)
        votes *= logit_scale * (lam if gamma is None else gamma)
        parts.append(votes.cpu().numpy())
        if gamma is not None and text is not None:
            parts = [parts[0] + parts[1]]
    found = most_probable_weights(parts, scored_codes, even)[0] if parts else np.ones(1)
    if gamma is None:
        gamma = lam * found[-1] / found[0]
    as_given = torch.empty_like(duals)
    as_given[order] = duals
    return FittedRidge(beta, lam, float(gamma), 1 / (float(found[0]) * logit_scale), as_given)


def held_out_predictions(
    factor: Tensor, targets: Tensor, duals: Tensor, sizes: list[int]
) -> Tensor:
    """Predict the rows of each fold from all other rows: (q, C), fold by fold, in place of `targets`.

    With ``A = inv(k(K, K) + lambda I)``, the prediction for a fold F is ``R_F - inv(A_FF) (A R)_F``. The
    last block of A is the inverse of ``L L'``, where `factor`, (q, q), is the last block L of the Cholesky factor.
    Residual targets R and dual coefficients A R are (q, C), and `sizes` are those of the folds.
    """
    if len(sizes) == 1:
        return targets.sub_(factor @ (factor.T @ duals))
    root = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
    root = torch.linalg.solve_triangular(factor, root, upper=False)
    parts = zip(targets.split(sizes), duals.split(sizes), root.split(sizes, dim=1), strict=True)
    for part, fold_duals, root_part in parts:
        part.sub_(torch.linalg.solve(root_part.T @ root_part, fold_duals))
    return targets


def residual_targets(keys: Tensor, codes: Tensor, text: Tensor | None, classes: slice) -> Tensor:
    """One-hot labels minus cosines with the text features, ``L - K W'``, for some classes: (m, c)."""
    if text is None:
        targets = keys.new_zeros((len(keys), classes.stop - classes.start), dtype=torch.float64)
    else:
        # Keys in single precision are converted in batches, to save memory.
        wanted = text[classes].double().T
        targets = torch.cat([-part.double() @ wanted for part in keys.split(BATCH)])
    shown = torch.nonzero((codes >= classes.start) & (codes < classes.stop))[:, 0]
    targets[shown, codes[shown] - classes.start] += 1
    return targets


def ridge_factor(keys: Tensor, beta: float, lam: float, weights: Tensor | None = None) -> Tensor:
    """Cholesky factor of ``k(K, K) + lambda I``, (m, m). No other matrix of this size is allocated.

    The keys, (m, d), are in double precision. The weights, (m,) or None, are those of the errors at the keys: the
    diagonal gets lambda divided by the weight. Raise ValueError if the matrix is singular.
    """
    kernel = keys.new_empty((len(keys), len(keys)))
    for start in range(0, len(keys), BATCH):
        rows = slice(start, start + BATCH)
        torch.mm(beta * keys[rows], keys.T, out=kernel[rows])
        kernel[rows].sub_(beta).exp_()
    ridge = keys.new_full((len(keys),), lam) if weights is None else lam / weights
    kernel.diagonal().add_(ridge)
    info = torch.empty(0, dtype=torch.int32, device=keys.device)
    # The transpose of the symmetric matrix has the memory layout that LAPACK writes to.
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(kernel.mT, out=(kernel.mT, info))
    pivots = factor.diagonal() ** 2
    # The diagonal of the kernel is 1, so smaller pivots than its rounding error are meaningless.
    enough = pivots > torch.finfo(keys.dtype).eps * (1 + ridge)
    if info.item() or not enough.all():
        raise ValueError(
            f"the kernel ridge regression has no solution in double precision with lam={lam:g} and "
            f"beta={beta:g}, because shots are too similar to one another. Raise lam or beta, or remove duplicate "
            "shots."
        )
    return factor


def dual_coefficients(
    factor: Tensor,
    keys: Tensor,
    codes: Tensor,
    text: Tensor | None,
    n_classes: int,
) -> Tensor:
    """Solution of ``(k(K, K) + lambda I) a = R`` from the Cholesky factor: (m, C).

    It is computed in double precision, in batches, and returned in the type of the keys.
    """
    duals = keys.new_empty((len(keys), n_classes))
    for start in range(0, n_classes, BATCH):
        classes = slice(start, min(start + BATCH, n_classes))
        targets = residual_targets(keys, codes, text, classes)
        # `cholesky_solve` would copy the factor.
        half = torch.linalg.solve_triangular(factor, targets, upper=False)
        duals[:, classes] = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return duals


def ridge_logits(
    rows: Tensor,
    keys: Tensor,
    duals: Tensor,
    text: Tensor | None,
    *,
    beta: float,
    gamma: float,
    temperature: float,
) -> Tensor:
    """Logits ``(f W' + gamma k(f, K) a) / temperature`` of unit rows f: (b, C)."""
    logits = (gamma / temperature) * (affinity(rows, keys, beta).T @ duals)
    if text is not None:
        logits += rows @ text.T / temperature
    return logits
