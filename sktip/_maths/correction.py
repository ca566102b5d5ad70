"""What the text and the class means miss: multinomial logistic regression with their logits as offset."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sktip._maths.log_loss import log_loss


def fit_correction(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    offset: NDArray[Any],
    variances: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Most probable coefficients B (p, r) of ``offset + features @ B.T``, and the residuals (m, p).

    Features, (m, r), are whitened and centred, and the `offset`, (m, p), are logits of models without the shot.
    Codes and weights are (m,). The coefficients have prior mean 0 and the given variances, (p, r) or (p, 1).
    """
    features, weights = features.astype(offset.dtype), weights.astype(offset.dtype)
    rows, shape = np.arange(len(codes)), (offset.shape[1], features.shape[1])
    precisions = 1 / variances
    # Units in which all classes have about the same posterior variance; they only change the speed.
    units = 1 / np.sqrt(float(weights.sum()) / 25 + precisions)

    def residuals(coef: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        logits = features @ coef.T.astype(offset.dtype)
        logits += offset
        loss, rest = log_loss(logits, codes, weights)
        rest[rows, codes] -= 1
        rest *= weights[:, None]
        return loss, rest

    def cost(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        coef = units * flat.reshape(shape)
        loss, rest = residuals(coef)
        slope = (rest.T @ features).astype(np.float64) + precisions * coef
        return loss + float((precisions * coef**2).sum()) / 2, (units * slope).ravel()

    found = minimize(
        cost,
        np.zeros(shape[0] * shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 1e-3, "gtol": 1e-8, "maxcor": 6},
    )
    coef = units * found.x.reshape(shape)
    return coef, -residuals(coef)[1]
