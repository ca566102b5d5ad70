"""How often predictions are right, from the answers to photos that were predicted without them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import norm

#: Of all intervals.
COVERAGE = 0.8
#: Fewest answers from which something is learned.
FEWEST = 8
#: Mean and standard deviation of intercept and slope, before any answer: those of a calibrated model.
CENTER, SPREAD = np.array([0.0, 1.0]), np.array([1.0, 0.5])
#: From which probability on a prediction has these words.
WORDS = {0.95: "almost sure", 0.75: "likely", 0.0: "unsure"}


class Estimate(NamedTuple):
    """A share with an interval of 80 %, and the number of photos that it is estimated from."""

    value: float
    lower: float
    upper: float
    n: int


class Calibration:
    """How often predictions are right, by the certainty that the model gives them.

    The log-odds are linear in those of the certainty. Intercept and slope are learned from `certainty` and
    `right`, both (n,), of photos that were predicted without their own label.
    """

    def __init__(self, certainty: NDArray[Any], right: NDArray[Any]):
        self.n = len(right)
        design = np.column_stack([np.ones(self.n), _log_odds(certainty)])

        def loss(weights: NDArray[Any]) -> Any:
            z, distance = design @ weights, (weights - CENTER) / SPREAD
            return np.logaddexp(0, np.where(right, -z, z)).sum() + distance @ distance / 2

        self.weights = minimize(loss, CENTER).x
        p = expit(design @ self.weights)
        self.precision = (design.T * (p * (1 - p))) @ design + np.diag(SPREAD**-2)

    def __call__(self, certainty: Any) -> NDArray[np.float64]:
        """Probability that a prediction of this certainty is right."""
        p: NDArray[np.float64] = expit(self.weights[0] + self.weights[1] * _log_odds(certainty))
        return p

    def share(self, certainty: NDArray[Any]) -> Estimate:
        """Share of right predictions among other photos, (m,) with m > 0."""
        p = self(certainty)
        slope = p * (1 - p)
        gradient = np.array([slope.mean(), (slope * _log_odds(certainty)).mean()])
        # Of the weights, and of which photos are right given these.
        variance = gradient @ np.linalg.solve(self.precision, gradient) + slope.mean() / len(p)
        # On the scale of log-odds an interval stays between 0 and 1.
        value = np.clip(p.mean(), 1e-4, 1 - 1e-4)
        reach = norm.ppf((1 + COVERAGE) / 2) * np.sqrt(variance) / (value * (1 - value))
        low, high = expit(logit(value) + np.array([-reach, reach]))
        return Estimate(float(value), float(low), float(high), self.n)


def in_words(probability: float) -> str:
    """Say how sure a prediction is."""
    return next(word for least, word in WORDS.items() if probability >= least)


def _log_odds(certainty: Any) -> NDArray[np.float64]:
    odds: NDArray[np.float64] = logit(np.clip(np.asarray(certainty, np.float64), 1e-3, 1 - 1e-3))
    return odds
