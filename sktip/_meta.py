"""What the classifiers around another classifier share: images are encoded once for all fits."""

import copy
from typing import Any

from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from sktip._encoder import without_settings
from sktip._encoding.session import open_encoder
from sktip._split_encoder import split_encoder, takes_images
from sktip._utils.estimators import EstimatorMixin
from sktip._utils.fitted_with import check_same_model
from sktip.model_selection._cross_fit import as_samples


class BaseMetaClassifier(EstimatorMixin, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier around `estimator`, which is fitted on features, even if it takes images."""

    estimator: BaseEstimator
    estimator_: BaseEstimator

    def _rows(self, X: Any) -> Any:
        """Input of `estimator_`: the features of images, or X."""
        check_is_fitted(self)
        X = as_samples(X, self.estimator)
        if not takes_images(self.estimator):
            return X
        encoder, _ = split_encoder(self.estimator, optional=True)
        session = open_encoder(encoder)
        check_same_model(self.estimator_, session)
        return session.features(X)

    def _assign_columns(self, encoder: BaseEstimator | None) -> None:
        """Assign the number and names of the columns of X, unless X holds images."""
        for name in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)
            if encoder is None and hasattr(self.estimator_, name):
                setattr(self, name, getattr(self.estimator_, name))

    def __sktip_split__(self) -> tuple[Any, Any]:
        """Return the encoder, and a copy that takes features: see `split_encoder`."""
        encoder, classifier = split_encoder(self.estimator, optional=True)
        return encoder, copy.copy(self).set_params(estimator=classifier)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if self.__sklearn_is_fitted__():
            state = {**state, "estimator": without_settings(self.estimator)}
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags = get_tags(self.estimator).classifier_tags
        # A Pipeline does not say so if its first step takes images.
        first = (
            split_encoder(self.estimator, optional=True)[0]
            if takes_images(self.estimator)
            else self.estimator
        )
        tags.input_tags = get_tags(first).input_tags
        return tags
