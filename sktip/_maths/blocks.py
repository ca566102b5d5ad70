"""Features of several encoders side by side: blocks of columns, and how far one agrees with another. NumPy only."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.discriminants import RIDGE
from sktip._maths.folds import distinct_rows

#: Usual spread of CLIP's text logits over the classes. It is used where there is no text.
SPREAD_OF_TEXT = 3.0
#: Texts whose logits have a smaller spread can hardly tell the classes apart, and count the less; those below the
#: second number count as none.
LEAST_SPREAD, NO_SPREAD = 2.5, 0.3


class Block(NamedTuple):
    """Shots, (m, r), and text, (C, r) or None, of one block of columns, in a basis (d, r) of what they span.

    `spread` is the standard deviation of the text logits over the classes, root mean square over the shots, and at
    least `LEAST_SPREAD`. `ridge` is the penalty of the map from texts to class means.
    """

    features: NDArray[Any]
    text: NDArray[Any] | None
    basis: NDArray[Any]
    width: int
    spread: float
    ridge: float

    @classmethod
    def of(
        cls,
        features: NDArray[Any],
        weights: NDArray[Any],
        text: NDArray[Any] | None,
        logit_scale: float,
    ) -> "Block":
        """Project unit features (m, d), with weights (m,), and text (C, d), which is None or 0 if the block has none."""
        text = None if text is None or not text.any() else text
        # Few shots and classes span few directions, and nothing is learnt about the others.
        rows = features if text is None else np.vstack([features, text])
        basis = np.eye(rows.shape[1])
        if len(rows) < rows.shape[1]:
            basis = np.linalg.qr(rows.T)[0]
        features = features @ basis
        if text is None:
            return cls(features, None, basis, len(basis), SPREAD_OF_TEXT, RIDGE)
        text = text @ basis
        own = spread_of(logit_scale * features @ text.T, weights)
        spread = max(own, LEAST_SPREAD)
        return cls(
            features, text, basis, len(basis), spread, RIDGE * (spread / max(own, 1e-9)) ** 2
        )


def spread_of(logits: NDArray[Any], weights: NDArray[Any]) -> float:
    """Return the deviation of logits (m, C) over the classes, root mean square over shots with weights (m,)."""
    variances = np.var(logits, axis=1, ddof=min(1, logits.shape[1] - 1))
    return float(np.sqrt(np.average(variances, weights=weights)))


def agreement(main: Block, other: Block) -> float:
    """How far two blocks agree on which shots are alike, from 0 to 1, which is also that of a block with itself.

    A lower bound, by two standard errors, of the correlation of the products of centred features: the
    bias-corrected distance correlation of Szekely and Rizzo (2013), Journal of Multivariate Analysis 117. A
    block of noise has 0, however many columns it has. Labels are not used, so that one shot per class is enough.
    """
    if other is main:
        return 1.0
    rows = distinct_rows(main.features)[:1024]
    n = len(rows)
    if n < 4:
        return 0.0
    first, second = (_centred_products(block.features[rows]) for block in (main, other))
    size = np.sqrt((first**2).sum() * (second**2).sum())
    bound = (first * second).sum() / max(size, 1e-30) - 2 * np.sqrt(2 / (n * (n - 3)))
    return float(np.clip(bound, 0, 1))


def _centred_products(features: NDArray[Any]) -> NDArray[Any]:
    """Products of different rows, (n, n), minus their means by row and column such that noise has mean 0."""
    n = len(features)
    products: NDArray[Any] = features @ features.T
    np.fill_diagonal(products, 0)
    rows = products.sum(axis=1) / (n - 2)
    products += products.sum() / ((n - 1) * (n - 2)) - rows - rows[:, None]
    np.fill_diagonal(products, 0)
    return products
