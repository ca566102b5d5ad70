"""Columns of a batch, with Arrow types that do not depend on the values in the batch.

Ray writes each batch on its own. A type that was inferred from the values would differ in a batch of
nulls, for example.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def images_in(batch: Any, column: str) -> list[Any]:
    """Images of a column, with None for null."""
    import pandas as pd
    from ray.data.block import BlockAccessor

    if not isinstance(batch, Mapping):
        batch = BlockAccessor.for_block(batch.select([column])).to_batch_format("numpy")
    # pandas has NaN and NA for null. An array is always an image.
    return [
        None if not isinstance(image, np.ndarray) and pd.isna(image) is True else image
        for image in batch[column]
    ]


def with_columns(batch: Any, columns: Mapping[str, Any]) -> Any:
    """Return a batch with columns added or replaced, in its own format."""
    from ray.data.block import BlockAccessor

    if isinstance(batch, Mapping):
        return {**batch, **columns}
    added = BlockAccessor.batch_to_block(columns)
    for name in added.column_names:
        place = batch.schema.get_field_index(name)
        if place < 0:
            batch = batch.append_column(name, added[name])
        else:
            batch = batch.set_column(place, name, added[name])
    return batch


def text_column(texts: list[str | None]) -> Any:
    """Texts, and nulls, as a column of text."""
    import pyarrow as pa

    # Arrow stores valid Unicode only. Other bytes of file names are escaped.
    valid = [text and text.encode(errors="backslashreplace").decode() for text in texts]
    return pa.array(valid, pa.string())


def path_column(images: list[Any]) -> Any:
    """Paths of images as a column of text, with null for an image without path."""
    return text_column(
        [os.fsdecode(image) if isinstance(image, str | os.PathLike) else None for image in images]
    )


def label_column(labels: NDArray, read: NDArray) -> Any:
    """Labels of the images that were read, as a column with nulls for the others.

    Parameters
    ----------
    labels : ndarray of shape (n_read,) or (n_read, k)
        At least one row, if only as an example of the type. With a second axis, the column holds lists.

    read : ndarray of shape (n,), bool
        Which images were read, in their order.
    """
    import pyarrow as pa

    flat = labels.ravel()
    # Arrow converts NumPy's numbers, booleans and dates; other arrays hold text.
    column = pa.array(flat if flat.dtype.kind in "biufmM" else flat.tolist())
    if labels.ndim > 1:
        offsets = np.arange(len(labels) + 1, dtype=np.int32) * labels.shape[1]
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column.take(pa.array(np.cumsum(read) - 1, mask=~read))


def number_column(numbers: NDArray, read: NDArray) -> NDArray:
    """Rows of numbers of the images that were read, and rows of NaN for the others."""
    column = np.full((len(read), *numbers.shape[1:]), np.nan, numbers.dtype)
    column[read] = numbers[: read.sum()]
    return column
