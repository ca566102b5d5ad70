"""The file of a detector: MegaDetector's batch output, or COCO."""

import json
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sktip._images.crop import Crop
from sktip._utils.bunch import ShortBunch
from sktip._utils.labels import with_nearest
from sktip._utils.messages import warn
from sktip._utils.paths import check_input, write_file
from sktip.datasets._table import absolute

#: Largest number of classes that are written for a box.
MOST_CLASSES = 5


def read_detections(
    path: str | os.PathLike,
    *,
    folder: str | os.PathLike | None = None,
    min_confidence: float = 0.2,
    categories: Iterable[str] | None = None,
    margin: float = 0.0,
    square: bool = False,
) -> ShortBunch:
    """Read the boxes that a detector found in photos, as crops to label, to fit on or to predict.

    No photo is opened. A box that is damaged, outside of its photo or without an area is left out, with one warning
    for all.

    Read more in the :ref:`User Guide <guide_crops>`.

    Parameters
    ----------
    path : str or path
        JSON file: the batch output of MegaDetector, or annotations or results in COCO's format.

    folder : str or path, default=None
        Folder that the paths of the photos in the file start at. If None, the folder of the file.

    min_confidence : float, default=0.2
        Boxes with a smaller confidence are ignored. Boxes of COCO without a score have a confidence of 1.

    categories : iterable of str, default=None
        Names of the detector's categories to read, such as ``["animal"]``. If None, all.

    margin : float, default=0.0
        As in `~sktip.Crop`.

    square : bool, default=False
        As in `~sktip.Crop`.

    Returns
    -------
    detections : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n,)
            A `~sktip.Crop` for each box, in the order of the file.
        target : ndarray of shape (n,), str
            The detector's category of each box.
        confidence : ndarray of shape (n,)
            The detector's confidence.
        groups : ndarray of shape (n,), int
            Photo of each box, an index of `photos`: boxes of one photo are to be held out together.
        photos : ndarray of shape (n_photos,)
            Absolute paths of all photos in the file.
        empty : ndarray of shape (n_photos,), bool
            Whether a photo has no box of any category with that confidence. False for failures, and for photos of
            which a box was left out.
        failures : dict of int to str
            Index of each photo that the detector could not read, and why.
        DESCR : str
            What was found.

    Raises
    ------
    FileNotFoundError
        If the file does not exist, or if none of its photos does.

    ValueError
        If the file is not JSON, or in neither format, or if a category is not in it.

    Warns
    -----
    UserWarning
        If boxes or photos are left out, with the first of them.

    See Also
    --------
    write_detections : Write classes into such a file.
    sktip.Crop : A part of a photo.

    References
    ----------
    .. [1] S. Beery, D. Morris and S. Yang, "Efficient pipeline for camera trap image review",
       arXiv:1907.06772.

    Examples
    --------
    >>> import json
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sktip.datasets import read_detections
    >>> box = {"category": "1", "conf": 0.9, "bbox": [0.25, 0.25, 0.5, 0.5]}
    >>> found = {
    ...     "images": [{"file": "a.png", "detections": [box]}, {"file": "b.png", "detections": []}],
    ...     "detection_categories": {"1": "animal"},
    ... }
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (8, 8)).save(Path(folder, "a.png"))
    ...     _ = Path(folder, "md.json").write_text(json.dumps(found))
    ...     detections = read_detections(Path(folder, "md.json"))
    >>> detections.data[0].box
    (0.25, 0.25, 0.75, 0.75)
    >>> detections.target.tolist(), detections.empty.tolist()
    (['animal'], [False, True])
    """
    file = os.path.abspath(os.path.expanduser(path))
    content = _read(file)
    names = {str(key): str(name) for key, name in content["detection_categories"].items()}
    wanted = set(names.values()) if categories is None else set(categories)
    unknown = sorted(wanted - set(names.values()))
    if unknown:
        raise ValueError(f"{file} has no category {with_nearest(unknown, set(names.values()))}.")
    root = os.path.dirname(file) if folder is None else os.path.abspath(os.path.expanduser(folder))
    photos: list[str] = []
    empty: list[bool] = []
    failures: dict[int, str] = {}
    problems: list[str] = []
    # Of each box: its crop, category, confidence, photo, and place in the file.
    boxes: list[tuple[Crop, str, float, int, int, int]] = []
    for row, image in enumerate(content["images"]):
        if not isinstance(image, dict) or not isinstance(image.get("file"), str):
            problems.append(f"entry {row} has no photo")
            continue
        number, found = len(photos), image.get("detections")
        photos.append(absolute(root, image["file"]))
        empty.append(True)
        if image.get("failure") or not isinstance(found, list):
            failures[number] = str(image.get("failure") or "the file lists no detections for it")
            empty[-1] = False
            continue
        for place, one in enumerate(found):
            try:
                box = _box_of(one, names)
            except ValueError as error:
                empty[-1] = False
                problems.append(f"{image['file']!r}, {error}")
                continue
            if one["conf"] >= min_confidence:
                empty[-1] = False
                if names[str(one["category"])] in wanted:
                    crop = Crop(photos[-1], box, margin, square)
                    boxes.append(
                        (crop, names[str(one["category"])], one["conf"], number, row, place)
                    )
    if photos and not any(map(os.path.exists, photos)):
        raise FileNotFoundError(
            f"none of the {len(photos):,} photos in {file} exists, such as {photos[0]}; pass folder=..., the "
            "folder that their paths start at."
        )
    if problems:
        warn(
            f"{file}: {len(problems):,} boxes or photos are left out: {'; '.join(problems[:3])}"
            f"{'; ...' if len(problems) > 3 else ''}."
        )
    crops, target, confidence, *places = zip(*boxes, strict=True) if boxes else [()] * 6
    groups, *rows = (np.array(column, np.intp) for column in places)
    return ShortBunch(
        data=np.fromiter(crops, object, len(crops)),
        target=np.array(target, str),
        confidence=np.array(confidence, float),
        groups=groups,
        photos=np.array(photos, object),
        empty=np.array(empty, bool),
        failures=failures,
        places=np.stack(rows, axis=1),
        content=content,
        DESCR=f"{len(crops):,} boxes in {len(set(groups)):,} of {len(photos):,} photos, listed in {file!r}; "
        f"{sum(empty):,} photos are empty, and {len(failures):,} could not be read.",
    )


