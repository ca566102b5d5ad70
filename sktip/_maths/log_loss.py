"""The log-loss of labelled logits, and the weights of their parts with the smallest cost. NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

#: Standard deviation of the logarithm of a weight, before held-out shots are seen.
DEVIATION = 0.5
#: Number of logits up to which they are in double precision.
DOUBLE = 2**16
#: Logits are clipped this far below the largest: smaller probabilities are slow denormal numbers.
LEAST_LOGIT = -60.0


def log_loss(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Weighted sum of the log-losses, and the probabilities (m, C)."""
    p = logits - logits.max(axis=1, keepdims=True)
    own = p[np.arange(len(codes)), codes].astype(np.float64)
    np.exp(np.maximum(p, LEAST_LOGIT, out=p), out=p)
    totals = p.sum(axis=1, keepdims=True)
    p /= totals
    return float(weights @ (np.log(totals[:, 0]) - own)), p


def most_probable_weights(
    parts: list[NDArray[Any]],
    codes: NDArray[Any],
    weights: NDArray[Any],
    *,
    deviation: float = DEVIATION,
) -> tuple[NDArray[Any], float]:
    """Positive weights of parts of the logits, each (m, C), and the cost of their sum.

    The cost is the log-loss, and a normal prior of the logarithms of the weights.
    """
    if not parts:
        return np.ones(0), 0.0
    if parts[0].size > DOUBLE:
        parts = [part.astype(np.float32, copy=False) for part in parts]
    rows = np.arange(len(codes))

    def cost(logs: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        factors = np.exp(logs)
        logits = sum(
            f * part for f, part in zip(factors.astype(parts[0].dtype), parts, strict=True)
        )
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        slopes = [weights @ np.einsum("ij,ij->i", rest, part) for part in parts]
        return loss + logs @ logs / (2 * deviation**2), factors * slopes + logs / deviation**2

    found = minimize(
        cost,
        np.zeros(len(parts)),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-12, "gtol": 1e-8},
    )
    return np.exp(found.x), float(found.fun)
