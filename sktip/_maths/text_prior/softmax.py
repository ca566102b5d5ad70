"""Log-loss of logits, and the weights of logits that minimise it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Newton's method ends when the logarithms of the weights are known to this, or after so many steps.
PRECISION, LONGEST_STEP, MAX_STEPS = 1e-4, 1.0, 30
#: Logits are clipped this far below the largest. Smaller probabilities would be denormal numbers in
#: single precision, which make matrix products a hundred times slower.
LEAST_LOGIT = -60.0
#: Relative rounding error of the cost in single precision.
ROUNDING = 1e-6


def log_loss(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> tuple[float, NDArray[Any]]:
    """Weighted sum of the log-losses, and the probabilities (m, C)."""
    rows = np.arange(len(codes))
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = shifted[rows, codes].astype(np.float64)
    np.maximum(shifted, LEAST_LOGIT, out=shifted)
    probabilities = np.exp(shifted, out=shifted)
    totals = probabilities.sum(axis=1, keepdims=True)
    probabilities /= totals
    return float(weights @ (np.log(totals[:, 0]) - own)), probabilities


def most_probable_weights(
    parts: list[NDArray[Any]],
    codes: NDArray[Any],
    weights: NDArray[Any],
    precision: NDArray[Any],
    start: NDArray[Any],
) -> tuple[NDArray[Any], float]:
    """Positive weights of parts of the logits, each (m, C), and the cost of their sum.

    The cost is the log-loss plus a normal prior of the logarithms of the weights, with mean 0 and
    the given `precision`. Newton's method minimises it in the logarithms, from `start`.
    """
    rows = np.arange(len(codes))
    u = np.log(start)

    def expansion(u: NDArray[Any]) -> tuple[float, NDArray[Any], NDArray[Any]]:
        scaled = np.exp(u)
        logits = sum(
            (float(w) * part for w, part in zip(scaled[1:], parts[1:], strict=True)),
            float(scaled[0]) * parts[0],
        )
        loss, p = log_loss(logits, codes, weights)
        moments = [np.einsum("ij,ij->i", p, part) for part in parts]
        slope = np.array(
            [weights @ (e - part[rows, codes]) for e, part in zip(moments, parts, strict=True)]
        )
        curvature = np.empty((len(parts), len(parts)))
        for i, first in enumerate(parts):
            for j, second in enumerate(parts[: i + 1]):
                both = np.einsum("ij,ij,ij->i", p, first, second) - moments[i] * moments[j]
                curvature[i, j] = curvature[j, i] = weights @ both
        cost = loss + u @ precision @ u / 2
        # Only the part of the curvature that is always positive is kept.
        slope = scaled * slope
        curvature = scaled[:, None] * curvature * scaled + precision
        return cost, slope + precision @ u, curvature

    cost, slope, curvature = expansion(u)
    for _ in range(MAX_STEPS):
        step = -np.linalg.solve(curvature, slope)
        step *= min(1.0, LONGEST_STEP / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < PRECISION:
            break
        while True:
            following = expansion(u + step)
            if following[0] <= cost + ROUNDING * abs(cost) or np.abs(step).max() < PRECISION:
                break
            step /= 2
        u, (cost, slope, curvature) = u + step, following
    return np.exp(u), cost


def most_probable_factor(
    logits: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    deviation: float,
    start: float = 1.0,
) -> float:
    """Most probable factor of all logits, (m, C).

    The prior of its logarithm is normal, with mean 0 and the given standard deviation.
    """
    precision = np.array([[deviation**-2]])
    found, _ = most_probable_weights([logits], codes, weights, precision, np.array([start]))
    return float(found[0])
