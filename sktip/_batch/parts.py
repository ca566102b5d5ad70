"""Split a fitted classifier of images into its encoder and a classifier of features."""

import copy
from typing import Any

from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier
from sktip._encoder import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder
from sktip._reject_unknown import RejectUnknown
from sktip._utils.fitted_with import check_same_model
from sktip.model_selection._cross_fit import encoder_and_classifier


def parts_of(estimator: Any) -> tuple[CLIPFeatureTransformer, Any]:
    """Split a fitted classifier of images into its encoder and a classifier of features.

    Parameters
    ----------
    estimator : estimator
        A classifier of sktip with an `encoder`, a Pipeline that begins with one, a `RejectUnknown`
        around one of these, or a search over any of them.

    Returns
    -------
    encoder : CLIPFeatureTransformer
        The estimator's own.

    classifier : estimator
        Its predictions for the encoder's features are those of `estimator` for the images.
    """
    check_is_fitted(estimator)
    estimator = getattr(estimator, "best_estimator_", estimator)
    whole = estimator.estimator if isinstance(estimator, RejectUnknown) else estimator
    encoder, classifier = encoder_and_classifier(whole)
    if encoder is None:
        raise ValueError(
            f"{type(estimator).__name__} has no encoder for the images. Put one in front of it; this needs no "
            "new fit: make_pipeline(CLIPFeatureTransformer(...), estimator)."
        )
    fitted = classifier
    if isinstance(estimator, RejectUnknown):
        fitted = estimator.estimator_
        classifier = copy.copy(estimator).set_params(estimator=classifier)
    if isinstance(whole, BaseCLIPClassifier):
        # The copy has this encoder, which the message names.
        check_same_model(copy.copy(fitted).set_params(encoder=encoder), open_encoder(encoder))
    return encoder, classifier
