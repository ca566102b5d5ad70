"""Split a classifier of images into its encoder and a classifier of features."""

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags


def split_encoder(estimator: BaseEstimator, *, optional: bool = False) -> tuple[Any, BaseEstimator]:
    """Split a classifier of images into its encoder and a classifier of features.

    Encode images once, and use the features as often as you like: in several predictions, with
    several classifiers, or in another process.

    Read more in the :ref:`User Guide <guide_encoding_once>`.

    Parameters
    ----------
    estimator : estimator
        A classifier of sktip with an `encoder`, for images or for features; a Pipeline that begins
        with an encoder; a `~sktip.RejectUnknown` around one of them; or a fitted search over one of
        these, such as GridSearchCV. It may be fitted or not.

    optional : bool, default=False
        Whether to return None for the encoder if there is none, instead of raising an error.

    Returns
    -------
    encoder : CLIPFeatureTransformer
        The encoder of the estimator, not a copy.

    classifier : estimator
        The rest, which takes the encoder's features. If `estimator` is fitted, so is the rest, and
        its predictions for the features are those of `estimator` for the images.

    Raises
    ------
    ValueError
        If the estimator has no encoder, and ``optional=False``.

    See Also
    --------
    sktip.predict_images : Predict a folder of images.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier
    >>> from sktip.utils import split_encoder
    >>> images = np.zeros((6, 32, 32, 3), np.uint8)
    >>> images[3:] = 255
    >>> clf = FewShotClassifier(CLIPFeatureTransformer("tiny"))
    >>> clf = clf.fit(images, ["black"] * 3 + ["white"] * 3)
    >>> encoder, classifier = split_encoder(clf)
    >>> features = encoder.transform(images[2:4])
    >>> classifier.predict(features).tolist()
    ['black', 'white']
    """
    estimator = _unwrapped(estimator)
    if hasattr(estimator, "__sktip_split__"):
        encoder, classifier = estimator.__sktip_split__()
    elif _begins_with_encoder(estimator):
        encoder, classifier = estimator[0], estimator[1] if len(estimator) == 2 else estimator[1:]
    else:
        encoder, classifier = None, estimator
    if encoder is None and not optional:
        raise ValueError(
            f"{type(estimator).__name__} has no encoder for the images. Put one in front of it; this needs no "
            "new fit: make_pipeline(CLIPFeatureTransformer(...), estimator)."
        )
    return encoder, classifier


def takes_images(estimator: BaseEstimator) -> bool:
    """Whether X of an estimator is images that the encoder of `split_encoder` encodes."""
    estimator = _unwrapped(estimator)
    if _begins_with_encoder(estimator):
        return True
    is_own = hasattr(estimator, "__sktip_split__")
    return is_own and not get_tags(estimator).input_tags.two_d_array


def _unwrapped(estimator: BaseEstimator) -> BaseEstimator:
    """Return the best estimator of a fitted search, and the step of a Pipeline of one step."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    is_single = isinstance(estimator, Pipeline) and len(estimator) == 1
    return estimator[0] if is_single else estimator


def _begins_with_encoder(estimator: BaseEstimator) -> bool:
    return isinstance(estimator, Pipeline) and hasattr(estimator[0], "__sktip_open__")
