"""The values of Tip-Adapter in its paper, and values of beta around them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: R. Zhang et al., arXiv:2111.03930.
PAPER_ALPHA, PAPER_BETA = 1.0, 5.5


def default_betas() -> NDArray[Any]:
    """31 values from 0.5 to 50: 5.5, and evenly spaced values in the logarithm on either side."""
    return np.concatenate([np.geomspace(0.5, PAPER_BETA, 16), np.geomspace(PAPER_BETA, 50, 16)[1:]])


def distance_to_paper(alphas: ArrayLike, betas: ArrayLike) -> NDArray[Any]:
    """Squared distance to the paper's values in the logarithm. A value of 0 is replaced by 1e-5."""
    alphas, betas = np.maximum(alphas, 1e-5), np.maximum(betas, 1e-5)
    return np.log(alphas / PAPER_ALPHA) ** 2 + np.log(betas / PAPER_BETA) ** 2
