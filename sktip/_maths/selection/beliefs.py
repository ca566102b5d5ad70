"""Prior beliefs about the values: medians and standard deviations, with their sources.

A belief is a normal distribution of the logarithm. "Cars" and "ImageNet" are Stanford Cars with 2 to
16 shots per class and ImageNet with 4 shots per class, with features of OpenAI's ViT-B/32. The user guide
has the resulting tables.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Tip-Adapter.

#: The paper's values (R. Zhang et al., arXiv:2111.03930).
PAPER_ALPHA, PAPER_BETA = 1.0, 5.5
#: Standard deviation of the logarithms of alpha and beta around the paper's values: for untrained keys, and
#: for keys that were trained at those values. Measured on Cars and ImageNet.
SPREAD, SPREAD_LEARNED = 1.5, 0.5
#: The text prior is rescaled if its best scale differs from 1 by more than this factor.
TRUST = 2.0
#: Number of folds for trained keys, which are trained again for each fold.
LEARNED_FOLDS = 4
#: Values of alpha for scores without a closed form.
SCORER_ALPHAS = np.geomspace(0.1, 30, 21)

# GDA. Measured on Cars and ImageNet, and on resampled shots of two data sets with noisy text.

#: Largest numbers of folds of the shots, and of groups of classes.
GDA_FOLDS, GDA_GROUPS = 4, 4
#: From this number of shots per class, the belief gives discriminants and text the same weight.
SHOTS_OF_FULL_BELIEF = 6
#: Standard deviation of the logarithms of the weight of the discriminants and of the temperature.
GDA_SPREAD = 1.0
#: Spread of calibrated text logits of CLIP between wrong classes.
SPREAD_OF_TEXT = 3.0
#: Lower bound of the trust in uninformative text.
LEAST_TRUST = 1e-2
#: With one shot per class nothing shows that the shots are weaker than the text, so a strong text lowers
#: the weight of the discriminants up to this trust. With more shots, held-out shots show it.
MOST_TRUST_OF_ONE_SHOT = 1.25

# ProKeR.

#: Published values for 1, 2, 4, 8 and 16 shots per class (Y. Bendou et al., CVPR 2025).
PUBLISHED_SHOTS = np.array([1, 2, 4, 8, 16])
PUBLISHED_BETA = np.array([3, 2.6, 1.5, 1.66, 1.7])
PUBLISHED_LAMBDA = np.array([0.05, 0.05, 0.05, 0.07, 0.1])
#: Lambda if gamma is chosen. The published values grow with the shots because they also serve as gamma.
FEW_SHOTS_LAMBDA = float(PUBLISHED_LAMBDA.min())
#: Standard deviation of the logarithms of gamma around the published value, and of the temperature around
#: that of the text. Measured on Cars and ImageNet.
PROKER_SPREAD = 0.7


def precision(deviation: float, n_shots: float) -> float:
    """Weight of ``log(value / median) ** 2 / 2`` relative to the *mean* log-loss of `n_shots` shots."""
    return 1 / (n_shots * deviation**2)


def default_betas() -> NDArray[Any]:
    """31 values from 0.5 to 50: 5.5, and evenly spaced values in the logarithm on either side."""
    return np.concatenate([np.geomspace(0.5, PAPER_BETA, 16), np.geomspace(PAPER_BETA, 50, 16)[1:]])


def distance_to_paper(alphas: ArrayLike, betas: ArrayLike) -> NDArray[Any]:
    """Squared distance to the paper's values in the logarithm. A value of 0 is replaced by 1e-5."""
    alphas, betas = np.maximum(alphas, 1e-5), np.maximum(betas, 1e-5)
    return np.log(alphas / PAPER_ALPHA) ** 2 + np.log(betas / PAPER_BETA) ** 2


def published_ridge(n_shots: float) -> tuple[float, float]:
    """Interpolate the published beta and lambda in the logarithm of the number of shots."""
    at, shots = np.log(n_shots), np.log(PUBLISHED_SHOTS)
    beta, lam = (
        np.exp(np.interp(at, shots, np.log(values)))
        for values in (PUBLISHED_BETA, PUBLISHED_LAMBDA)
    )
    return float(beta), float(lam)
