"""Kernel ridge regression on the residuals of the text prior.

All functions take and return torch tensors. Systems are solved in double precision, because the entries
of the kernel are all positive and its largest eigenvalue grows with the number of rows.
"""

import torch
from torch import Tensor

from sktip._maths.cache import affinity, query_blocks

#: Numbers of rows and of classes in one block.
ROWS, CLASSES = 256, 64


def residual_targets(keys: Tensor, codes: Tensor, text: Tensor | None, classes: slice) -> Tensor:
    """One-hot labels minus cosines with the text features, ``L - K W'``, for some classes: (m, c)."""
    if text is None:
        targets = keys.new_zeros((len(keys), classes.stop - classes.start), dtype=torch.float64)
    else:
        # Keys in single precision are converted by blocks, to save memory.
        wanted = text[classes].double().T
        targets = torch.cat([-part.double() @ wanted for part in keys.split(ROWS)])
    own = torch.nonzero((codes >= classes.start) & (codes < classes.stop))[:, 0]
    targets[own, codes[own] - classes.start] += 1
    return targets


def ridge_factor(keys: Tensor, beta: float, lam: float, weights: Tensor | None = None) -> Tensor:
    """Cholesky factor of ``k(K, K) + lambda I``, (m, m). No other matrix of this size is allocated.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Unit features, in double precision.

    beta, lam : float
        Sharpness and regularisation strength.

    weights : Tensor of shape (m,) or None
        Weights of the errors at the keys. The diagonal gets lambda divided by the weight.

    Raises
    ------
    ValueError
        If the matrix is singular in double precision.
    """
    kernel = keys.new_empty((len(keys), len(keys)))
    for start in range(0, len(keys), ROWS):
        rows = slice(start, start + ROWS)
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

    It is computed in double precision, by blocks, and returned in the type of the keys.
    """
    duals = keys.new_empty((len(keys), n_classes))
    for start in range(0, n_classes, CLASSES):
        classes = slice(start, min(start + CLASSES, n_classes))
        targets = residual_targets(keys, codes, text, classes)
        # `cholesky_solve` would copy the factor.
        half = torch.linalg.solve_triangular(factor, targets, upper=False)
        duals[:, classes] = torch.linalg.solve_triangular(factor.mT, half, upper=True)
    return duals


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
