"""The expected accuracy on photos without labels, from the answers to others."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm

#: Of all intervals.
COVERAGE = 0.8
#: Fewest answers from which an accuracy is estimated.
FEWEST = 8


class Estimate(NamedTuple):
    """A share with an interval of 80 %, and the number of photos that it is estimated from."""

    value: float
    lower: float
    upper: float
    n: int


def expected_accuracy(
    certainty: NDArray[Any], right: NDArray[Any], rest: NDArray[Any]
) -> Estimate | None:
    """Estimate the share of right predictions among photos from the model's certainty of them.

    How often predictions of a certainty are right is learned from photos that were predicted without their own
    label: the log-odds are linear in those of the certainty. Intercept and slope have normal priors around those of
    a calibrated model.
    """
    if len(right) < FEWEST or not len(rest):
        return None
    x, new = (logit(np.clip(part.astype(float), 1e-3, 1 - 1e-3)) for part in (certainty, rest))
    design = np.column_stack([np.ones(len(x)), x])
    center, spread = np.array([0.0, 1.0]), np.array([1.0, 0.5])

    def loss(w: NDArray[Any]) -> Any:
        z = design @ w
        return (
            np.logaddexp(0, np.where(right, -z, z)).sum() + (((w - center) / spread) ** 2).sum() / 2
        )

    best = minimize(loss, center).x
    p = expit(design @ best)
    precision = (design.T * (p * (1 - p))) @ design + np.diag(spread**-2.0)
    at = expit(best[0] + best[1] * new)
    slope = at * (1 - at)
    gradient = np.array([slope.mean(), (slope * new).mean()])
    variance = gradient @ np.linalg.solve(precision, gradient) + slope.mean() / len(new)
    # On the scale of log-odds an interval stays between 0 and 1.
    value = float(np.clip(at.mean(), 1e-4, 1 - 1e-4))
    reach = norm.ppf((1 + COVERAGE) / 2) * np.sqrt(variance) / (value * (1 - value))
    low, high = expit(logit(value) + np.array([-reach, reach]))
    return Estimate(value, float(low), float(high), len(right))