def write_detections(
    detections: ShortBunch,
    labels: ArrayLike,
    probabilities: ArrayLike,
    output: str | os.PathLike,
    *,
    overwrite: bool = False,
) -> None:
    """Write the classes of boxes into a file in MegaDetector's format, for Timelapse and other tools.

    All else is as in the file that was read, but for classes of another classifier, which are replaced.

    Read more in the :ref:`User Guide <guide_crops>`.

    Parameters
    ----------
    detections : Bunch
        What `read_detections` returned.

    labels : array-like of shape (n,) or (C,)
        Class of each box, such as the column `prediction` of `sktip.predict_images`; None for a box without one. Or
        the classes of a matrix of probabilities.

    probabilities : array-like of shape (n,) or (n, C)
        Probability of each label. Or the probability of every class for each box, from `predict_proba`, of which the
        five largest are written.

    output : str or path
        JSON file to write.

    overwrite : bool, default=False
        Whether to replace `output` if it exists.

    Raises
    ------
    FileExistsError
        If `output` exists and `overwrite` is False.

    ValueError
        If labels, probabilities and boxes do not match.

    See Also
    --------
    read_detections : Read the boxes.
    sktip.predict_images : Predict the crops.

    Examples
    --------
    >>> from sktip.datasets import read_detections, write_detections
    >>> detections = read_detections("md.json", categories=["animal"])  # doctest: +SKIP
    >>> probabilities = clf.predict_proba(detections.data)  # doctest: +SKIP
    >>> write_detections(
    ...     detections, clf.classes_, probabilities, "species.json"
    ... )  # doctest: +SKIP
    """
    n = len(detections.places)
    # Not an array of text, in which None would be a word.
    labels = np.asarray(labels, object)
    shares = np.asarray(probabilities, np.float64)
    if (
        labels.ndim != 1
        or shares.shape not in ((n,), (n, len(labels)))
        or (shares.ndim == 1 and len(labels) != n)
    ):
        raise ValueError(
            f"labels has the shape {labels.shape} and probabilities {shares.shape}; for {n} boxes pass one label and "
            "probability each, or all classes and a matrix of their probabilities."
        )
    classes = sorted({str(label) for label in labels if label is not None})
    numbers = {name: str(number) for number, name in enumerate(classes)}
    images = []
    for image in detections.content["images"]:
        found = image.get("detections") if isinstance(image, dict) else None
        if isinstance(found, list):
            found = list(map(_unclassified, found))
        images.append({**image, "detections": found} if found else image)
    for box, (row, place) in enumerate(detections.places.tolist()):
        shown = labels if shares.ndim == 2 else labels[[box]]
        values = np.atleast_1d(shares[box])
        best = [
            [numbers[str(shown[i])], round(float(values[i]), 5)]
            for i in np.argsort(-values, kind="stable")[:MOST_CLASSES]
            if shown[i] is not None and np.isfinite(values[i])
        ]
        if best:
            images[row]["detections"][place]["classifications"] = best
    info = detections.content.get("info")
    content = {
        **detections.content,
        "images": images,
        "classification_categories": {number: name for name, number in numbers.items()},
        "info": {**(info if isinstance(info, dict) else {}), "classifier": "sktip"},
    }
    write_file(output, [json.dumps(content, indent=1).encode()], overwrite=overwrite)


