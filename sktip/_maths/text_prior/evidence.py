"""How much each shot changed a logit."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.means import KAPPA
from sktip._maths.text_prior.model import TextPriorModel


class Evidence(NamedTuple):
    """Shots, in coordinates in which class means and correction are sums over them.

    Parameters
    ----------
    centre : ndarray of shape (d,)
        Origin of the coordinates.

    axes : ndarray of shape (d, d)
        Coordinates of x are ``(x - centre) @ axes``. The covariance within classes is the identity
        there, and the shots' second moment is diagonal.

    gain : ndarray of shape (d, p)
        Weight of each coordinate in the correction of the p classes that have shots.

    responses : ndarray of shape (m, p)
        Working response of each shot in the correction.
    """

    centre: NDArray[Any]
    axes: NDArray[Any]
    gain: NDArray[Any]
    responses: NDArray[Any]

    @classmethod
    def of(cls, model: TextPriorModel) -> "Evidence | None":
        """Collect the evidence of a fitted model; None without shots."""
        if model.means is None or model.correction is None:
            return None
        correction = model.correction
        axes = model.means.whitening(model.shrinkage) @ correction.basis
        return cls(model.means.centre, axes, correction.gain, correction.responses)


def shot_contributions(
    evidence: Evidence,
    queries: NDArray[Any],
    targets: NDArray[Any],
    *,
    shots: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    means: NDArray[Any],
    means_weight: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """How much each shot changed the logit of one class for each query.

    With the predicted means, the weights and the responses fixed, a logit is a sum over shots plus
    a remainder: the text part, and the discriminant of the predicted mean.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the fit.

    queries, targets : ndarray of shape (n, d) and (n,)
        Unit features of the queries, and the class code to explain for each.

    shots, codes, weights : ndarray of shape (m, d), (m,) and (m,)
        Shots of the fit, all of positive weight.

    means : ndarray of shape (C, d)
        Posterior class means.

    means_weight : float
        Factor of the discriminants.

    Returns
    -------
    through_means, through_correction : ndarray of shape (n, m)
        The rows of the second sum to the part of the correction. The rows of the first sum to the
        part of the means, without the contribution of the prior mean.
    """
    present, columns = np.unique(codes, return_inverse=True)
    counts = np.bincount(columns, weights)
    placed = (shots - evidence.centre) @ evidence.axes
    asked = (queries - evidence.centre) @ evidence.axes
    through_means = np.zeros((len(queries), len(shots)))
    through_correction = np.zeros_like(through_means)
    rows = np.flatnonzero(np.isin(targets, present))
    classes, asked = targets[rows], asked[rows]
    own = codes == classes[:, np.newaxis]
    mean = (means[classes] - evidence.centre) @ evidence.axes
    share = means_weight * weights / (KAPPA + counts[columns])
    through_means[rows] = own * share * ((asked - mean / 2) @ placed.T)
    asked_columns = np.searchsorted(present, classes)
    similarity = (asked * evidence.gain[:, asked_columns].T) @ placed.T
    through_correction[rows] = similarity * evidence.responses[:, asked_columns].T
    return through_means, through_correction
