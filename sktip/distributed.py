"""Encoding and scoring of more images than one machine should read, on Ray Data.

`EncodeImages` and `PredictImages` are classes for ``ray.data.Dataset.map_batches``. Each worker of
Ray makes one object of the class, and with it loads the CLIP once; what is sent to it are the
parameters and the fitted arrays, never the weights. Reading, scheduling, retries, back-pressure
and writing are Ray's. ``pip install "sktip[ray]"``.
"""

import copy
import platform
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier
from sktip._encoder import CLIPFeatureTransformer
from sktip._images.pictures import describe
from sktip.exceptions import ImageReadError

__all__ = ["EncodeImages", "PredictImages", "count_errors"]

#: What `PredictImages` can make of an image.
OUTPUTS = ("features", "prediction", "probabilities", "top_labels", "top_probabilities")


class EncodeImages:
    """Encode a column of images: a class for ``ray.data.Dataset.map_batches``.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer
        What encodes. Its `device` is best left at None: CUDA where Ray gives the worker a GPU.
        Its `on_error` is not used, but the one below.

    column : str, default="path"
        Column of the images: paths, the bytes of image files, or uint8 arrays of shape (h, w),
        (h, w, 3) or (h, w, 4).

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
        If the weights cannot be had.

    ValueError
        When called, if there is no such column, or a column that is added is there already.

    See Also
    --------
    PredictImages : The same with the answers of a classifier.
    count_errors : How many images could not be read.

    Notes
    -----
    Two columns are added. ``features``, of shape (d,) and float32, is of length 1, or NaN for
    an image that could not be read. ``error``, text, says why it could not, and is null
    otherwise. Other columns are kept, that of the images only if it holds paths: pixels are not
    copied to the results.

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
        on_error: str = "record",
        max_errors: int | None = 100,
    ):
        _check_ray(type(self).__name__)
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
        self._n_in_a_row = 0
        # Now, so that a job that lacks the model does not begin.
        encoder._clip()

    def __call__(self, batch: Mapping[str, NDArray]) -> dict[str, Any]:
        """Encode one batch.

        Parameters
        ----------
        batch : mapping from str to ndarray of length n
            Columns, in the default format of ``map_batches``.

        Returns
        -------
        batch : dict from str to array of length n
            Columns, as in the notes of the class.
        """
        kept, features, errors = self._encode(batch)
        return self._joined(kept, {"features": features, "error": _text(errors)})

    def _encode(self, batch: Mapping[str, NDArray]) -> tuple[dict, NDArray, list[str | None]]:
        """Columns to keep, the features of the images, and what was wrong with each, or None."""
        if not isinstance(batch, Mapping):
            raise TypeError(
                f"a batch is a {type(batch).__name__}; leave batch_format of map_batches at its default."
            )
        if self.column not in batch:
            raise ValueError(
                f"there is no column {self.column!r}, but {', '.join(map(repr, batch))}. Name the column of "
                "images by column=..."
            )
        images = list(batch[self.column])
        errors: list[str | None] = [None] * len(images)

        def note(index: int, error: ImageReadError) -> None:
            if self.on_error == "raise":
                raise error
            # The row says which image it is; its number in the batch would tell nobody anything.
            errors[index] = str(error).removeprefix(describe(images[index], index) + ": ")

        features = self.encoder._features(images, note)
        self._count(images, errors)
        kept = dict(batch)
        if not all(isinstance(image, str | None) for image in images):
            del kept[self.column]
        return kept, features, errors

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

    def _joined(self, kept: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
        for name in added:
            if name in kept:
                raise ValueError(
                    f"the data has a column {name!r} already, which {type(self).__name__} would add. Rename it "
                    "with rename_columns of the dataset, or drop it."
                )
        return kept | added


class PredictImages(EncodeImages):
    """Classify a column of images: a class for ``ray.data.Dataset.map_batches``.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of sktip with an `encoder`, whether it was fitted on images or on
        features; a Pipeline that begins with a ``CLIPFeatureTransformer``; or a search over one of
        them, such as GridSearchCV. To any other classifier on features belongs such a Pipeline:
        ``make_pipeline(clip, classifier)`` of what is fitted needs no new fit.

    column : str, default="path"
        Column of the images: paths, the bytes of image files, or uint8 arrays of shape (h, w),
        (h, w, 3) or (h, w, 4).

    outputs : sequence of str, default=all
        Columns to add, some of ``"features"``, ``"prediction"``, ``"probabilities"``,
        ``"top_labels"`` and ``"top_probabilities"``; ``"error"`` is always there. Of a thousand
        classes and a billion images, ``"probabilities"`` are 4 TB.

    top_k : int, default=5
        Classes in ``top_labels`` and ``top_probabilities``, at most as many as there are.

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
        If the weights cannot be had.

    NotFittedError
        If the estimator is not fitted.

    ValueError
        If the estimator has no encoder, if that is another model than in `fit`, or makes
        features of another width. When called, if there is no such column, or a column that is
        added is there already.

    See Also
    --------
    EncodeImages : Features alone.
    count_errors : How many images could not be read.

    Notes
    -----
    The columns, with their values for an image that could not be read:

    - ``features``, of shape (d,) and float32: of length 1 (NaN);
    - ``prediction``: what `predict` says (null);
    - ``probabilities``, of shape (C,) and float32: those of `predict_proba`, in the order of
      `classes_` (NaN);
    - ``top_labels``, a list of `top_k` classes, the most probable first (null), and
      ``top_probabilities``, of shape (top_k,) and float32 (NaN);
    - ``error``, text: why it could not be read; null for all others.

    Other columns are kept, that of the images only if it holds paths.

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
        estimator: Any,
        column: str = "path",
        *,
        outputs: Sequence[str] = OUTPUTS,
        top_k: int = 5,
        on_error: str = "record",
        max_errors: int | None = 100,
    ):
        _check_ray(type(self).__name__)
        unknown = [name for name in outputs if name not in OUTPUTS]
        if isinstance(outputs, str) or unknown or not len(outputs):
            raise ValueError(f"outputs={outputs!r}; it is a list of some of {', '.join(OUTPUTS)}.")
        if not isinstance(top_k, Integral) or top_k < 1:
            raise ValueError(f"top_k={top_k!r}; it is a positive integer.")
        encoder, classifier = _parts(estimator)
        super().__init__(encoder, column, on_error=on_error, max_errors=max_errors)
        self.estimator: Any = estimator
        self.outputs: tuple[str, ...] = tuple(outputs)
        self.top_k: int = int(top_k)
        self._classifier: Any = classifier
        # Answers to one picture, so that a classifier that does not fit the encoder is known now.
        self._example: dict[str, NDArray] = self._answers(encoder._clip().probe[np.newaxis])

    def __call__(self, batch: Mapping[str, NDArray]) -> dict[str, Any]:
        """Encode and classify one batch.

        Parameters
        ----------
        batch : mapping from str to ndarray of length n
            Columns, in the default format of ``map_batches``.

        Returns
        -------
        batch : dict from str to array of length n
            Columns, as in the notes of the class.
        """
        kept, features, errors = self._encode(batch)
        read = np.array([error is None for error in errors], bool)
        answers = self._answers(features[read]) if read.any() else {}
        columns: dict[str, Any] = {"features": features}
        for name, example in self._example.items():
            columns[name] = _scattered(answers.get(name), read, example)
        added = {name: columns[name] for name in self.outputs}
        return self._joined(kept, {**added, "error": _text(errors)})

    def _answers(self, features: NDArray) -> dict[str, NDArray]:
        """Compute what the outputs need of the classifier, by column."""
        answers = {}
        if "prediction" in self.outputs:
            answers["prediction"] = self._classifier.predict(features)
        if not {"probabilities", "top_labels", "top_probabilities"} & set(self.outputs):
            return answers
        if not hasattr(self._classifier, "predict_proba"):
            raise ValueError(
                f"{type(self.estimator).__name__} gives no probabilities (predict_proba). Ask for "
                "outputs=['features', 'prediction'], or calibrate it with CalibratedClassifierCV."
            )
        probabilities = np.asarray(self._classifier.predict_proba(features), np.float32)
        top: NDArray = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        return answers | {
            "probabilities": probabilities,
            "top_labels": np.asarray(self._classifier.classes_)[top],
            "top_probabilities": np.take_along_axis(probabilities, top, axis=1),
        }


