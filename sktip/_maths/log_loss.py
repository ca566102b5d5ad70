"""The log-loss of labelled logits, and the weights of their parts with the smallest cost. NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Standard deviation of the logarithm of a weight, before held-out shots are seen.
DEVIATION = 0.5
#: Number of logits up to which they are in double precision.
DOUBLE = 2**16
#: Number of logits that are handled at a time, whose copies stay in the cache of the CPU.
BATCH = 2**16
#: Logits are clipped this far below the largest: smaller probabilities are slow denormal numbers.
LEAST_LOGIT = -60.0


def log_loss(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Weighted sum of the log-losses, and the probabilities (m, C)."""
    p = logits - logits.max(axis=1, keepdims=True)
    of_label = p[np.arange(len(codes)), codes].astype(np.float64)
    np.exp(np.maximum(p, LEAST_LOGIT, out=p), out=p)
    totals = p.sum(axis=1, keepdims=True)
    p /= totals
    return float(weights @ (np.log(totals[:, 0]) - of_label)), p


def most_probable_weights(
    parts: list[NDArray[Any]],
    codes: NDArray[Any],
    weights: NDArray[Any],
    *,
    offset: NDArray[Any] | float = 0.0,
    deviation: float = DEVIATION,
    start: float = 1.0,
) -> tuple[NDArray[Any], float]:
    """Weights, from 1e-5 to 1e4, of parts of the logits, each (m, C), and the cost of their sum.

    The cost is the log-loss, and a normal prior of the logarithms of the weights.

    Parameters
    ----------
    parts : list of ndarray of shape (m, C)
        Logits to multiply by the weights, and to add.

    codes, weights : ndarray of shape (m,)
        Classes, and weights of the log-losses.

    offset : ndarray of shape (m, C), default=0
        Logits that are added as they are.

    deviation : float
        Standard deviation of the prior. Infinity for the log-loss alone.

    start : float
        Weight of each part at which the search begins.
    """
    if not parts:
        return np.ones(0), 0.0
    if parts[0].size > DOUBLE:
        parts = [part.astype(np.float32, copy=False) for part in parts]
    n = len(parts)
    low, high = np.log([1e-5, 1e4])

    n_rows = max(1, BATCH // max(1, parts[0].shape[1]))
    batches = [slice(first, first + n_rows) for first in range(0, len(codes), n_rows)]

    def at(logs: NDArray[Any]) -> tuple[float, NDArray[Any], NDArray[Any]]:
        """Cost, and its first and second derivatives."""
        factors = np.exp(logs)
        scaled = factors.astype(parts[0].dtype)
        loss, slope, second = 0.0, np.zeros(n), np.zeros((n, n))
        for rows in batches:
            inside = [part[rows] for part in parts]
            logits: Any = offset[rows] if isinstance(offset, np.ndarray) else offset
            for factor, part in zip(scaled, inside, strict=True):
                logits = logits + factor * part
            lost, p = log_loss(logits, codes[rows], weights[rows])
            loss += lost
            products = [p * part for part in inside]
            means = [product.sum(axis=1) for product in products]
            of_class = np.arange(len(p)), codes[rows]
            for i in range(n):
                slope[i] += weights[rows] @ (means[i] - inside[i][of_class])
                for j in range(i + 1):
                    square = np.einsum("ij,ij->i", products[i], inside[j]) - means[i] * means[j]
                    second[i, j] += weights[rows] @ square
        second += np.tril(second, -1).T
        slope *= factors
        second = factors[:, None] * second * factors + np.diag(slope)
        cost = loss + logs @ logs / (2 * deviation**2)
        return cost, slope + logs / deviation**2, second + np.eye(n) / deviation**2

    tolerance = 1e-4
    logs = np.full(n, np.log(start))
    cost, slope, second = at(logs)
    for _ in range(60):
        # Along directions of negative curvature, Newton's method would go uphill.
        values, axes = np.linalg.eigh(second)
        step = -axes @ (axes.T @ slope / np.maximum(np.abs(values), 1e-12))
        step *= min(1, 1.5 / np.abs(step).max(initial=1e-12))
        step = np.clip(logs + step, low, high) - logs
        tried = None
        while np.abs(step).max() > tolerance and (tried := at(logs + step))[0] > cost:
            step /= 2
        logs = logs + step
        if tried is None or np.abs(step).max() <= tolerance:
            # The error is about the square of the last step.
            cost += slope @ step + step @ second @ step / 2
            break
        cost, slope, second = tried
    return np.clip(np.exp(logs), 1e-5, 1e4), float(cost)