def _unclassified(one: Any) -> Any:
    """Copy a detection without classes."""
    if not isinstance(one, dict):
        return one
    return {key: value for key, value in one.items() if key != "classifications"}


def _read(file: str) -> dict[str, Any]:
    """Content of the file, in MegaDetector's format."""
    check_input(file, "the JSON file of a detector")
    try:
        with open(file, encoding="utf-8-sig") as text:
            content = json.load(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged, or not a JSON file: {error}") from error
    if isinstance(content, dict) and isinstance(content.get("images"), list):
        if isinstance(content.get("detection_categories"), dict):
            return content
        if all(isinstance(content.get(name), list) for name in ("annotations", "categories")):
            try:
                return _from_coco(content)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{file} is damaged: an entry of COCO's images or categories lacks what it needs ({error!r})."
                ) from error
    raise ValueError(
        f"{file} is neither MegaDetector's batch output, with images and detection_categories, nor COCO's format, with "
        "images, annotations and categories."
    )


def _from_coco(content: dict[str, Any]) -> dict[str, Any]:
    """Convert COCO's format to MegaDetector's."""
    images = {one["id"]: {"file": one["file_name"], "detections": []} for one in content["images"]}
    sizes = {one["id"]: (one.get("width"), one.get("height")) for one in content["images"]}
    for one in content["annotations"]:
        key = one.get("image_id")
        if key not in images:
            continue
        box = one.get("bbox")
        try:
            width, height = sizes[key]
            left, top, right, bottom = box
            box = [left / width, top / height, right / width, bottom / height]
        except (TypeError, ValueError, ZeroDivisionError):
            pass  # It is left out later, and named.
        category, score = str(one.get("category_id")), one.get("score", 1.0)
        images[key]["detections"].append({"category": category, "conf": score, "bbox": box})
    names = {str(one["id"]): str(one["name"]) for one in content["categories"]}
    return {"images": list(images.values()), "detection_categories": names, "info": {}}


def _box_of(one: Any, names: dict[str, str]) -> tuple[float, float, float, float]:
    """Return the box of a detection, left, top, right and bottom; raise ValueError if it is damaged."""
    if not isinstance(one, dict):
        raise ValueError("a box is not an object")
    given = one.get("bbox")
    problem = None
    try:
        left, top, width, height, confidence = map(float, (*(given or ()), one.get("conf")))
    except (TypeError, ValueError):
        problem = "box or conf is no number"
    else:
        right, bottom = left + width, top + height
        if not all(map(math.isfinite, (right, bottom, confidence))) or width <= 0 or height <= 0:
            problem = "has no area"
        elif left >= 1 or top >= 1 or right <= 0 or bottom <= 0 or max(right, bottom) > 2:
            problem = "is outside of the photo"
        elif str(one.get("category")) not in names:
            problem = f"is of an unknown category {one.get('category')!r}"
    if problem:
        raise ValueError(f"box {given} {problem}")
    return left, top, right, bottom
