"""A fitted classifier of images, taken apart: its encoder, and what classifies features."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier, on_features
from sktip._encoder import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder


def parts_of(estimator: Any) -> tuple[CLIPFeatureTransformer, Any]:
    """Take a fitted classifier of images apart.

    Parameters
    ----------
    estimator : estimator
        A classifier of sktip with an `encoder`, a Pipeline that begins with one, or a search over one
        of these.

    Returns
    -------
    encoder : CLIPFeatureTransformer
        The estimator's own.

    classifier : estimator
        What answers as the estimator does, of the features that the encoder makes.
    """
    check_is_fitted(estimator)
    estimator = getattr(estimator, "best_estimator_", estimator)
    if isinstance(estimator, Pipeline) and isinstance(estimator[0], CLIPFeatureTransformer):
        return estimator[0], estimator[1:]
    if not isinstance(estimator, BaseCLIPClassifier) or estimator.encoder is None:
        raise ValueError(
            f"{type(estimator).__name__} has no encoder for the images. Put one in front of it, without a new "
            "fit: make_pipeline(CLIPFeatureTransformer(...), estimator)."
        )
    return estimator.encoder, on_features(estimator, open_encoder(estimator.encoder))
