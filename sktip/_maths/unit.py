"""Normalise rows to length 1, in batches where there are many."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Size of one batch of rows.
BATCH_BYTES = 1 << 23


def unit_norm(features: NDArray[Any]) -> NDArray[Any]:
    """Divide rows by their norm. Rows of zeros stay zero."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        norms = np.linalg.norm(features, axis=-1, keepdims=True)
    # The squares of very short and very long rows underflow or overflow. These rows are divided by their
    # largest entry first.
    limits = np.finfo(norms.dtype)
    odd = ~((norms > np.sqrt(limits.tiny / limits.eps)) & (norms < np.inf))[..., 0]
    if odd.any():
        features = features.copy()
        largest = np.abs(features[odd]).max(axis=-1, keepdims=True)
        features[odd] /= np.where(largest == 0, 1, largest)
        norms[odd] = np.linalg.norm(features[odd], axis=-1, keepdims=True)
    return features / np.where(norms == 0, 1, norms)


def class_means(features: NDArray[Any], codes: NDArray[Any], n_classes: int) -> NDArray[Any]:
    """Unit-norm means of the features of each class, (C, d); zeros for a class without any."""
    sums = np.zeros((n_classes, features.shape[1]), features.dtype)
    np.add.at(sums, codes, features)
    return unit_norm(sums)


def columns_of(widths: Sequence[int]) -> list[slice]:
    """Columns of blocks that stand side by side."""
    ends = np.cumsum(widths).tolist()
    return [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]


def across_blocks(text: NDArray[Any], widths: Sequence[int], number: int) -> NDArray[Any]:
    """Text features of one block with the columns of all, (C, d): zeros in those of the others."""
    across = np.zeros((len(text), sum(widths)), text.dtype)
    across[:, columns_of(widths)[number]] = text
    return across


def row_batches(n_rows: int, width: int, dtype: np.dtype) -> list[slice]:
    """Slices of the rows of each batch, for matrices of that type with `width` columns."""
    size = max(16, min(1024, BATCH_BYTES // (width * dtype.itemsize)))
    if size > 64:
        # On some CPUs, products with 262 rows take a third longer than with 256.
        size -= size % 64
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def type_of(X: NDArray[Any]) -> np.dtype:
    """Type of computation: that of X if it is float32, else float64."""
    return X.dtype if X.dtype == np.float32 else np.dtype(np.float64)


def unit_rows(
    X: NDArray[Any], rows: slice = slice(None), *, called: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Normalise some rows of X, in one pass; rows of zeros stay zero.

    Raise ValueError if a row is not finite. The message gives the index of the first such row in X, or
    the one in `called`, (n,), the indices of the rows in the user's data.
    """
    # In one memory layout, which sums and so rounding depend on.
    part = np.asarray(X[rows], type_of(X), order="C")
    # Rows that cannot be divided by their length in every float type are found by their squared lengths, in
    # one pass and without a temporary array.
    squares = np.einsum("ij,ij->i", part, part)
    if len(squares) == 0 or (squares.min() > 1e-20 and squares.max() < 1e20):
        return part / np.sqrt(squares)[:, np.newaxis]
    if not np.isfinite(part).all():
        raise ValueError(_what_is_not_finite(X, called))
    usual = (squares > 1e-20) & (squares < 1e20)
    # The results of usual rows must not depend on the other rows.
    unit = part / np.sqrt(np.where(usual, squares, 1))[:, np.newaxis]
    unit[~usual] = unit_norm(part[~usual])
    return unit


def _what_is_not_finite(X: NDArray[Any], called: NDArray[Any] | None) -> str:
    finite = np.concatenate(
        [np.isfinite(X[rows]).all(axis=1) for rows in row_batches(len(X), X.shape[1], X.dtype)]
    )
    row = int(finite.argmin())
    kind = "NaN" if np.isnan(X[row]).any() else "infinity"
    shown = row if called is None else called[row]
    return (
        f"X contains NaN or infinity: row {shown} has {kind} ({(~finite).sum()} rows in all). Remove it; "
        "the encoder returns a row of NaN for an image that could not be read."
    )
