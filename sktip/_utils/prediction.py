"""Predict queries block by block, in memory that does not grow with their number."""

# Without this, annotations of nested functions would be evaluated in every call.
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.unit import unit_norm
from sktip._utils.fitting import answers

#: Rows whose squared length is between these limits can be divided by their length in any float type.
SHORT, LONG = 1e-20, 1e20
#: Size of one block of queries or of their logits, and its smallest number of rows.
BLOCK_BYTES, MIN_ROWS = 1 << 23, 128


class BlockwisePredictionMixin:
    """The prediction methods of a classifier, from the logits of one block of queries at a time.

    The classifier defines `_query_rows(X)`, which converts X to a matrix, and `_logit_function(dtype)`,
    which prepares everything that all blocks share.
    """

    classes_: NDArray[Any]

    @answers
    def decision_function(self, X: Any) -> NDArray[Any]:
        """Compute the logits of the classes.

        Parameters
        ----------
        X : sequence of images, or array-like of shape (n, d)
            Images, or feature rows, as in `fit`. A row of zeros has a cosine of 0 with everything.

        Returns
        -------
        logits : ndarray of shape (n, C), or (n,) for two classes
            Columns follow `classes_`. For two classes, the logit of the second minus that of the first.

        Raises
        ------
        ValueError
            If logits overflow the type of X.
        """
        return self._ask(X, _two_as_one)

    @answers
    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the class of each row.

        The memory beyond X and the result does not grow with the number of rows.

        Parameters
        ----------
        X : sequence of images, or array-like of shape (n, d)
            Images, or feature rows, as in `fit`. A row of zeros has a cosine of 0 with everything.

        Returns
        -------
        labels : ndarray of shape (n,)
            Classes with the largest logit.

        Raises
        ------
        ValueError
            If logits overflow the type of X.
        """
        winners = self._ask(X, _winners)
        labels: NDArray[Any] = self.classes_[winners]
        return labels

    @answers
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Predict the probability of each class.

        Parameters
        ----------
        X : sequence of images, or array-like of shape (n, d)
            Images, or feature rows, as in `fit`. A row of zeros has a cosine of 0 with everything.

        Returns
        -------
        probabilities : ndarray of shape (n, C), float64
            Softmax of the logits. Columns follow `classes_`.

        Raises
        ------
        ValueError
            If logits overflow the type of X.
        """
        return self._ask(X, _softmax)

    @answers
    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : sequence of images, or array-like of shape (n, d)
            Images, or feature rows, as in `fit`. A row of zeros has a cosine of 0 with everything.

        Returns
        -------
        log_probabilities : ndarray of shape (n, C), float64
            Columns follow `classes_`. Values are finite even where a probability is rounded to 0.

        Raises
        ------
        ValueError
            If logits overflow the type of X.
        """
        return self._ask(X, _log_softmax)

    def _query_rows(self, X: Any) -> NDArray[Any]:
        """Convert queries to a matrix, (n, d), which is neither checked nor normalised."""
        raise NotImplementedError

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Return the function from unit rows of that type, (b, d), to their logits, (b, C)."""
        raise NotImplementedError

    def _ask(self, X: Any, answer: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        """Apply `answer` to the logits of each block, and join the results."""
        X = self._query_rows(X)
        dtype = type_of(X)
        logits_of = self._logit_function(dtype)

        def of_block(rows: slice) -> NDArray[Any]:
            logits = logits_of(unit_rows(X, rows))
            if not np.isfinite(logits).all():
                raise ValueError(
                    f"logits are not finite, since numbers overflow {dtype}. Lower sample_weight, and the parameters that "
                    "are larger than usual."
                )
            return answer(logits)

        first, *others = row_blocks(len(X), max(X.shape[1], len(self.classes_)), dtype)
        part = of_block(first)
        if not others:
            return part
        whole = np.empty((len(X), *part.shape[1:]), part.dtype)
        whole[first] = part
        del part  # Otherwise two blocks would be in memory at a time.
        for rows in others:
            whole[rows] = of_block(rows)
        return whole


class LinearPredictionMixin:
    """Logits of a linear classifier with `coef_` and `intercept_`."""

    coef_: NDArray[Any]
    intercept_: NDArray[Any]

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray[Any]], NDArray[Any]]:
        weights = self.coef_.astype(dtype, copy=False).T
        intercept = self.intercept_.astype(dtype, copy=False)

        def logits_of(features: NDArray[Any]) -> NDArray[Any]:
            logits: NDArray[Any] = features @ weights
            logits += intercept
            return logits

        return logits_of

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")


def row_blocks(n_rows: int, width: int, dtype: np.dtype) -> list[slice]:
    """Slices of the rows of each block, for matrices of that type with `width` columns."""
    size = max(MIN_ROWS, BLOCK_BYTES // (width * dtype.itemsize))
    # A multiple of 64, as the blocks of the cache are, so that those divide a block evenly.
    size -= size % 64
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def type_of(X: NDArray[Any]) -> np.dtype:
    """Type of computation: that of X if it is float32, else float64."""
    return X.dtype if X.dtype == np.float32 else np.dtype(np.float64)


def unit_rows(
    X: NDArray[Any], rows: slice = slice(None), *, called: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Normalise some rows of X; rows of zeros stay zero.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows of numbers.

    rows : slice
        Rows to normalise.

    called : ndarray of shape (n,) or None
        Index of each row in the user's data, for messages. If None, the index in X.

    Raises
    ------
    ValueError
        If a row is not finite. The message gives the first such row of X.
    """
    part = X[rows].astype(type_of(X), copy=False)
    # Unusual rows are found by their squared lengths, in one pass and without a temporary array.
    squares = np.einsum("ij,ij->i", part, part)
    if len(squares) == 0 or (squares.min() > SHORT and squares.max() < LONG):
        unit: NDArray[Any] = part / np.sqrt(squares)[:, np.newaxis]
        return unit
    if not np.isfinite(part).all():
        raise ValueError(_what_is_not_finite(X, called))
    usual = (squares > SHORT) & (squares < LONG)
    # The results of usual rows must not depend on the other rows.
    unit = part / np.sqrt(np.where(usual, squares, 1))[:, np.newaxis]
    unit[~usual] = unit_norm(part[~usual])
    return unit


def _what_is_not_finite(X: NDArray[Any], called: NDArray[Any] | None) -> str:
    finite = np.concatenate(
        [
            np.isfinite(X[rows].astype(type_of(X), copy=False)).all(axis=1)
            for rows in row_blocks(len(X), X.shape[1], X.dtype)
        ]
    )
    row = int(finite.argmin())
    kind = "NaN" if np.isnan(X[row]).any() else "infinity"
    shown = row if called is None else called[row]
    return (
        f"X contains NaN or infinity: row {shown} has {kind} ({(~finite).sum()} rows in all). Remove it; "
        "the encoder returns a row of NaN for an image that could not be read."
    )


def _two_as_one(logits: NDArray[Any]) -> NDArray[Any]:
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _winners(logits: NDArray[Any]) -> NDArray[Any]:
    winners: NDArray[np.intp] = logits.argmax(axis=1)
    return winners


def _below_the_largest(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits minus the largest logit of their row, in double precision."""
    # In double precision, small probabilities stay above 0, and rows sum to 1 as scorers require.
    below: NDArray[np.float64]
    below = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    return below


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    masses = _below_the_largest(logits)
    np.exp(masses, out=masses)
    masses /= masses.sum(axis=1, keepdims=True)
    return masses


def _log_softmax(logits: NDArray[Any]) -> NDArray[Any]:
    logs = _below_the_largest(logits)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
