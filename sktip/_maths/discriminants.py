"""Linear discriminants of classes whose means have a prior, which is predicted from the text. NumPy only.

The model of a unit feature x of class c, with text feature w_c:

    x ~ N(mu_c, S)     mu_c ~ N(m_c, S / kappa)     m_c = centre + scale w_c + w_c R

R is ridge regression from texts to class means. The number of classes, not of samples, is its sample size.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from sktip._maths.statistics import Statistics

#: Usual spread of CLIP's text logits over the classes, which is used where there is no text.
SPREAD_OF_TEXT = 3.0
#: Weight of the predicted mean of a class, in samples.
KAPPA = 3.0
#: Prior of the scale of the map from texts to means, with the weight of so many classes.
SCALE, SCALE_CLASSES = 0.3, 2.0
#: Penalty of the ridge part of that map, in mean squared lengths of the centred text features.
RIDGE = 3.0
#: Weight, in the covariance, of the deviations of class means from the predicted ones.
MEANS_IN_COVARIANCE = 0.03
#: Largest fraction of the covariance that is replaced by its mean variance, where the text predicts the means.
SHRINKAGE = 0.5


class Discriminants:
    """Class means with a prior from the text, one covariance, and the discriminants of both.

    `statistics` have at least one sample, `text` is (C, d) or None, and `shrinkage` is the fraction of the covariance
    that is replaced by its mean variance over `width` columns. `prior` and `means`, (C, d), are the class means
    as predicted from the text and with the samples, and `centre`, (d,), is the mean of all classes. The
    `covariance` within classes, (d, d), is shrunken. ``coef @ x + intercept`` is half the squared distance of x to
    the centre, less that to the class mean, in units of the covariance. `error` is the mean squared distance of
    predicted means to the true ones, in the same units.
    """

    def __init__(
        self,
        statistics: Statistics,
        text: NDArray[Any] | None,
        shrinkage: float,
        width: int,
    ):
        self.shrinkage = shrinkage
        counts, means = statistics.counts, statistics.means
        # Certainty of the mean of the samples of each class, in samples.
        certainty = counts * KAPPA / (counts + KAPPA)
        self.centre = certainty @ means / certainty.sum()
        self.prior = self.centre + _predicted(means - self.centre, certainty, text)
        self.means = (KAPPA * self.prior + statistics.sums) / (KAPPA + counts)[:, None]
        apart = means - self.prior
        within = statistics.scatter
        within += MEANS_IN_COVARIANCE * (certainty[:, None] * apart).T @ apart
        freedom = max(counts.sum() - statistics.present, 0)
        within /= freedom + MEANS_IN_COVARIANCE * statistics.present
        # The floor, for samples that are nearly equal, is a thousandth of what photos have.
        variance = max(float(np.trace(within)), 1e-4) / width
        self.covariance = (1 - shrinkage) * within
        self.covariance[np.diag_indices_from(within)] += shrinkage * variance
        self.factor = cho_factor(self.covariance, lower=True)
        self.coef = self.solve(self.means - self.centre)
        self.intercept = -self.coef @ self.centre
        self.intercept -= ((self.means - self.centre) * self.coef).sum(axis=1) / 2
        # Squared distance of a mean that has been predicted from the true one: what the samples show, and no
        # more than the prior has.
        squared = (apart * self.solve(apart)).sum(axis=1)
        # The trace of the inverse of the covariance times `within`, which is all but the added diagonal.
        inverse = solve_triangular(self.factor[0], np.eye(len(within)), lower=True)
        added = shrinkage * variance * float((inverse**2).sum())
        variances = (len(within) - added) / (1 - shrinkage)
        noise = variances / np.where(counts > 0, counts, 1)
        self.error = min(
            max(certainty @ (squared - noise) / certainty.sum(), 0.0), variances / KAPPA
        )

    def solve(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Multiply rows (n, d) by the inverse of the covariance."""
        return cho_solve(self.factor, rows.T).T

    def whitened(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Centre rows (n, d), and map them to coordinates in which the covariance is 1."""
        triangle = np.tril(self.factor[0])
        return solve_triangular(triangle, (rows - self.centre).T, lower=True).T

    def unwhitened(self, coef: NDArray[Any]) -> NDArray[Any]:
        """Coefficients (p, d) of centred rows with the same logits as `coef` on whitened rows."""
        triangle = np.tril(self.factor[0])
        return solve_triangular(triangle, coef.T, lower=True, trans=1).T

    def weight_for(self, spread: float) -> float:
        """Weight at which the discriminants have this spread; 0 if the means are equal but for rounding.

        The spread is the standard deviation of the logits over the classes, root mean square over samples of the model.
        """
        if len(self.coef) == 1:
            return 0.0
        logits = self.means @ self.coef.T + self.intercept
        coef = self.coef - self.coef.mean(axis=0)
        between = np.var(logits, axis=1, ddof=1).mean()
        within = (coef @ self.covariance * coef).sum() / (len(coef) - 1)
        deviation = float(np.sqrt(between + within))
        rounding = 1e-9 * max(1.0, float(np.abs(self.intercept).max()))
        return spread / deviation if deviation > rounding else 0.0


def shrinkage_for(statistics: Statistics, width: int) -> float:
    """Fraction of the covariance that is better replaced by its mean variance, the smaller the more samples."""
    return float(1 / (1 + np.sqrt(statistics.counts.sum() / width)))


def _predicted(
    means: NDArray[Any], certainty: NDArray[Any], text: NDArray[Any] | None
) -> NDArray[Any]:
    """Predict centred means from the text features of all classes; 0 without text, or if all texts are equal."""
    if text is None:
        return np.zeros_like(means)
    text = text - certainty @ text / certainty.sum()
    length = (text**2).sum() / len(text)
    if length < 1e-12:
        return np.zeros_like(means)
    weighted = (certainty / certainty.max())[:, None] * text
    belief = SCALE_CLASSES * length
    scale = ((weighted * means).sum() + SCALE * belief) / ((weighted * text).sum() + belief)
    penalty, target = RIDGE * length, means - scale * text
    if len(text) < text.shape[1]:
        # The same, by a system for the classes instead of the columns.
        gram = text @ weighted.T
        gram[np.diag_indices_from(gram)] += penalty
        return scale * text + text @ (weighted.T @ np.linalg.solve(gram, target))
    gram = weighted.T @ text
    gram[np.diag_indices_from(gram)] += penalty
    return scale * text + text @ np.linalg.solve(gram, weighted.T @ target)
