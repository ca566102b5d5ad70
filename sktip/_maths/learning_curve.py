"""Accuracy over shots: a curve with few coefficients, fitted to held-out answers.

With k shots per class and x = log2(1 + k),

    logit(accuracy) = level + straight * x + bent / (1 + k)^2 + noise

With text, the curve is nearly straight. Without text, it is steep at the first shots. The coefficients have
normal priors, so that the posterior is normal too.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

#: Means and standard deviations of the coefficients, with text and without: around the curves of CLIP's features,
#: and wide enough for those of other data.
WITH_TEXT = ((0.0, 0.2, 0.0), (3.0, 0.2, 0.3))
WITHOUT_TEXT = ((-2.0, 0.4, -3.0), (3.0, 0.3, 3.0))
#: Deviation of an accuracy from the curve, in the logit: which shots were drawn, and the error of the curve.
DEVIATION = 0.12
#: Probability that an interval holds the accuracy.
COVERAGE = 0.8


def fit_curve(
    x: NDArray[np.float64], right: NDArray[np.bool_], groups: NDArray[np.intp], *, has_text: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (3,) and covariance (3, 3) of the coefficients.

    `right` (m, L) says which photos are answered rightly with the shots of each level `x` (L,). The levels
    answer the same photos, and photos of one group, (m,), resemble each other: their errors are correlated.
    """
    n = groups.max() + 1
    accuracy = (n * right.mean(axis=0) + 0.5) / (n + 1)
    errors = np.zeros((n, len(x)))
    np.add.at(errors, groups, (right - right.mean(axis=0)) / len(right))
    covariance = errors.T @ errors + 0.25 * np.eye(len(x)) / n**2
    slopes = 1 / (accuracy * (1 - accuracy))
    noise = covariance * np.outer(slopes, slopes) + DEVIATION**2 * np.eye(len(x))
    mean, deviations = map(np.array, WITH_TEXT if has_text else WITHOUT_TEXT)
    prior = np.diag(deviations**2)
    basis = curve_basis(x)
    gain = np.linalg.solve(basis @ prior @ basis.T + noise, basis @ prior).T
    return mean + gain @ (logit(accuracy) - basis @ mean), prior - gain @ basis @ prior


def read_curve(
    x: NDArray[np.float64], mean: NDArray[np.float64], covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Accuracies at `x`, and their intervals."""
    basis = curve_basis(x)
    middle = basis @ mean
    deviation = np.sqrt(np.einsum("ij,jk,ik->i", basis, covariance, basis) + DEVIATION**2)
    reach = norm.ppf((1 + COVERAGE) / 2) * deviation
    return expit(middle), expit(middle - reach), expit(middle + reach)


def curve_basis(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors of the coefficients, (..., 3)."""
    return np.stack([np.ones_like(x), x, 2.0 ** (-2 * x)], axis=-1)
