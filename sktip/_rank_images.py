"""rank_images: find photos by words, by example, or by a class."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sktip._encoder import as_encoder
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.crop import Crop
from sktip._images.inputs import as_image_list, looks_like_images
from sktip._maths.unit import unit_norm, unit_rows
from sktip._split_encoder import split_encoder
from sktip._utils.estimators import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.labels import with_nearest
from sktip._utils.messages import some, warn
from sktip.exceptions import ImageReadError

#: Scores of feature rows, (n, d) to (n,).
Score = Callable[[NDArray[Any]], NDArray[np.float32]]
#: Number of images whose features are held at a time.
BATCH = 4096


def rank_images(
    images: Any, query: Any, encoder: BaseEstimator | str | None = None, *, top: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Find photos by words, by example photos, or by a class.

    Read more in the :ref:`User Guide <guide_search>`.

    Parameters
    ----------
    images : sequence of images of length n, or array-like of shape (n, d)
        Where to search: images, or features of `encoder`. Features may be an array on disk (`numpy.memmap`); a
        bounded number of rows is held at a time.

    query : str, image, sequence of them, or class
        What to find: a text such as "a red car", which CLIP reads as it is; or a photo. A string is a
        photo if it is the path of a file. Of several texts or photos, the mean of their features is searched for. A
        feature of shape (d,), or several of shape (q, d), are taken as they are.

        If `encoder` is a classifier, one of its classes or tags.

    encoder : transformer, str or classifier
        The encoder, such as ``CLIPFeatureTransformer(...)``, or a fitted classifier with one. With its `memory`, a
        second search encodes no image again. None if images and query are both features.

    top : int, default=None
        Number of images to return. If None, all.

    Returns
    -------
    indices : ndarray of shape (top,), int
        Indices of the images, the most similar first. Images that cannot be read are left out.

    scores : ndarray of shape (top,), float32
        Their cosine similarity to the query. With a classifier, the probability of the class.

    Raises
    ------
    ImageReadError
        If a photo of the query cannot be read, or none of the images.

    TypeError
        If images or query need an encoder, and there is none.

    ValueError
        If the classifier does not know the class, if the encoder has no text, or if widths do not match.

    Warns
    -----
    UserWarning
        If images cannot be read: how many, and the first of them.

    See Also
    --------
    sktip.model_selection.suggest_shots : Choose photos to label; its `query` finds those of a rare class.

    Examples
    --------
    >>> from sktip import CLIPFeatureTransformer, rank_images
    >>> from sktip.datasets import load_digit_images
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> indices, scores = rank_images(
    ...     images[:300], "the digit zero", CLIPFeatureTransformer("tiny"), top=5
    ... )
    >>> labels[indices].tolist()
    ['zero', 'zero', 'zero', 'zero', 'zero']
    """
    if top is not None:
        check_scalar(top, "top", Integral, min_val=1)
    encoder = as_encoder(encoder)
    if hasattr(encoder, "predict"):
        session, score = _scores_of_class(query, encoder)
    else:
        session = None if encoder is None else open_encoder(encoder)
        score = _cosines_to(_features_of(query, session))
    is_matrix = not looks_like_images(images) and not isinstance(images, str | os.PathLike)
    batches = _rows_of(images) if is_matrix else _encoded(as_image_list(images), session)
    scores = np.concatenate([score(batch) for batch in batches])
    indices = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()][:top]
    return indices, scores[indices]


def _scores_of_class(label: Any, estimator: BaseEstimator) -> tuple[Any, Score]:
    """Open the encoder of a classifier, and return what predicts the probability of one class."""
    check_is_fitted(estimator)
    encoder, classifier = split_encoder(estimator, optional=True)
    classes = list(getattr(classifier, "tags_" if hasattr(classifier, "tags_") else "classes_"))
    if not np.isscalar(label) or label not in classes:
        raise ValueError(
            f"query={label!r} is no class of the {type(classifier).__name__}: {with_nearest([label], classes)}. To "
            "search by words or photos, pass its encoder instead of the classifier."
        )
    session = None
    if encoder is not None:
        session = open_encoder(encoder)
        check_same_model(classifier, session)
    column = classes.index(label)

    def score(rows: NDArray[Any]) -> NDArray[np.float32]:
        found = np.full(len(rows), np.nan, np.float32)
        known = np.isfinite(rows).all(axis=1)
        if known.any():
            X = with_feature_names(rows[known], classifier)
            found[known] = classifier.predict_proba(X)[:, column]
        return found

    return session, score


def _features_of(query: Any, session: Any) -> NDArray[Any]:
    """Return the feature that is searched for, (d,)."""
    is_row = isinstance(query, np.ndarray) and query.dtype.kind == "f"
    if is_row:
        return unit_norm(unit_rows(np.atleast_2d(query)).mean(axis=0))
    items = [query] if _is_single(query) else list(query)
    if not items:
        raise ValueError("query is empty; pass a text, a photo, or several of them.")
    if session is None:
        raise TypeError(
            "query is text or a photo, and encoder is None; pass the encoder that the features are from."
        )
    texts = [item for item in items if isinstance(item, str) and not os.path.isfile(item)]
    if not texts:
        return unit_norm(session.features(items).mean(axis=0))
    if len(texts) < len(items):
        raise ValueError(
            f"query has texts and photos, whose similarities cannot be compared; texts are {some(texts)}. If "
            "one is meant as a photo, there is no such file."
        )
    prompts = session.class_features([[text] for text in texts], texts)
    return session.across_blocks(unit_norm(prompts.mean(axis=0))[np.newaxis])[0]


def _is_single(query: Any) -> bool:
    """Whether a query is one text or photo, not a sequence of them."""
    single = (str, bytes, os.PathLike, Image.Image, Crop)
    return isinstance(query, single) or (isinstance(query, np.ndarray) and query.dtype == np.uint8)


def _cosines_to(target: NDArray[Any]) -> Score:
    def score(rows: NDArray[Any]) -> NDArray[np.float32]:
        if rows.shape[1] != len(target):
            raise ValueError(
                f"images have {rows.shape[1]} features and the query has {len(target)}; both must come from "
                "one encoder."
            )
        return np.asarray(rows @ target.astype(rows.dtype), np.float32)

    return score


def _rows_of(X: Any) -> Iterator[NDArray[Any]]:
    """Yield batches of unit rows of a matrix, which may lie on disk."""
    X = X if hasattr(X, "shape") else np.asarray(X)
    if len(X.shape) != 2 or not len(X):
        raise ValueError(
            f"images has the shape {tuple(X.shape)}; pass images, or features of shape (n, d), n > 0."
        )
    for start in range(0, len(X), BATCH):
        yield unit_rows(X, slice(start, start + BATCH))


def _encoded(images: Sequence[Any], session: EncoderSession) -> Iterator[NDArray[Any]]:
    """Yield batches of the features of images; NaN for those that cannot be read."""
    if session is None:
        raise TypeError("images need an encoder; pass encoder=CLIPFeatureTransformer(...).")
    errors: list[str] = []
    # Closed even after an error, so that no thread outlives the call.
    with closing(session.rows(images, lambda _, error: errors.append(str(error)))) as rows:
        while batch := list(islice(rows, BATCH)):
            yield np.stack(batch)
    if len(errors) == len(images):
        raise ImageReadError(
            f"none of the {len(images):,} images can be read", f"the first is {errors[0]}"
        )
    if errors:
        warn(
            f"{len(errors):,} of {len(images):,} images could not be read, and are left out. The first is {errors[0]}"
        )
