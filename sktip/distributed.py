"""Encode and classify images on a cluster, with Ray Data: ``pip install "sktip[ray]"``.

`EncodeImages` and `PredictImages` are classes for ``ray.data.Dataset.map_batches``. Each Ray worker
creates one object of the class, and loads the CLIP model once. Only the parameters and the fitted arrays
are sent to it, not the weights. Ray does the reading, scheduling, retries, back-pressure and writing.
"""

import platform
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sktip._encoder import as_encoder
from sktip._encoding.session import open_encoder
from sktip._images.inputs import describe, path_of
from sktip._split_encoder import split_encoder
from sktip._utils.estimators import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.optional import import_optional
from sktip.exceptions import ImageReadError

__all__ = ["EncodeImages", "PredictImages", "count_errors"]

#: Columns that `PredictImages` can add.
OUTPUTS = ("features", "prediction", "probabilities", "top_labels", "top_probabilities")


class EncodeImages:
    """Encode a column of images on a Ray cluster, with ``ray.data.Dataset.map_batches``.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    encoder : transformer or str
        The encoder, such as ``CLIPFeatureTransformer(...)``. Leave its `device` at None, to use CUDA where
        Ray gives the worker a GPU. Its `on_error` is ignored; `on_error` below is used instead.

    column : str, default="path"
        Column of the images: paths (strings or `pathlib.Path`), the bytes of image files, or
        uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4), or a `~sktip.Crop` of one. A null is treated as an
        unreadable image.

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
        If `encoder` is no transformer. When called, if a batch consists neither of NumPy arrays nor of an
        Arrow table.

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
        encoder: BaseEstimator,
        column: str = "path",
        *,
        on_error: Literal["record", "raise"] = "record",
        max_errors: int | None = 100,
    ):
        import_optional("ray.data", extra="sktip[ray]", caller=type(self).__name__)
        if on_error not in ("record", "raise"):
            raise ValueError(f"on_error={on_error!r} is unknown; pass 'record' or 'raise'.")
        if max_errors is not None and not (isinstance(max_errors, Integral) and max_errors > 0):
            raise ValueError(f"max_errors={max_errors!r} is not a positive integer or None.")
        self.encoder, self.column = as_encoder(encoder), column
        self.on_error, self.max_errors = on_error, max_errors
        self.outputs: tuple[str, ...] = ("features",)
        self._n_in_a_row = 0
        # Load the model now, so that a job without it does not start.
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
        images = _images_in(batch, self.column)
        features, errors = self._encode(images)
        read = np.array([error is None for error in errors], bool)
        paths = [path_of(image) for image in images]
        added = {self.column: _text_column(paths), **self._columns(features, read)}
        return _with_columns(batch, added | {"error": _text_column(errors)})

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
            errors[index] = error.reason

        features = open_encoder(self.encoder).features(images, note)
        for index, error in enumerate(errors):
            self._n_in_a_row = 0 if error is None else self._n_in_a_row + 1
            if self._n_in_a_row == self.max_errors:
                raise ImageReadError(
                    f"{self.max_errors} consecutive images could not be read on {platform.node()!r}",
                    f"the last is {describe(images[index], index)}: {error} Check that every machine has the "
                    f"file system, and that column {self.column!r} has the images. If so many images are "
                    "damaged, raise max_errors.",
                )
        return features, errors


class PredictImages(EncodeImages):
    """Classify a column of images on a Ray cluster, with ``ray.data.Dataset.map_batches``.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of sktip with an `encoder`, whether it was fitted on images or on
        features; a Pipeline that begins with a ``CLIPFeatureTransformer``; a `sktip.RejectUnknown`
        around one of them; or a search over one of these, such as GridSearchCV. Put any other classifier
        of features in a Pipeline: ``make_pipeline(clip, classifier)`` needs no new fit.

    column : str, default="path"
        Column of the images, as in `EncodeImages`.

    outputs : sequence of str, default=all
        Columns to add, from ``"features"``, ``"prediction"``, ``"probabilities"``, ``"top_labels"`` and
        ``"top_probabilities"``; ``"error"`` is always added. With a thousand classes and a billion
        images, ``"probabilities"`` take 4 TB.

    top_k : int, default=5
        Number of classes in ``top_labels`` and ``top_probabilities``, at most the number of classes.

    on_error : {"record", "raise"}, default="record"
        What to do if an image cannot be read, as in `EncodeImages`.

    max_errors : int, default=100
        The job ends after this number of consecutive unreadable images on one worker, as in
        `EncodeImages`.

    Raises
    ------
    ImportError
        If Ray is not installed.

    ImageReadError
        When called, after `max_errors` consecutive errors, or at the first error with
        ``on_error="raise"``.

    ModelLoadError
        If the weights cannot be loaded.

    NotFittedError
        If the estimator is not fitted.

    ValueError
        If the estimator has no encoder, or one with another model than in `fit` or with features of
        another width. When called, if the column is missing, or if a column to add already exists.

    See Also
    --------
    EncodeImages : Adds the features only.
    sktip.predict_images : The same on one machine, without Ray.
    count_errors : Count the images that could not be read.

    Notes
    -----
    The output columns are those of `EncodeImages` and these, with the same types in every batch. In
    parentheses is the value for an image that could not be read:

    - ``prediction``, of the type of the labels: the result of `predict` (null); a `~sktip.FewShotTagger`
      gives a list of 1 and 0, and its tags take the place of the classes below;
    - ``probabilities``, float32 of shape (C,): the result of `predict_proba`, in the order of
      `classes_` (NaN);
    - ``top_labels``, a list of `top_k` classes, the most probable first (null), and
      ``top_probabilities``, float32 of shape (top_k,): their probabilities (NaN).

    Examples
    --------
    >>> import numpy as np
    >>> import ray
    >>> from sktip import CLIPFeatureTransformer, TipAdapterClassifier
    >>> from sktip.distributed import PredictImages
    >>> images = np.zeros((6, 32, 32, 3), np.uint8)
    >>> images[3:] = 255
    >>> clf = TipAdapterClassifier(CLIPFeatureTransformer("tiny"))
    >>> clf = clf.fit(images, ["black"] * 3 + ["white"] * 3)
    >>> scored = ray.data.from_numpy(images).map_batches(
    ...     PredictImages,
    ...     fn_constructor_args=[clf, "data"],
    ...     compute=ray.data.ActorPoolStrategy(size=1),
    ...     batch_size=64,
    ... )
    >>> scored.take_batch(6)["prediction"].tolist()
    ['black', 'black', 'black', 'white', 'white', 'white']
    >>> ray.shutdown()
    """

    def __init__(
        self,
        estimator: BaseEstimator,
        column: str = "path",
        *,
        outputs: Sequence[str] = OUTPUTS,
        top_k: int = 5,
        on_error: Literal["record", "raise"] = "record",
        max_errors: int | None = 100,
    ):
        import_optional("ray.data", extra="sktip[ray]", caller=type(self).__name__)
        unknown = [name for name in outputs if name not in OUTPUTS]
        if isinstance(outputs, str) or unknown or not len(outputs):
            raise ValueError(
                f"outputs={outputs!r} is not valid; pass a list of some of {', '.join(OUTPUTS)}."
            )
        if not isinstance(top_k, Integral) or top_k < 1:
            raise ValueError(f"top_k={top_k!r} is not a positive integer.")
        check_is_fitted(estimator)
        encoder, classifier = split_encoder(estimator)
        super().__init__(encoder, column, on_error=on_error, max_errors=max_errors)
        self.estimator: Any = estimator
        self.outputs = tuple(outputs)
        self.top_k: int = int(top_k)
        self._classifier: Any = classifier
        session = open_encoder(encoder)
        check_same_model(classifier, session)
        unit = np.full((1, self.width), self.width**-0.5, np.float32)
        # Predictions for one image, so that a classifier that does not match the encoder fails now.
        self._example: dict[str, NDArray] = self._answers(unit)

    def _columns(self, features: NDArray, read: NDArray) -> dict[str, Any]:
        # If no image was read, the example gives the types of the columns.
        answers = self._answers(features[read]) if read.any() else self._example
        columns: dict[str, Any] = {"features": features}
        for name, values in answers.items():
            if name in ("prediction", "top_labels"):
                columns[name] = _label_column(values, read)
            else:
                columns[name] = np.full((len(read), values.shape[1]), np.nan, values.dtype)
                columns[name][read] = values[: read.sum()]
        return {name: columns[name] for name in self.outputs}

    def _answers(self, features: NDArray) -> dict[str, NDArray]:
        """Predictions of the classifier, by column."""
        X = with_feature_names(features, self._classifier)
        answers = {}
        if "prediction" in self.outputs:
            answers["prediction"] = np.asarray(self._classifier.predict(X))
        if not {"probabilities", "top_labels", "top_probabilities"} & set(self.outputs):
            return answers
        if not hasattr(self._classifier, "predict_proba"):
            raise ValueError(
                f"{type(self.estimator).__name__} gives no probabilities (predict_proba). Pass "
                "outputs=['features', 'prediction'], or calibrate it with CalibratedClassifierCV."
            )
        probabilities = np.asarray(self._classifier.predict_proba(X), np.float32)
        labels = getattr(self._classifier, "tags_", self._classifier.classes_)
        top: NDArray = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        return answers | {
            "probabilities": probabilities,
            "top_labels": np.asarray(labels)[top],
            "top_probabilities": np.take_along_axis(probabilities, top, axis=1),
        }


def count_errors(dataset: Any) -> dict[str, int]:
    """Count the images of a Ray job, and those that could not be read.

    Ray counts on all its workers. Pass the dataset that was written, from
    ``ray.data.read_parquet(folder)``; a dataset that was not written is computed again.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    dataset : ray.data.Dataset
        Dataset with the column ``error`` of `EncodeImages` or `PredictImages`.

    Returns
    -------
    counts : dict
        ``"images"``, the number of rows, and ``"errors"``, the number of rows with an error.

    Raises
    ------
    ImportError
        If Ray is not installed.

    See Also
    --------
    EncodeImages : Adds the column.

    Examples
    --------
    >>> import ray
    >>> from sktip.distributed import count_errors
    >>> rows = [{"path": "a.jpg", "error": None}, {"path": "b.jpg", "error": "the file is empty."}]
    >>> count_errors(ray.data.from_items(rows))
    {'images': 2, 'errors': 1}
    >>> ray.shutdown()
    """
    import_optional("ray.data", extra="sktip[ray]", caller="count_errors")
    from ray.data.aggregate import Count

    counts = dataset.aggregate(
        Count(alias_name="images"), Count(on="error", ignore_nulls=True, alias_name="errors")
    )
    return {"images": int(counts["images"] or 0), "errors": int(counts["errors"] or 0)}


def _images_in(batch: Any, column: str) -> list[Any]:
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


def _with_columns(batch: Any, columns: Mapping[str, Any]) -> Any:
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


def _text_column(texts: list[str | None]) -> Any:
    """Texts, and nulls, as a column of text."""
    import pyarrow as pa

    # Arrow stores valid Unicode only. Other bytes of file names are escaped.
    valid = [text and text.encode(errors="backslashreplace").decode() for text in texts]
    return pa.array(valid, pa.string())


def _label_column(labels: NDArray, read: NDArray) -> Any:
    """Labels of the images that were read, (n_read,) or (n_read, k), with nulls for the others.

    There is at least one row of labels, if only as an example of their type.
    """
    import pyarrow as pa

    flat = labels.ravel()
    # Arrow converts NumPy's numbers, booleans and dates; other arrays hold text.
    column = pa.array(flat if flat.dtype.kind in "biufmM" else flat.tolist())
    if labels.ndim > 1:
        offsets = np.arange(len(labels) + 1, dtype=np.int32) * labels.shape[1]
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column.take(pa.array(np.cumsum(read) - 1, mask=~read))
