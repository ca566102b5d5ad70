"""Rows of length 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def unit_norm(features: NDArray[Any]) -> NDArray[Any]:
    """Divide rows by their norm; rows of zeros stay zero."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = np.linalg.norm(features, axis=-1, keepdims=True)
    # Of very short and very long rows the squares lose digits, or are 0 or infinite: those are
    # divided by their largest number first.
    limits = np.finfo(norms.dtype)
    odd = ~((norms > np.sqrt(limits.tiny / limits.eps)) & (norms < np.inf))[..., 0]
    if odd.any():
        features = features.copy()
        largest = np.abs(features[odd]).max(axis=-1, keepdims=True)
        features[odd] /= np.where(largest == 0, 1, largest)
        norms[odd] = np.linalg.norm(features[odd], axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)
