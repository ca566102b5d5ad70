"""Normalise rows to length 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_norm(features: NDArray[Any]) -> NDArray[Any]:
    """Divide rows by their norm. Rows of zeros stay zero."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = np.linalg.norm(features, axis=-1, keepdims=True)
    # The squares of very short and very long rows underflow or overflow. These rows are divided by their
    # largest entry first.
    limits = np.finfo(norms.dtype)
    odd = ~((norms > np.sqrt(limits.tiny / limits.eps)) & (norms < np.inf))[..., 0]
    if odd.any():
        features = features.copy()
        largest = np.abs(features[odd]).max(axis=-1, keepdims=True)
        features[odd] /= np.where(largest == 0, 1, largest)
        norms[odd] = np.linalg.norm(features[odd], axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)
