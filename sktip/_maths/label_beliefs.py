"""How far the labels of shots can be believed. NumPy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.log_loss import log_loss, most_probable_weights

#: Prior belief that labels are right, as a number of right labels.
RIGHT_LABELS = 50.0
#: Shares of wrong labels that are tried.
SHARES = np.linspace(0, 0.5, 51)


def label_beliefs(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any]
) -> NDArray[Any] | None:
    """Probability that each label is right, (m,), from held-out logits (m, p); None if nearly all are.

    A label is right, or with probability e any class at random. The most probable e and the
    temperature of the held-out logits are found together, by expectation-maximisation.
    """
    n_classes = logits.shape[1]
    right, wrong = np.ones(len(codes)), 0.0
    for _ in range(10):
        factor = logits.dtype.type(most_probable_weights([logits], codes, weights * right)[0][0])
        p = log_loss(factor * logits, codes, weights)[1][np.arange(len(codes)), codes].astype(float)
        likelihoods = [
            weights @ np.log((1 - share) * p + share / n_classes) + RIGHT_LABELS * np.log(1 - share)
            for share in SHARES
        ]
        before, wrong = wrong, float(SHARES[np.argmax(likelihoods)])
        right = right_labels(p, wrong, n_classes)
        if wrong == before:
            break
    return right if wrong else None


def right_labels(held_out: NDArray[Any], wrong: float, n_classes: int) -> NDArray[Any]:
    """Probability that a label is right, (m,), from its held-out probability, (m,).

    The share `wrong` of the labels is drawn at random from all classes.
    """
    kept = (1 - wrong) * held_out
    return kept / (kept + wrong / n_classes) if wrong else np.ones(len(held_out))
