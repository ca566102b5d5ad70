"""A column of images in, a column of features out."""

import platform
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sktip._encoder import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder
from sktip._images.pictures import describe
from sktip.distributed._columns import images_in, path_column, text_column, with_columns
from sktip.distributed._ray import check_ray
from sktip.exceptions import ImageReadError


class EncodeImages:
    """Encode a column of images: a class for ``ray.data.Dataset.map_batches``.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer
        What encodes. Its `device` is best left at None: CUDA where Ray gives the worker a GPU.
        Its `on_error` is not used, but the one below.

    column : str, default="path"
        Column of the images: paths (strings or `pathlib.Path`), the bytes of image files, or
        uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4). A null is an image that cannot be read.

    on_error : {"record", "raise"}, default="record"
        What to do about an image that cannot be read: write the reason into the column
        ``error`` and go on, or raise an error, which ends the job.

    max_errors : int, default=100
        If so many images that one worker is given cannot be read, one after another, the job
        ends: it is not the images, but a file system that is missing on that machine, or the
        wrong column. None is no limit.

    Raises
    ------
    ImportError
        If Ray is not installed.

    ImageReadError
        When called, after `max_errors` errors one after another, or at the first with
        ``on_error="raise"``.

    ModelLoadError
        If the weights cannot be loaded.

    ValueError
        When called, if there is no such column, or a column that is added is there already.

    TypeError
        If `encoder` is not a CLIPFeatureTransformer; when called, if a batch is neither of NumPy
        arrays nor of Arrow.

    See Also
    --------
    PredictImages : The same with the answers of a classifier.
    count_errors : How many images could not be read.

    Notes
    -----
    The columns have the same types in every batch, whatever is in it:

    - the column of images, text: the path of the image, and null if it has none. Bytes and
      pixels are not copied to the results;
    - ``features``, of shape (d,) and float32: of length 1, or NaN for an image that could not be
      read;
    - ``error``, text: why it could not be read; null for all others;
    - other columns, as they are. In Ray's default format, arrays of NumPy, integers with a
      null become floats, and a column of nulls has no type; with ``batch_format="pyarrow"`` of
      ``map_batches`` every column keeps its own.

    A worker that fails as a whole, for want of a model for example, ends the job with that
    error.

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
        encoder: CLIPFeatureTransformer,
        column: str = "path",
        *,
        on_error: Literal["record", "raise"] = "record",
        max_errors: int | None = 100,
    ):
        check_ray(type(self).__name__)
        if not isinstance(encoder, CLIPFeatureTransformer):
            raise TypeError(
                f"encoder is a {type(encoder).__name__}, not a CLIPFeatureTransformer. A classifier goes into "
                "PredictImages."
            )
        if on_error not in ("record", "raise"):
            raise ValueError(f"on_error={on_error!r}; it is 'record' or 'raise'.")
        if max_errors is not None and not (isinstance(max_errors, Integral) and max_errors > 0):
            raise ValueError(f"max_errors={max_errors!r}; it is a positive integer, or None.")
        self.encoder, self.column = encoder, column
        self.on_error, self.max_errors = on_error, max_errors
        self.outputs: tuple[str, ...] = ("features",)
        self._n_in_a_row = 0
        # Now, so that a job that lacks the model does not begin.
        open_encoder(encoder)

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
        """Columns that say something about the images, by the names in `outputs`."""
        return {"features": features}

    def _check_names(self, batch: Any) -> None:
        """Raise an error if the batch lacks the images, or has a column that would be added."""
        names = list(batch) if isinstance(batch, Mapping) else getattr(batch, "column_names", None)
        if names is None:
            raise TypeError(
                f"a batch is a {type(batch).__name__}; leave batch_format of map_batches at its default, or set "
                "it to 'pyarrow'."
            )
        if self.column not in names:
            raise ValueError(
                f"there is no column {self.column!r}, but {', '.join(map(repr, names))}. Name the column of "
                "images by column=..."
            )
        for name in (*self.outputs, "error"):
            if name in names:
                raise ValueError(
                    f"the data has a column {name!r} already, which {type(self).__name__} would add. Rename it "
                    "with rename_columns of the dataset, or drop it."
                )

    def _encode(self, images: list[Any]) -> tuple[NDArray, list[str | None]]:
        """Features of the images, and what was wrong with each, or None."""
        errors: list[str | None] = [None] * len(images)

        def note(index: int, error: ImageReadError) -> None:
            if self.on_error == "raise":
                raise error
            # The row says which image it is; its number in the batch would tell nobody anything.
            errors[index] = str(error).removeprefix(describe(images[index], index) + ": ")

        features = open_encoder(self.encoder).features(images, note)
        self._count(images, errors)
        return features, errors

    def _count(self, images: list, errors: list[str | None]) -> None:
        """End the job if too many images, one after another, could not be read."""
        for index, error in enumerate(errors):
            self._n_in_a_row = 0 if error is None else self._n_in_a_row + 1
            if self._n_in_a_row == self.max_errors:
                raise ImageReadError(
                    f"{self.max_errors} images one after another could not be read on "
                    f"{platform.node()!r}; the last is {describe(images[index], index)}: {error} Is the file "
                    f"system there on every machine, and are the images in column {self.column!r}? If they "
                    "are that bad, raise max_errors."
                )
