"""Kernel ridge regression on the residuals of the text prior.

Everything here takes and returns torch tensors. Systems are solved in double precision: kernels of
unit features are all positive, so that their largest eigenvalue grows with the number of rows.
"""

import torch
from torch import Tensor

from sktip._maths.cache import affinity, query_blocks


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
    factor: Tensor
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


def ridge_logits(
    queries: Tensor, keys: Tensor, duals: Tensor, text: Tensor | None, *, beta: float, gamma: float
) -> Tensor:
    """Logits ``f W' + gamma k(f, K) a`` of unit queries: (n, C), in blocks of queries."""
    logits = queries.new_empty((len(queries), duals.shape[1]))
    for rows in query_blocks(queries, keys):
        votes = affinity(queries[rows], keys, beta).T @ duals
        logits[rows] = votes.mul_(gamma)
        if text is not None:
            logits[rows] += queries[rows] @ text.T
    return logits
