"""predict_images: a folder of photos in, a table of predictions and errors out."""

import csv
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sktip._encoding.session import open_encoder
from sktip._images.crop import Crop
from sktip._images.folders import images_of
from sktip._images.inputs import describe, path_of
from sktip._split_encoder import split_encoder
from sktip._utils.bunch import ShortBunch
from sktip._utils.estimators import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.messages import escaped, warn
from sktip._utils.paths import check_output, write_file
from sktip.exceptions import ImageReadError

#: Number of images whose features are held at a time.
BATCH = 1024


def predict_images(
    estimator: BaseEstimator,
    images: Any,
    output: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    verbose: int = 1,
) -> ShortBunch:
    """Classify a folder of images, and write the predictions to a CSV file.

    An image that cannot be read gets a row with an error, and the others are still predicted; `predict`
    of a classifier raises an error instead. A bounded number of features is held at a time, so memory
    grows with the number of predictions only.

    Read more in the :ref:`User Guide <guide_many_images>`.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of sktip with an `encoder`, whether it was fitted on images or on
        features; a Pipeline that begins with a ``CLIPFeatureTransformer``; a `RejectUnknown` around
        one of them; or a search over one of these, such as GridSearchCV.

    images : str or path of a folder, or sequence of images of length n
        A folder means all images in it and in the folders below it, sorted by path. A sequence
        holds paths, bytes, PIL images, uint8 arrays or a `Crop` of one of them.

    output : str or path, default=None
        CSV file for the predictions, in UTF-8. It is written only after all images are predicted. A
        link is followed; a device or a pipe, such as ``/dev/stdout``, is written to.

        Control characters in paths and labels are escaped as in Python, so that each image has one line
        (and so are backslashes, in a text with one that looks like an escape). All else is
        written as it is: a label or relative path that begins with ``=``, ``+``, ``-`` or ``@`` may be
        taken for a formula by a spreadsheet, so import the columns as text.

    overwrite : bool, default=False
        Whether to replace `output` if it exists.

    verbose : int, default=1
        If positive, show a progress bar.

    Returns
    -------
    answers : Bunch
        Columns of length n; ``pandas.DataFrame(answers)`` makes a table of them:

        path : ndarray of objects
            Path of each image. None for an image that was not given as a path.
        box : ndarray of objects
            Box of each `Crop`, None for a whole image. Only if there are crops.
        prediction : ndarray of objects
            What `predict` returns for the image: its class, or `unknown_label_` of `RejectUnknown`.
            None for an image that could not be read.
        probability : ndarray of float64
            Largest value of `predict_proba`, or the probability of the predicted node of `BackOff`. NaN
            for an image that could not be read, and for all images if the estimator has no
            `predict_proba`. A `FewShotTagger` has, instead of the columns prediction and probability, a
            column of 1 and 0 for each tag.
        error : ndarray of objects
            Why an image could not be read. None for all others.

    Raises
    ------
    FileExistsError
        If `output` exists and `overwrite` is False, or if it is one of the images. Nothing has been
        encoded then.

    FileNotFoundError
        If the folder of images or the folder of `output` does not exist.

    NotADirectoryError
        If `images` is the path of a file.

    ModelLoadError
        If the weights cannot be loaded.

    NotFittedError
        If the estimator is not fitted.

    ValueError
        If the estimator has no encoder, if there are no images, if it predicts several values per
        image and is no `FewShotTagger`, or if a tag is called "path", "box" or "error".

    Warns
    -----
    UserWarning
        Once, at the end, if images could not be read: their number, and the first three of them. Also
        if files in the folder were skipped.

    See Also
    --------
    sktip.distributed.PredictImages : The same on a Ray cluster.
    sktip.datasets.load_image_folder : List labelled images to fit on.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier, predict_images
    >>> images = np.zeros((6, 32, 32, 3), np.uint8)
    >>> images[3:] = 255
    >>> clf = FewShotClassifier(CLIPFeatureTransformer("tiny"))
    >>> clf = clf.fit(images, ["black"] * 3 + ["white"] * 3)
    >>> answers = predict_images(clf, images, verbose=0)
    >>> answers.prediction.tolist()
    ['black', 'black', 'black', 'white', 'white', 'white']
    """
    if output is not None:
        check_output(output, overwrite=overwrite)
    check_is_fitted(estimator)
    encoder, classifier = split_encoder(estimator)
    tags = getattr(classifier, "tags_", None)
    names = [] if tags is None else [str(tag) for tag in tags.tolist()]
    if reserved := {"path", "box", "error"} & set(names):
        raise ValueError(
            f"the tag {min(reserved)!r} has the name of a column of the table. Give it another name in tags_, an "
            "attribute of the tagger: this needs no new fit."
        )
    session = replace(open_encoder(encoder), verbose=verbose)
    check_same_model(classifier, session)
    images = images_of(images)
    if output is not None:
        check_output(output, overwrite=overwrite, inputs=map(path_of, images))
    n, errors = len(images), np.full(len(images), None, object)

    def note(index: int, error: ImageReadError) -> None:
        errors[index] = error.reason

    # A tagger has a column of predictions for each tag, others have one and its probability.
    predictions = np.full(n if tags is None else (n, len(tags)), None, object)
    probabilities = np.full(n, np.nan)
    # Closed even after an error, so that no thread outlives the call.
    with closing(session.rows(images, note)) as rows:
        for start in range(0, n, BATCH):
            features = np.stack(list(islice(rows, BATCH)))
            finite = np.isfinite(features).all(axis=1)
            for index in start + np.flatnonzero(~finite):
                errors[index] = (
                    errors[index] or "infinite features; set the encoder's precision='fp32'"
                )
            read = start + np.flatnonzero(finite)
            if len(read):
                X = with_feature_names(features[finite], classifier)
                labels = _labels(classifier.predict(X), estimator, tags)
                predictions[read] = labels
                if hasattr(classifier, "predict_node_proba"):
                    place_of = {node: i for i, node in enumerate(classifier.nodes_.tolist())}
                    nodes = [place_of[label] for label in labels]
                    probabilities[read] = classifier.predict_node_proba(X)[
                        np.arange(len(nodes)), nodes
                    ]
                elif tags is None and hasattr(classifier, "predict_proba"):
                    probabilities[read] = np.asarray(classifier.predict_proba(X)).max(axis=1)
    paths = np.array([path_of(image) for image in images], object)
    boxes = [image.box if isinstance(image, Crop) else None for image in images]
    columns = {"prediction": predictions, "probability": probabilities}
    if tags is not None:
        columns = dict(zip(names, predictions.T, strict=True))
    answers = ShortBunch(path=paths)
    if any(box is not None for box in boxes):
        answers["box"] = np.fromiter(boxes, object, n)
    # Not as keywords, which would refuse the tag "self".
    answers.update({**columns, "error": errors})
    if output is not None:
        write_file(output, csv_lines(answers), overwrite=overwrite)
    failed = [index for index, error in enumerate(errors) if error is not None]
    if failed:
        shown = "; ".join(f"{describe(images[i], i)}: {errors[i]}" for i in failed[:3])
        warn(
            f"{len(failed):,} of {n:,} images could not be read and have no prediction; see the column "
            f"'error'. {shown}{'; ...' if len(failed) > 3 else ''}"
        )
    return answers


def _labels(predictions: Any, estimator: BaseEstimator, tags: Any) -> list[Any]:
    labels = np.asarray(predictions)
    if labels.ndim > 1 and tags is None:
        raise ValueError(
            f"{type(estimator).__name__} predicts {labels.shape[1]} values per image, and predict_images writes one. "
            "Encode the images once with sktip.utils.split_encoder, and predict the features."
        )
    # Python's types: 'cat' instead of np.str_('cat').
    return labels.tolist()


def csv_lines(answers: ShortBunch) -> Iterator[bytes]:
    """Lines of the CSV file. None and NaN become empty cells."""
    # `writerow` returns what `write` returns.
    writer: Any = csv.writer(SimpleNamespace(write=str.encode), lineterminator="\n")
    yield writer.writerow(map(escaped, answers))
    for row in zip(*answers.values(), strict=True):
        yield writer.writerow([escaped(_cell(value)) for value in row])


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    if isinstance(value, tuple):  # A box.
        return " ".join(f"{number:.6g}" for number in value)
    return "" if value is None else str(value)
