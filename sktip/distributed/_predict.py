"""PredictImages: a column of images in, columns of predictions out."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sktip._encoding.session import open_encoder
from sktip._split_encoder import split_encoder
from sktip._utils.feature_names import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip.distributed._columns import label_column, number_column
from sktip.distributed._encode import EncodeImages
from sktip.distributed._ray import check_ray

#: Columns that `PredictImages` can add.
OUTPUTS = ("features", "prediction", "probabilities", "top_labels", "top_probabilities")


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
        Column of the images: paths (strings or `pathlib.Path`), the bytes of image files, or
        uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4). A null is treated as an unreadable image.

    outputs : sequence of str, default=all
        Columns to add, from ``"features"``, ``"prediction"``, ``"probabilities"``, ``"top_labels"`` and
        ``"top_probabilities"``; ``"error"`` is always added. With a thousand classes and a billion
        images, ``"probabilities"`` take 4 TB.

    top_k : int, default=5
        Number of classes in ``top_labels`` and ``top_probabilities``, at most the number of classes.

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
    The output columns have the same types in every batch, whatever it contains. In parentheses is the
    value for an image that could not be read:

    - the column of images, text: the path of each image, or null if it has no path. Bytes and
      pixels are not copied to the results;
    - ``features``, float32 of shape (d,): unit-norm features (NaN);
    - ``prediction``, of the type of the labels: the result of `predict` (null);
    - ``probabilities``, float32 of shape (C,): the result of `predict_proba`, in the order of
      `classes_` (NaN);
    - ``top_labels``, a list of `top_k` classes, the most probable first (null), and
      ``top_probabilities``, float32 of shape (top_k,): their probabilities (NaN);
    - ``error``, text: why the image could not be read; null for all others;
    - other columns, unchanged. In Ray's default format, NumPy arrays, integers with a null become
      floats, and a column of nulls has no type. With ``batch_format="pyarrow"`` in ``map_batches``,
      every column keeps its type.

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
        on_error: Literal["record", "raise"] = "record",
        max_errors: int | None = 100,
    ):
        check_ray(type(self).__name__)
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
        check_same_model(classifier, session, encoder)
        # Predictions for one image, so that a classifier that does not match the encoder fails now.
        unit = np.full((1, self.width), self.width**-0.5, np.float32)
        self._example: dict[str, NDArray] = self._answers(unit)

    def _columns(self, features: NDArray, read: NDArray) -> dict[str, Any]:
        # If no image was read, the example gives the types of the columns.
        answers = self._answers(features[read]) if read.any() else self._example
        columns = {"features": features}
        for name, values in answers.items():
            make = label_column if name in ("prediction", "top_labels") else number_column
            columns[name] = make(values, read)
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
        top: NDArray = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        return answers | {
            "probabilities": probabilities,
            "top_labels": np.asarray(self._classifier.classes_)[top],
            "top_probabilities": np.take_along_axis(probabilities, top, axis=1),
        }
