"""predict_images: a folder of photos in, a table of predictions and errors out."""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.pictures import as_image_list, describe
from sktip._split_encoder import split_encoder
from sktip._utils.feature_names import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.output_files import check_output, write_file
from sktip._utils.warn import warn
from sktip.datasets._walk import LeftOut, find_images, printable
from sktip.exceptions import ImageReadError

#: Number of images whose features are held at a time.
BLOCK = 1024
COLUMNS = ("path", "prediction", "probability", "error")


def predict_images(
    estimator: Any,
    images: Any,
    output: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    verbose: int = 1,
) -> Bunch:
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
        holds paths, bytes, PIL images or uint8 arrays.

    output : str or path, default=None
        CSV file for the predictions, in UTF-8. It is written only after all images are predicted. A
        link is followed; a device or a pipe, such as ``/dev/stdout``, is written to.

        Control characters in paths and labels are escaped, so that each image has one line. All else is
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
        prediction : ndarray of objects
            What `predict` returns for the image: its class, or `unknown_label_` of `RejectUnknown`.
            None for an image that could not be read.
        probability : ndarray of float64
            Largest value of `predict_proba`. NaN for an image that could not be read, and for all
            images if the estimator has no `predict_proba`.
        error : ndarray of objects
            Why an image could not be read. None for all others.

    Raises
    ------
    FileExistsError
        If `output` exists and `overwrite` is False. Nothing has been encoded then.

    FileNotFoundError
        If the folder of images or the folder of `output` does not exist.

    NotADirectoryError
        If `images` is the path of a file.

    ModelLoadError
        If the weights cannot be loaded.

    NotFittedError
        If the estimator is not fitted.

    ValueError
        If the estimator has no encoder, or if there are no images.

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
    session = replace(open_encoder(encoder), verbose=verbose)
    check_same_model(classifier, session, encoder)
    listed = _listed(images)
    answers: dict[str, list] = {name: [] for name in COLUMNS}
    for block in _blocks(session, classifier, listed):
        for name, values in block.items():
            answers[name] += values
    if output is not None:
        write_file(output, _lines(answers), overwrite=overwrite)
    _warn_of_errors(answers, listed)
    types = {"probability": np.float64}
    return Bunch(
        **{name: np.array(values, types.get(name, object)) for name, values in answers.items()}
    )


def _listed(images: Any) -> Sequence[Any]:
    """List of the images; a folder is listed, with one warning about files that are skipped."""
    if not isinstance(images, str | os.PathLike):
        return as_image_list(images)
    folder, left_out = os.path.abspath(os.path.expanduser(images)), LeftOut()
    if not os.path.exists(folder):
        raise FileNotFoundError(f"{printable(folder)}: no such folder.")
    if not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{printable(folder)} is not a folder; for a single image, pass a list: [path]."
        )
    paths = find_images(folder, left_out)
    reasons = str(left_out)
    if not paths:
        raise ValueError(
            f"{printable(folder)} contains no images{f' ({reasons})' if reasons else ''}."
        )
    if reasons:
        warn(f"Skipped in {printable(folder)}: {reasons}.")
    return paths


def _blocks(
    session: EncoderSession, classifier: Any, images: Sequence[Any]
) -> Iterator[dict[str, list]]:
    """Yield the columns of the images, block by block."""
    errors: dict[int, str] = {}

    def note(index: int, error: ImageReadError) -> None:
        errors[index] = str(error).removeprefix(describe(images[index], index) + ": ")

    features = np.empty((0, 0), np.float32)
    start = 0
    for index, row in enumerate(session.rows(images, note)):
        if index == 0:
            features = np.empty((min(BLOCK, len(images)), len(row)), np.float32)
        features[index - start] = row
        if index not in errors and not np.isfinite(row).all():
            errors[index] = "its features are infinite; set precision='fp32' on the encoder"
        if index + 1 - start == len(features) or index + 1 == len(images):
            end = index + 1
            own = [errors.pop(i, None) for i in range(start, end)]
            yield _columns(classifier, features[: end - start], images[start:end], own)
            start = end


def _columns(
    classifier: Any, features: NDArray, images: Sequence[Any], errors: list[str | None]
) -> dict[str, list]:
    read = np.array([error is None for error in errors])
    labels = np.full(len(read), None, object)
    probabilities = np.full(len(read), np.nan)
    if read.any():
        X = with_feature_names(features[read], classifier)
        # `tolist` converts to Python's types: 'cat' instead of np.str_('cat').
        labels[read] = np.asarray(classifier.predict(X)).tolist()
        if hasattr(classifier, "predict_proba"):
            probabilities[read] = np.asarray(classifier.predict_proba(X)).max(axis=1)
    paths = [os.fsdecode(im) if isinstance(im, str | os.PathLike) else None for im in images]
    values = (paths, labels.tolist(), probabilities.tolist(), errors)
    return dict(zip(COLUMNS, values, strict=True))


def _lines(answers: dict[str, list]) -> Iterator[bytes]:
    """Lines of the CSV file. None and NaN become empty cells."""
    # `writerow` returns what `write` returns.
    writer: Any = csv.writer(SimpleNamespace(write=str.encode), lineterminator="\n")
    yield writer.writerow(COLUMNS)
    for path, label, probability, error in zip(*answers.values(), strict=True):
        cells = (path, label, None if np.isnan(probability) else f"{probability:.6g}", error)
        yield writer.writerow("" if cell is None else printable(str(cell)) for cell in cells)


def _warn_of_errors(answers: dict[str, list], images: Sequence[Any]) -> None:
    failed = [index for index, error in enumerate(answers["error"]) if error is not None]
    if failed:
        shown = "; ".join(f"{describe(images[i], i)}: {answers['error'][i]}" for i in failed[:3])
        warn(
            f"{len(failed):,} of {len(images):,} images could not be read and have no prediction; see the column "
            f"'error'. {shown}{'; ...' if len(failed) > 3 else ''}"
        )
