"""What is believed of the values before any shot is seen: medians, deviations, and their sources.

A belief is a normal distribution of the logarithm. "Cars" and "ImageNet" are Stanford Cars with 2 to
16 shots per class and ImageNet with 4, features of OpenAI's ViT-B/32; the tables that the values give
are in the user guide.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Tip-Adapter.

#: Values of the paper (R. Zhang et al., arXiv:2111.03930).
PAPER_ALPHA, PAPER_BETA = 1.0, 5.5
#: Standard deviation of the logarithms of alpha and beta about the paper's values, for shots as they
#: are, and for keys that were trained at those values. Measured on Cars and ImageNet.
SPREAD, SPREAD_LEARNED = 1.5, 0.5
#: The scale of the text prior is taken over where it is off by more than this factor.
TRUST = 2.0
#: Folds in which keys learn anew to choose alpha and beta for learned keys.
LEARNED_FOLDS = 4
#: Alphas that a score without a closed form is tried on.
SCORER_ALPHAS = np.geomspace(0.1, 30, 21)

# GDA. Measured on Cars and ImageNet, and on resampled shots of two data sets with noisy text.

#: Folds that shots are dealt into, and groups of classes.
GDA_FOLDS, GDA_GROUPS = 4, 4
#: From so many shots per class on, discriminants are believed to be worth as much as the text.
SHOTS_OF_FULL_BELIEF = 6
#: Standard deviation of the logarithms of the discriminants' weight and of the temperature.
GDA_SPREAD = 1.0
#: CLIP's text logits that can be taken at their word spread this widely between wrong classes.
SPREAD_OF_TEXT = 3.0
#: Text that says nothing is not trusted infinitely little.
LEAST_TRUST = 1e-2
#: With one shot per class nothing shows that the shots are weaker than the text, so a strong text lowers
#: the weight of the discriminants up to this trust. With more shots, held-out shots show it.
MOST_TRUST_OF_ONE_SHOT = 1.25

# ProKeR.

#: Published values for 1, 2, 4, 8 and 16 shots per class (Y. Bendou et al., CVPR 2025).
PUBLISHED_SHOTS = np.array([1, 2, 4, 8, 16])
PUBLISHED_BETA = np.array([3, 2.6, 1.5, 1.66, 1.7])
PUBLISHED_LAMBDA = np.array([0.05, 0.05, 0.05, 0.07, 0.1])
#: Lambda where gamma is chosen. The published values grow with the shots because they are gamma too.
FEW_SHOTS_LAMBDA = float(PUBLISHED_LAMBDA.min())
#: Standard deviation of the logarithms of gamma about the published value, and of the temperature
#: about that of the text. Measured on Cars and ImageNet.
PROKER_SPREAD = 0.7


def precision(deviation: float, n_shots: float) -> float:
    """Weight of ``log(value / median) ** 2 / 2`` beside the *mean* log-loss of so many shots."""
    return 1 / (n_shots * deviation**2)


def default_betas() -> NDArray[Any]:
    """31 values from 0.5 to 50, evenly spaced in the logarithm on either side of 5.5."""
    return np.concatenate([np.geomspace(0.5, PAPER_BETA, 16), np.geomspace(PAPER_BETA, 50, 16)[1:]])


def distance_to_paper(alphas: ArrayLike, betas: ArrayLike) -> NDArray[Any]:
    """Squared distance to the paper's values in the logarithm; a value of 0 counts as 1e-5."""
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
