"""Class means: predicted from the text, and updated with the shots of each class."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.statistics import Statistics

#: Weight of the prior mean of a class, in shots.
KAPPA = 3.0
#: Ridge penalty of the map from text to means, in mean squared lengths of the centred text features.
RIDGE = 3.0
#: Prior of its scale, and the weight of that prior in classes. The scale is 0.25 to 0.4 on many data sets.
SCALE, SCALE_CLASSES = 0.3, 2.0
#: Text features with a smaller mean squared difference are equal but for rounding.
SAME = 1e-12
#: Weight, in the covariance, of the deviations of class means from their prior means; those of shots
#: from their class mean have weight 1.
MEANS_IN_COVARIANCE = 0.03


@dataclass(frozen=True)
class Means:
    """Posterior of the class means.

    Parameters
    ----------
    prior : ndarray of shape (C, d)
        Mean of each class before its shots are seen.

    posterior : ndarray of shape (C, d)
        Mean of each class with its shots.

    counts : ndarray of shape (C,)
        Shots of each class.

    centre : ndarray of shape (d,)
        Mean of all classes, which features are centred on.

    scale : float
        Factor from differences between text features to differences between class means; 0 without
        text.

    values, vectors : ndarray of shape (d,) and (d, d)
        Eigendecomposition of the covariance within classes.
    """

    prior: NDArray[Any]
    posterior: NDArray[Any]
    counts: NDArray[Any]
    centre: NDArray[Any]
    scale: float
    values: NDArray[Any]
    vectors: NDArray[Any]

    @cached_property
    def coordinates(self) -> NDArray[Any]:
        """Posterior means (C, d), centred, along the eigenvectors."""
        result: NDArray[Any] = (self.posterior - self.centre) @ self.vectors
        return result

    @cached_property
    def gram(self) -> NDArray[Any]:
        """Sum (d, d) over classes of the outer products of these coordinates."""
        result: NDArray[Any] = self.coordinates.T @ self.coordinates
        return result

    def whitening(self, shrinkage: float) -> NDArray[Any]:
        """Matrix (d, d) after which the shrunken covariance is the identity."""
        result: NDArray[Any] = self.vectors / np.sqrt(self.shrunken(shrinkage))
        return result

    def shrunken(self, shrinkage: float) -> NDArray[Any]:
        """Eigenvalues of the covariance, shrunken towards their mean."""
        result: NDArray[Any] = (1 - shrinkage) * self.values + shrinkage * self.values.mean()
        return result


def class_means(statistics: Statistics, text: NDArray[Any] | None) -> Means:
    """Estimate means and covariance from at least one sample; text features are (C, d) or None."""
    counts, presence = statistics.counts, statistics.presence
    own = statistics.sums / np.where(counts > 0, counts, 1)[:, None]
    # Certainty of the observed mean of each class, in shots.
    known = counts * KAPPA / (counts + KAPPA)
    centre = known @ own / known.sum()
    prior, scale = _predicted(own - centre, known, text)
    prior += centre
    posterior = (KAPPA * prior + statistics.sums) / (KAPPA + counts)[:, None]
    within = statistics.moment - (counts[:, None] * own).T @ own
    between = (known[:, None] * (own - prior)).T @ (own - prior)
    freedom = max(counts.sum() - presence.sum(), 0) + MEANS_IN_COVARIANCE * presence.sum()
    values, vectors = np.linalg.eigh((within + MEANS_IN_COVARIANCE * between) / freedom)
    # Identical shots have no spread. The floor keeps the covariance invertible.
    floor = max(1e-12 * values[-1], 1e-12)
    return Means(prior, posterior, counts, centre, scale, np.maximum(values, floor), vectors)


def _predicted(
    means: NDArray[Any], known: NDArray[Any], text: NDArray[Any] | None
) -> tuple[NDArray[Any], float]:
    """Predict centred means from the text features of all classes: a scale, and ridge regression.

    The number of classes, not of shots, is the sample size. Without text, the prior mean of every
    class is the centre.
    """
    if text is None:
        return np.zeros_like(means), 0.0
    text = text.astype(np.float64) - known @ text / known.sum()
    length = float((text**2).sum() / len(text))
    # The text of a single class, or equal texts, distinguish no classes.
    if length < SAME:
        return np.zeros_like(means), 0.0
    certainty = known / known.max()
    weighted = certainty[:, None] * text
    belief = SCALE_CLASSES * length
    scale = float(((weighted * means).sum() + SCALE * belief) / ((weighted * text).sum() + belief))
    gram = weighted.T @ text + RIDGE * length * np.eye(text.shape[1])
    rest = np.linalg.solve(gram, weighted.T @ (means - scale * text))
    return scale * text + text @ rest, scale
