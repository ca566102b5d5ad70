"""The correction: logistic regression on top of the logits of held-out shots."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sktip._maths.text_prior.softmax import log_loss

#: Upper bound of the curvature of a softmax (Boehning).
CURVATURE = 0.5
#: Curvature that the search is scaled for. It changes the speed of the search, not its result.
USUAL_CURVATURE = 0.04
#: The search ends when a step lowers the cost by less than this fraction, or after so many steps.
TOLERANCE, MAX_STEPS = 1e-4, 60


@dataclass(frozen=True)
class Correction:
    """Ridge regression, class by class, of working responses on features.

    The coefficients are ``basis @ (gain * (basis.T @ features.T @ responses))``: a sum over shots.

    Parameters
    ----------
    coef : ndarray of shape (d, C)
        Coefficients of whitened, centred features.

    responses : ndarray of shape (m, C)
        Working response of each shot, its weight included.

    basis : ndarray of shape (d, d)
        Eigenvectors of the features' second moment.

    gain : ndarray of shape (d, C)
        Factor of the projection on each eigenvector.
    """

    coef: NDArray[Any]
    responses: NDArray[Any]
    basis: NDArray[Any]
    gain: NDArray[Any]


def fit_correction(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    offset: NDArray[Any],
    variances: NDArray[Any],
) -> Correction:
    """Find the most probable coefficients B of ``offset + features @ B``.

    Parameters
    ----------
    features : ndarray of shape (m, d)
        Whitened, centred features of the shots.

    codes : ndarray of shape (m,)
        Their class codes.

    weights : ndarray of shape (m,)
        Weight of each.

    offset : ndarray of shape (m, C)
        Logits from models without the shot.

    variances : ndarray of shape (C,)
        Prior variance of the coefficients of each class, whose prior mean is 0.
    """
    rows, shape = np.arange(len(codes)), (features.shape[1], len(variances))
    values, basis = np.linalg.eigh((features * weights[:, None]).T.astype(np.float64) @ features)
    values = np.maximum(values, 0)[:, None]
    precisions = 1 / variances
    projected = (features @ basis.astype(features.dtype)).astype(offset.dtype)
    # In these units, all coefficients have about the same posterior variance.
    units = 1 / np.sqrt(USUAL_CURVATURE * values + precisions)

    def residuals(coef: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        logits = projected @ coef.astype(offset.dtype)
        logits += offset
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        rest *= weights.astype(rest.dtype)[:, None]
        return loss, rest

    def cost(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        coef = units * flat.reshape(shape)
        loss, rest = residuals(coef)
        slope = (projected.T @ rest).astype(np.float64) + precisions * coef
        return loss + float((precisions * coef**2).sum()) / 2, (units * slope).ravel()

    found = minimize(
        cost,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_STEPS, "ftol": TOLERANCE, "gtol": 1e-8, "maxcor": 6},
    )
    coef = units * found.x.reshape(shape)
    # One step with Boehning's fixed curvature makes the coefficients a sum over shots.
    _, rest = residuals(coef)
    responses = (
        CURVATURE * weights[:, None].astype(rest.dtype) * (projected @ coef.astype(rest.dtype))
    )
    responses -= rest
    gain = 1 / (CURVATURE * values + precisions)
    coef = gain * (projected.T @ responses).astype(np.float64)
    return Correction(basis @ coef, responses, basis, gain)
