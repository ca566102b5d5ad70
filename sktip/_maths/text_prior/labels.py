"""Find wrong labels: those that held-out logits contradict more often than errors explain."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.text_prior.softmax import log_loss, most_probable_factor

#: Prior belief that labels are right, as a number of right labels.
RIGHT_LABELS = 50.0
#: A smaller share of wrong labels does not justify a second fit.
LEAST_WRONG = 0.01
#: Largest share of wrong labels that is considered.
MOST_WRONG = 0.5
#: Standard deviation of the logarithm of the temperature, which was chosen with the wrong labels.
DEVIATION_OF_TEMPERATURE = 0.5
#: Rounds of expectation-maximisation, and bisections in each.
ROUNDS, BISECTIONS = 15, 30


def label_beliefs(
    logits: NDArray[Any], codes: NDArray[Any], weights: NDArray[Any], asked: NDArray[Any]
) -> NDArray[Any] | None:
    """Probability that each label is right, (m,); None if nearly all are.

    A label is right, or with probability e any class at random. The most probable e and the
    temperature of the logits are found together, by expectation-maximisation.

    Parameters
    ----------
    logits : ndarray of shape (m, C)
        Logits from models without the shot.

    codes, weights : ndarray of shape (m,)
        Labels and weights.

    asked : ndarray of shape (m,), bool
        The shots from which temperature and e are estimated.
    """
    sample, own, heavy = logits[asked], codes[asked], weights[asked]
    n_classes, rows = logits.shape[1], np.arange(len(own))
    if n_classes < 2 or not len(sample):
        return None
    temperature, wrong, right = 1.0, 0.0, np.ones(len(own))
    for _ in range(ROUNDS):
        temperature = most_probable_factor(
            sample, own, heavy * right, DEVIATION_OF_TEMPERATURE, temperature
        )
        _, p = log_loss(temperature * sample, own, heavy)
        told = p[rows, own].astype(np.float64)
        before, wrong = wrong, _share_of_wrong(told, heavy, n_classes)
        right = right_labels(told, wrong, n_classes)
        if abs(wrong - before) < LEAST_WRONG / 10:
            break
    if wrong < LEAST_WRONG:
        return None
    _, p = log_loss(temperature * logits, codes, weights)
    return right_labels(p[np.arange(len(codes)), codes].astype(np.float64), wrong, n_classes)


def right_labels(told: NDArray[Any], wrong: float, n_classes: int) -> NDArray[Any]:
    """Probability that a label is right, (m,), if a share of the labels is random.

    Parameters
    ----------
    told : ndarray of shape (m,)
        Held-out probability of the label.

    wrong : float
        Share of labels that are drawn at random from all classes.

    n_classes : int
        Number of classes.
    """
    kept = (1 - wrong) * told
    result: NDArray[Any] = kept / (kept + wrong / n_classes) if wrong else np.ones(len(told))
    return result


def _share_of_wrong(told: NDArray[Any], weights: NDArray[Any], n_classes: int) -> float:
    """Most probable share of wrong labels, by bisection, since the cost is convex in it."""
    low, high = 0.0, MOST_WRONG
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        mixed = (1 - share) * told + share / n_classes
        slope = weights @ ((told - 1 / n_classes) / mixed) + RIGHT_LABELS / (1 - share)
        low, high = (low, share) if slope > 0 else (share, high)
    return low
