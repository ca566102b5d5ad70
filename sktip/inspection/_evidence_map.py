"""evidence_map: which part of a photo speaks for a class."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageFilter
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.crop import Crop
from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import describe
from sktip._images.rgb import open_rgb
from sktip._maths.unit import unit_norm
from sktip._split_encoder import split_encoder
from sktip._utils.bunch import ShortBunch
from sktip._utils.estimators import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.labels import plain, with_nearest
from sktip._utils.messages import warn
from sktip.inspection._plot import ORANGE, PICTURE_SIZE

#: Sides of the windows, as fractions of the photo's short side, and their numbers along it.
WINDOWS = ((0.5, 3), (0.34, 4))
#: Light of the parts of a photo that do not speak for the class, beside that of the others.
DARKEST = 0.35
#: Number of values of a map along the photo's long side.
LONG_SIDE = 64
#: Smallest difference of the log-odds between the best and the mean of the windows, for which a map is more than noise.
LEAST = 1.0


def evidence_map(
    estimator: BaseEstimator, image: Any, target: Any = None, *, method: str = "windows"
) -> ShortBunch:
    """Show which part of a photo speaks for a class, for any encoder and classifier.

    The photo is cut into overlapping windows, and each is classified on its own.

    Read more in the :ref:`User Guide <guide_evidence_map>`.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of sktip with an `encoder`, a Pipeline that begins with one, or a search over one of these.

    image : image
        The photo, in any form.

    target : class, default=None
        Class of the estimator. If None, the class that is predicted for the whole photo.

    method : {"windows", "patches"}, default="windows"
        With "patches", a vision transformer of open_clip runs once per square of the photo instead of once per
        window, and its patches are classified: each patch is compared with the others by the values of the last block
        alone [1]_.

    Returns
    -------
    evidence : Bunch
        Dictionary-like object with the attributes:

        logits : ndarray of shape (h, w)
            Logit of the class above the mean of all classes, around each point of the photo; 64 values along the
            long side. 0 is no evidence.
        target : class
            The class.
        box : tuple of 4 floats
            Left, top, right and bottom of the window with the most evidence, as fractions of width and height.
        picture : PIL image
            The photo, upright and small, darker where nothing speaks for the class. What has at least half of the
            largest evidence has an outline.
        is_noise : bool
            Whether no part stands out, as in a photo that is plain or the same everywhere.

    Raises
    ------
    ImageReadError
        If the photo cannot be read.

    ValueError
        If the estimator has no encoder or no `predict_proba`, if `target` is no class of it, or if the model has no
        patches.

    Warns
    -----
    UserWarning
        If no part of the photo stands out.

    See Also
    --------
    EvidenceDisplay : Draws the map beside the shots; ``where=True``.
    sktip.Crop : Classify a part alone.

    References
    ----------
    .. [1] Y. Li et al., "A closer look at the explainability of contrastive language-image pre-training",
       Pattern Recognition 2025, arXiv:2304.05653.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.inspection import evidence_map
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clip = CLIPFeatureTransformer("tiny")
    >>> clf = FewShotClassifier(clip, templates="the digit {}").fit(images[:100], labels[:100])
    >>> photo = np.full((180, 240), 255, np.uint8)
    >>> photo[90:154, 20:84] = images[105]
    >>> evidence = evidence_map(clf, photo)
    >>> evidence.logits.shape
    (48, 64)
    """
    if method not in ("windows", "patches"):
        raise ValueError(f"method={method!r} is unknown; pass 'windows' or 'patches'.")
    check_is_fitted(estimator)
    encoder, classifier = split_encoder(estimator)
    if not hasattr(classifier, "predict_proba"):
        raise ValueError(f"{type(classifier).__name__} has no predict_proba, which the map shows.")
    session = open_encoder(encoder)
    # Windows are not kept in the file of features.
    blocks = tuple(replace(block, memory=None) for block in session.blocks)
    session = replace(session, blocks=blocks, verbose=0)
    check_same_model(classifier, session)
    picture = open_rgb(image, describe(image, 0), getattr(encoder, "max_pixels", MAX_PIXELS))
    classes = list(getattr(classifier, "tags_" if hasattr(classifier, "tags_") else "classes_"))
    if target is None:
        whole = _logits(classifier, session.features([picture]))
        target = classes[int(whole[0].argmax())]
    elif target not in classes:
        raise ValueError(
            f"target={plain(target)!r} is no class: {with_nearest([target], classes)}."
        )
    if method == "windows":
        boxes = _windows(*picture.size)
        features = session.features([Crop(picture, box) for box in boxes])
    else:
        boxes, features = _patches(picture, session)
    scores = _logits(classifier, features)[:, classes.index(target)]
    logits = _spread(boxes, scores, picture.size)
    is_noise = bool(scores.max() - scores.mean() < LEAST)
    if is_noise:
        warn(
            f"the map of {plain(target)!r} is noise: no part of the photo speaks for it more than the others."
        )
    return ShortBunch(
        logits=logits,
        target=target,
        box=tuple(float(at) for at in boxes[scores.argmax()]),
        picture=_overlay(picture, None if is_noise else logits),
        is_noise=is_noise,
    )


def _logits(classifier: BaseEstimator, features: NDArray[Any]) -> NDArray[np.float64]:
    """Logits of the classes above their mean, (n, C); of tags, each by itself."""
    X = with_feature_names(features, classifier)
    if hasattr(classifier, "tags_"):
        proba = np.clip(classifier.predict_proba(X), 1e-12, 1 - 1e-12)
        return np.log(proba) - np.log1p(-proba)
    if hasattr(classifier, "predict_log_proba"):
        logs = np.asarray(classifier.predict_log_proba(X), float)
    else:
        logs = np.log(np.maximum(classifier.predict_proba(X), 1e-300))
    # Probabilities of 0, of classifiers of others, are minus infinity.
    logs = np.maximum(logs, -700)
    return logs - logs.mean(axis=1, keepdims=True)


def _windows(width: int, height: int) -> NDArray[np.float64]:
    """Boxes of the windows, (n, 4): left, top, right and bottom, as fractions of the photo."""
    short, boxes = min(width, height), []
    for fraction, number in WINDOWS:
        side = fraction * short
        corners = _corners(width, height, side, (short - side) / (number - 1))
        boxes += [(left, top, left + side, top + side) for left, top in corners]
    return np.array(boxes) / [width, height, width, height]


def _patches(
    picture: Image.Image, session: EncoderSession
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Boxes of the patches of a model, (n, 4), and their features, (n, d), in one pass per square of the photo."""
    width, height = picture.size
    short = min(width, height)
    boxes, features = [], []
    for left, top in _corners(width, height, short, short):
        square = picture.crop((round(left), round(top), round(left) + short, round(top) + short))
        patches = session.patches(square)
        rows, columns = patches.shape[:2]
        for row, column in np.ndindex(rows, columns):
            # Twice as large as the patch, so that points are between the middles of several.
            x, y = left + (column - 0.5) * short / columns, top + (row - 0.5) * short / rows
            boxes.append((x, y, x + 2 * short / columns, y + 2 * short / rows))
            features.append(patches[row, column])
    return np.array(boxes) / [width, height, width, height], unit_norm(np.stack(features))


