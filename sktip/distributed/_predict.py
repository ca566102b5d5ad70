"""A column of images in, columns of answers out."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sktip._batch.parts import parts_of
from sktip._encoding.session import open_encoder
from sktip._utils.feature_names import with_feature_names
from sktip.distributed._columns import label_column, number_column
from sktip.distributed._encode import EncodeImages
from sktip.distributed._ray import check_ray

#: What `PredictImages` can make of an image.
OUTPUTS = ("features", "prediction", "probabilities", "top_labels", "top_probabilities")


class PredictImages(EncodeImages):
    """Classify a column of images: a class for ``ray.data.Dataset.map_batches``.

    Read more in the :ref:`User Guide <guide_distributed>`.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of sktip with an `encoder`, whether it was fitted on images or on
        features; a Pipeline that begins with a ``CLIPFeatureTransformer``; a `RejectUnknown` around
        one of them; or a search over one of these, such as GridSearchCV. Put any other classifier
        of features in a Pipeline: ``make_pipeline(clip, classifier)`` needs no new fit.

    column : str, default="path"
        Column of the images: paths (strings or `pathlib.Path`), the bytes of image files, or
        uint8 arrays of shape (h, w), (h, w, 3) or (h, w, 4). A null is an image that cannot be read.

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
        If the weights cannot be loaded.

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
    The columns, with their values for an image that could not be read, have the same types in every
    batch, whatever is in it:

    - the column of images, text: the path of the image, and null if it has none. Bytes and
      pixels are not copied to the results;
    - ``features``, of shape (d,) and float32: of length 1 (NaN);
    - ``prediction``, of the type of the labels: what `predict` says (null);
    - ``probabilities``, of shape (C,) and float32: those of `predict_proba`, in the order of
      `classes_` (NaN);
    - ``top_labels``, a list of `top_k` classes, the most probable first (null), and
      ``top_probabilities``, of shape (top_k,) and float32 (NaN);
    - ``error``, text: why it could not be read; null for all others;
    - other columns, as they are. In Ray's default format, arrays of NumPy, integers with a
      null become floats, and a column of nulls has no type; with ``batch_format="pyarrow"`` of
      ``map_batches`` every column keeps its own.

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
            raise ValueError(f"outputs={outputs!r}; it is a list of some of {', '.join(OUTPUTS)}.")
        if not isinstance(top_k, Integral) or top_k < 1:
            raise ValueError(f"top_k={top_k!r}; it is a positive integer.")
        encoder, classifier = parts_of(estimator)
        super().__init__(encoder, column, on_error=on_error, max_errors=max_errors)
        self.estimator: Any = estimator
        self.outputs = tuple(outputs)
        self.top_k: int = int(top_k)
        self._classifier: Any = classifier
        # Answers to one picture, so that a classifier that does not fit the encoder is known now.
        self._example: dict[str, NDArray] = self._answers(open_encoder(encoder).probe[np.newaxis])

    def _columns(self, features: NDArray, read: NDArray) -> dict[str, Any]:
        # The example stands for answers where there are none, and lends its types.
        answers = self._answers(features[read]) if read.any() else self._example
        columns = {"features": features}
        for name, values in answers.items():
            make = label_column if name in ("prediction", "top_labels") else number_column
            columns[name] = make(values, read)
        return {name: columns[name] for name in self.outputs}

    def _answers(self, features: NDArray) -> dict[str, NDArray]:
        """Compute what the outputs need of the classifier, by column."""
        X = with_feature_names(features, self._classifier)
        answers = {}
        if "prediction" in self.outputs:
            answers["prediction"] = np.asarray(self._classifier.predict(X))
        if not {"probabilities", "top_labels", "top_probabilities"} & set(self.outputs):
            return answers
        if not hasattr(self._classifier, "predict_proba"):
            raise ValueError(
                f"{type(self.estimator).__name__} gives no probabilities (predict_proba). Ask for "
                "outputs=['features', 'prediction'], or calibrate it with CalibratedClassifierCV."
            )
        probabilities = np.asarray(self._classifier.predict_proba(X), np.float32)
        top: NDArray = np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top_k]
        return answers | {
            "probabilities": probabilities,
            "top_labels": np.asarray(self._classifier.classes_)[top],
            "top_probabilities": np.take_along_axis(probabilities, top, axis=1),
        }