def count_errors(dataset: Any) -> dict[str, int]:
    """Count the images of a job, and those that could not be read.

    Ray counts, on all its workers. Count what was written, ``ray.data.read_parquet(folder)``:
    a dataset that was not, is computed for it.

    Parameters
    ----------
    dataset : ray.data.Dataset
        With the column ``error`` of `EncodeImages` or `PredictImages`.

    Returns
    -------
    counts : dict
        ``"images"``, all rows, and ``"errors"``, those with an error.

    Raises
    ------
    ImportError
        If Ray is not installed.

    See Also
    --------
    EncodeImages : What writes the column.

    Examples
    --------
    >>> import ray
    >>> from sktip.distributed import count_errors
    >>> rows = [{"path": "a.jpg", "error": None}, {"path": "b.jpg", "error": "the file is empty."}]
    >>> count_errors(ray.data.from_items(rows))
    {'images': 2, 'errors': 1}
    >>> ray.shutdown()
    """
    _check_ray("count_errors")
    from ray.data.aggregate import Count

    counts = dataset.aggregate(
        Count(alias_name="images"), Count(on="error", ignore_nulls=True, alias_name="errors")
    )
    return {"images": int(counts["images"] or 0), "errors": int(counts["errors"] or 0)}


def _check_ray(caller: str) -> None:
    """Raise an error that says how to get Ray, before anything is computed."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{caller} requires Ray Data. Run: pip install "sktip[ray]"') from error


def _parts(estimator: Any) -> tuple[CLIPFeatureTransformer, Any]:
    """Take a fitted classifier of images apart: its encoder, and what classifies features."""
    check_is_fitted(estimator)
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline) and isinstance(estimator[0], CLIPFeatureTransformer):
        return estimator[0], estimator[1:]
    if not isinstance(estimator, BaseCLIPClassifier) or estimator.encoder is None:
        raise ValueError(
            f"{type(estimator).__name__} has no encoder for the images. Put one in front of it, without a new "
            "fit: make_pipeline(CLIPFeatureTransformer(...), estimator)."
        )
    estimator._check_encoder()
    return estimator.encoder, copy.copy(estimator).set_params(input="features")


def _text(errors: list[str | None]) -> Any:
    # Of a declared type, since a column of nothing but nulls would have none.
    import pyarrow as pa

    return pa.array(errors, pa.string())


def _scattered(answers: NDArray | None, read: NDArray, example: NDArray) -> Any:
    """Answers as a column with rows for the images that were not read."""
    import pyarrow as pa

    if example.dtype.kind == "f" and example.ndim == 2:
        column = np.full((len(read), example.shape[1]), np.nan, example.dtype)
        if answers is not None:
            column[read] = answers
        return column
    values = iter([] if answers is None else answers.tolist())
    return pa.array(
        [next(values) if known else None for known in read], pa.array(example.tolist()).type
    )