def _corners(width: int, height: int, side: float, step: float) -> list[tuple[float, float]]:
    """Left and top of squares that cover a photo, at most `step` apart."""

    def starts(length: int) -> list[float]:
        n = 1 + math.ceil((length - side) / step - 1e-6)
        return np.linspace(0, length - side, n).tolist()

    return [(left, top) for top in starts(height) for left in starts(width)]


def _spread(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Average the scores of the boxes around each point of a photo, (h, w).

    A box counts most in its middle, and less and less towards its edges.
    """
    w, h = (max(1, round(LONG_SIDE * side / max(size))) for side in size)
    weights = []
    for start, n in ((0, w), (1, h)):
        first, last = boxes[:, [start]], boxes[:, [start + 2]]
        points = (np.arange(n) + 0.5) / n
        # Distance from the middle of the box, 1 at its edges.
        away = np.abs(2 * points - first - last) / (last - first)
        weights.append(np.clip(1 - away, 1e-3 / n, 1) ** 2)
    total = np.einsum("bx,by->yx", *weights)
    return np.einsum("bx,by,b->yx", *weights, scores) / total


def _overlay(picture: Image.Image, logits: NDArray[np.float64] | None) -> Image.Image:
    """Draw a map over a photo; without a map, the photo alone."""
    small = picture.copy()
    small.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    if logits is None:
        return small
    # From the mean of the photo, 0, to the largest evidence, 1.
    strength = (logits - logits.mean()) / (logits.max() - logits.mean())
    smooth = Image.fromarray(strength.astype(np.float32)).resize(
        small.size, Image.Resampling.BICUBIC
    )
    shares = np.asarray(smooth)
    light = DARKEST + (1 - DARKEST) * np.clip(2 * shares, 0, 1)
    pixels = np.asarray(small) * light[..., np.newaxis]
    inside = Image.fromarray(np.uint8(255 * (shares > 0.5)))
    outline = np.asarray(inside) > np.asarray(inside.filter(ImageFilter.MinFilter(5)))
    pixels[outline] = ImageColor.getrgb(ORANGE)
    return Image.fromarray(pixels.astype(np.uint8))
