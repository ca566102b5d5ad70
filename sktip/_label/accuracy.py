"""How often predictions are right, from the answers to photos that were predicted without them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logit
from scipy.stats import beta

#: Of all intervals.
COVERAGE = 0.8
#: Fewest answers from which something is learned.
FEWEST = 8
#: Intercepts and slopes that are weighed up, and their distribution before any answer: a model is often too sure.
INTERCEPTS, SLOPES = np.linspace(-6, 6, 97), np.linspace(0, 2, 21)
CENTER, SPREAD = (0.0, 0.8), (1.5, 0.4)
#: Number of photos of each predicted class that the expected accuracy counts as, and the fewest of other classes among
#: them: with fewer, intervals of good models hold 68 instead of 80 to 90 %.
STRENGTH, LEAST_OTHERS = 1.0, 0.6


class Estimate(NamedTuple):
    """A share with an interval of 80 %, and the number of photos that it is estimated from."""

    value: float
    lower: float
    upper: float
    n: int


class Calibration:
    """How often predictions are right, by the certainty that the model gives them.

    The log-odds are linear in those of the certainty. Intercept and slope have a posterior from `certainty` and
    `right`, both (n,), of photos that were predicted without their own label.
    """

    def __init__(self, certainty: NDArray[Any], right: NDArray[Any]):
        self.n = len(right)
        self._weights = np.stack(np.meshgrid(INTERCEPTS, SLOPES)).reshape(2, -1)
        distance = (self._weights.T - CENTER) / SPREAD
        sign = np.where(right, 1, -1)[:, np.newaxis]
        log_p = (
            log_expit(sign * self._logits(certainty)).sum(axis=0) - (distance**2).sum(axis=1) / 2
        )
        self._p = np.exp(log_p - log_p.max())
        self._p /= self._p.sum()

    def _logits(self, certainty: Any) -> NDArray[np.float64]:
        """Log-odds of predictions of these certainties being right, (m, n_weights)."""
        x = logit(np.clip(np.asarray(certainty, np.float64).ravel(), 1e-3, 1 - 1e-3))
        return self._weights[0] + x[:, np.newaxis] * self._weights[1]

    def probability(self, certainty: float) -> float:
        """Return how probable it is that a prediction of this certainty is right."""
        return float(expit(self._logits(certainty))[0] @ self._p)

    def share(self, certainty: NDArray[Any]) -> Estimate:
        """Estimate the share of right predictions among other photos, (m,) with m > 0."""
        # A hundred photos stand for all.
        some = np.quantile(certainty, (np.arange(100) + 0.5) / 100)
        shares = expit(self._logits(some)).mean(axis=0)
        value = shares @ self._p
        order = np.argsort(shares)
        below = np.cumsum(self._p[order])
        ends = shares[order][np.searchsorted(below, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])]
        # Which of the photos are right is chance too.
        chance = 1.28 * np.sqrt(value * (1 - value) / len(certainty))
        low, high = value + np.array([-1, 1]) * np.hypot(ends - value, chance)
        return Estimate(float(value), float(max(low, 0)), float(min(high, 1)), self.n)


def shares_among(
    found: NDArray[Any], true: NDArray[Any], rest: NDArray[Any], n_classes: int, accuracy: float
) -> list[NDArray[np.float64]]:
    """Estimate the share of each class among photos from their predictions `rest`, with intervals of 80 %.

    What the photos of each predicted class show has a Dirichlet posterior, from the predictions `found` of photos that
    were predicted without their labels `true`. All are codes of classes; `accuracy` is expected of each class.
    """
    others = max(STRENGTH * (1 - accuracy), LEAST_OTHERS)
    counts = np.full((n_classes, n_classes), others / max(n_classes - 1, 1))
    np.fill_diagonal(counts, STRENGTH * accuracy)
    np.add.at(counts, (found, true), 1)
    total = counts.sum(axis=1, keepdims=True)
    mean, n = counts / total, np.bincount(rest, minlength=n_classes)[:, np.newaxis]
    shares = (n * mean).sum(axis=0) / n.sum()
    # Of these means, and of which photos show what given them.
    spread = mean * (1 - mean) * (n**2 / (total + 1) + n)
    variances = np.maximum(spread.sum(axis=0) / n.sum() ** 2, 1e-12)
    size = np.maximum(shares * (1 - shares) / variances - 1, 1e-3)
    ends = [
        beta.ppf(q, np.maximum(shares * size, 1e-3), np.maximum((1 - shares) * size, 1e-3))
        for q in ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2)
    ]
    return list(np.column_stack([shares, *ends]))
