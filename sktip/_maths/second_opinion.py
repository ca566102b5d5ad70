"""A second opinion: logistic regression on top of the text logits, in the metric of the encoder. NumPy only.

Discriminants and correction see features in units of the covariance within classes. From few shots, the directions in
which classes hardly vary are badly known, and these count most. The second opinion uses the features as they are, as
in CLAP (Silva-Rodriguez et al., CVPR 2024, arXiv 2312.12730). It makes other mistakes, so that the mean of both is
better than either. Features are not centred: their mean is what an offset for each class is learnt from.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.correction import fit_correction

#: Weight of the second opinion in the logits. The text counts the same in both opinions.
WEIGHT = 0.2
#: Prior variance of its coefficients.
VARIANCE = 30.0


def second_opinion(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    text_logits: NDArray[Any],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coefficients (p, r) of features (m, r), whose logits are added to those of the text, (m, p); residuals (m, p).

    The coefficients are ``VARIANCE * residuals.T @ features``. Class codes and weights are (m,).
    """
    return fit_correction(
        features, codes, weights, text_logits, np.full((text_logits.shape[1], 1), VARIANCE)
    )
