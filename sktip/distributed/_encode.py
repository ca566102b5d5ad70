"""EncodeImages: a column of images in, a column of features out."""

import platform
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sktip._encoder import as_encoder
from sktip._encoding.session import open_encoder
from sktip._images.pictures import describe
from sktip.distributed._columns import images_in, path_column, text_column, with_columns
from sktip.distributed._ray import check_ray
from sktip.exceptions import ImageReadError


class EncodeImages:
    """Encode a column of images on a Ray cluster, with ``ray.data.Dataset.map_batches``.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    encoder : transformer or str
        The encoder, such as ``CLIPFeatureTransformer(...)``. Leave its `device` at None, to use CUDA where Ray gives the worker a GPU. Its
        `on_error` is ignored; `on_error` below is used instead.

    column : str, default="path"
        Column of the images: paths (strings or `pathlib.Path`), the bytes of image files, or
        uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4). A null is treated as an unreadable image.

    on_error : {"record", "raise"}, default="record"
        What to do if an image cannot be read: write the reason to the column ``error`` and go on, or
        raise an error, which ends the job.

    max_errors : int, default=100
        The job ends after this number of consecutive unreadable images on one worker. The cause is then
        rather a missing file system or a wrong column. If None, there is no limit.

    Raises
    ------
    ImportError
        If Ray is not installed.

    ImageReadError
        When called, after `max_errors` consecutive errors, or at the first error with
        ``on_error="raise"``.

    ModelLoadError
        If the weights cannot be loaded.

    ValueError
        When called, if the column is missing, or if a column to add already exists.

    TypeError
        If `encoder` is no transformer. When called, if a batch consists neither of NumPy
        arrays nor of an Arrow table.

    See Also
    --------
    PredictImages : Adds the predictions of a classifier.
    count_errors : Count the images that could not be read.

    Notes
    -----
    The output columns have the same types in every batch, whatever it contains:

    - the column of images, text: the path of each image, or null if it has no path. Bytes and
      pixels are not copied to the results;
    - ``features``, float32 of shape (d,): unit-norm features, or NaN if the image could not be read;
    - ``error``, text: why the image could not be read; null for all others;
    - other columns, unchanged. In Ray's default format, NumPy arrays, integers with a null become
      floats, and a column of nulls has no type. With ``batch_format="pyarrow"`` in ``map_batches``,
      every column keeps its type.

    An error that concerns the whole worker, such as a missing model, ends the job.

    Examples
    --------
    >>> import numpy as np
    >>> import ray
    >>> from sktip import CLIPFeatureTransformer
    >>> from sktip.distributed import EncodeImages
    >>> images = ray.data.from_numpy(np.zeros((6, 32, 32, 3), np.uint8))
    >>> encoded = images.map_batches(
    ...     EncodeImages,
    ...     fn_constructor_args=[CLIPFeatureTransformer("tiny"), "data"],
    ...     compute=ray.data.ActorPoolStrategy(size=1),
    ...     batch_size=64,
    ... )
    >>> encoded.take_batch(6)["features"].shape
    (6, 128)
    >>> ray.shutdown()
    """

    def __init__(
        self,
        encoder: Any,
        column: str = "path",
        *,
        on_error: Literal["record", "raise"] = "record",
        max_errors: int | None = 100,
    ):
        check_ray(type(self).__name__)
        if on_error not in ("record", "raise"):
            raise ValueError(f"on_error={on_error!r} is unknown; pass 'record' or 'raise'.")
        if max_errors is not None and not (isinstance(max_errors, Integral) and max_errors > 0):
            raise ValueError(f"max_errors={max_errors!r} is not a positive integer or None.")
        self.encoder, self.column = as_encoder(encoder), column
        self.on_error, self.max_errors = on_error, max_errors
        self.outputs: tuple[str, ...] = ("features",)
        self._n_in_a_row = 0
        # Load the model now, so that a job without it does not start. The width is that of the column.
        self.width: int = open_encoder(self.encoder).width

    def __call__(self, batch: Any) -> Any:
        """Add the columns to one batch.

        Parameters
        ----------
        batch : mapping from str to ndarray of length n, or pyarrow Table of n rows
            Columns, in the default format of ``map_batches`` or with ``batch_format="pyarrow"``.

        Returns
        -------
        batch : dict from str to array of length n, or pyarrow Table of n rows
            Columns, as in the notes of the class.
        """
        self._check_names(batch)
        images = images_in(batch, self.column)
        features, errors = self._encode(images)
        read = np.array([error is None for error in errors], bool)
        columns = {self.column: path_column(images), **self._columns(features, read)}
        return with_columns(batch, columns | {"error": text_column(errors)})

    def _columns(self, features: NDArray, read: NDArray) -> dict[str, Any]:
        """Columns to add, as listed in `outputs`."""
        return {"features": features}

    def _check_names(self, batch: Any) -> None:
        """Raise an error if the batch lacks the images, or already has a column to add."""
        names = list(batch) if isinstance(batch, Mapping) else getattr(batch, "column_names", None)
        if names is None:
            raise TypeError(
                f"a batch is a {type(batch).__name__}; leave batch_format of map_batches at its default, or set "
                "it to 'pyarrow'."
            )
        if self.column not in names:
            raise ValueError(
                f"there is no column {self.column!r}; the columns are {', '.join(map(repr, names))}. Pass the "
                "column of images as column=..."
            )
        for name in (*self.outputs, "error"):
            if name in names:
                raise ValueError(
                    f"the data already has a column {name!r}, which {type(self).__name__} adds. Rename it with "
                    "rename_columns of the dataset, or drop it."
                )

    def _encode(self, images: list[Any]) -> tuple[NDArray, list[str | None]]:
        """Features of the images, and the error of each image or None."""
        errors: list[str | None] = [None] * len(images)

        def note(index: int, error: ImageReadError) -> None:
            if self.on_error == "raise":
                raise error
            # The row names the image; its index in the batch would not help.
            errors[index] = str(error).removeprefix(describe(images[index], index) + ": ")

        features = open_encoder(self.encoder).features(images, note)
        self._count(images, errors)
        return features, errors

    def _count(self, images: list, errors: list[str | None]) -> None:
        """End the job if too many consecutive images could not be read."""
        for index, error in enumerate(errors):
            self._n_in_a_row = 0 if error is None else self._n_in_a_row + 1
            if self._n_in_a_row == self.max_errors:
                raise ImageReadError(
                    f"{self.max_errors} consecutive images could not be read on {platform.node()!r}; the last is "
                    f"{describe(images[index], index)}: {error} Check that every machine has the file system, "
                    f"and that column {self.column!r} has the images. If so many images are damaged, raise "
                    "max_errors."
                )
