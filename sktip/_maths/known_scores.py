"""Scores of how well an image fits the known classes, from its logits and cosines with text."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Scores = dict[str, NDArray[np.float64]]

#: Weights of the parts of the combined score, each divided by its standard deviation over the held-out
#: shots. They were chosen on halves of the classes of two data sets, without their queries.
COMBINED = {"max_logit": 1.0, "zero_shot": 1.0, "certainty": 0.5}


def known_scores(
    logits: NDArray[np.float64], cosines: NDArray[np.floating] | None = None
) -> Scores:
    """Compute all scores of each row. Images of known classes have larger scores.

    Parameters
    ----------
    logits : ndarray of shape (n, C)
        Logits of the classes.

    cosines : ndarray of shape (n, n_texts) or None
        Cosines with text features.
    """
    energy = logsumexp(logits, axis=1)
    logs = logits - energy[:, np.newaxis]
    scores = {
        "max_logit": logits.max(axis=1),
        "energy": energy,
        "max_proba": np.exp(logs.max(axis=1)),
        # The negative entropy of the probabilities.
        "certainty": (np.exp(logs) * logs).sum(axis=1),
    }
    if cosines is not None:
        scores["zero_shot"] = cosines.max(axis=1).astype(np.float64)
    return scores


def score_by(
    criterion: str, scores: Mapping[str, NDArray[np.float64]], scales: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return one of the scores, or their combination with each part divided by its scale."""
    if criterion != "combined":
        return scores[criterion]
    parts = [weight * scores[name] / scales[name] for name, weight in COMBINED.items()]
    return np.sum(parts, axis=0)
