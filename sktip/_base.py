"""The base class of all classifiers: input, class names, text prior."""

import copy
from collections.abc import Callable, Mapping
from contextlib import closing
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from sktip._encoder import CLIPFeatureTransformer
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.pictures import as_image_list, describe, looks_like_images
from sktip._maths.unit import unit_norm
from sktip._utils.classes import resolve_classes
from sktip._utils.doc_links import DocumentedMixin
from sktip._utils.fitted_with import check_format, check_same_model, with_defaults
from sktip._utils.labels import (
    check_labels,
    check_weights,
    codes_of,
    join_labels,
    weights_of_classes,
)
from sktip._utils.prediction import BlockwisePredictionMixin, unit_rows
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError
from sktip.prompts import fill_prompts

NO_PRIOR = (
    "neither `encoder` nor `text_features` was given, so there is no text prior: {consequence}. To use "
    "class names, pass encoder=CLIPFeatureTransformer(...) with string labels or class_names=..., or "
    "text_features=encoder.encode_text(names)."
)

NOTHING = "there are neither shots nor text: pass X and y, or class names with an encoder or text_features."


class BaseCLIPClassifier(BlockwisePredictionMixin, DocumentedMixin, ClassifierMixin, BaseEstimator):
    """Inputs, classes, text prior and probabilities of a classifier on CLIP features.

    A subclass defines `fit` and `_logit_function(dtype)`.
    """

    _parameter_constraints: dict = {
        "encoder": [CLIPFeatureTransformer, None],
        "input": [StrOptions({"image", "features"})],
        "text_features": ["array-like", None],
        "class_names": ["array-like", Mapping, None],
        "templates": [str, "array-like", Mapping],
        "logit_scale": [Interval(Real, 1e-6, 1e6, closed="both"), None],
        "class_weight": [Mapping, StrOptions({"balanced"}), None],
    }

    classes_: NDArray
    text_features_: Any
    logit_scale_: float
    encoder_probe_: NDArray | None
    # Exists during a call only, see `sktip._utils.fitting`.
    _call: dict[str, Any]

    # How a subclass predicts without a text prior; part of the warning.
    _without_prior = "predictions come from the cached shots alone"

    def _validate_params(self) -> None:
        if isinstance(self.encoder, str):
            raise InvalidParameterError(
                f"encoder={self.encoder!r} is a string; pass "
                f"encoder=CLIPFeatureTransformer({self.encoder!r})."
            )
        super()._validate_params()

    def _open_encoder(self) -> EncoderSession:
        """Open the encoder, once per call. It must have the model that `fit` used."""
        if "encoder" not in self._call:
            session = open_encoder(self.encoder)
            check_same_model(self, session, self.encoder)
            self._call["encoder"] = session
        return self._call["encoder"]

    def _query_rows(self, X: Any) -> NDArray:
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # Slow: it builds the tags, which takes as long as a query.
        if reads_images(self):
            return self._encode_images(as_image_list(X))[:, 0]
        return self._validate_features(X, reset=False)

    def _start_fit(self, X: Any, y: Any, n_views: int = 1, *, reset: bool = True) -> tuple:
        """Check X, y and the views before anything is encoded."""
        if n_views > 1 and not reads_images(self):
            raise ValueError(
                f"n_views={n_views} needs images, since views are random crops, but X holds features. "
                "Encode the shots with CLIPFeatureTransformer(n_views=...) instead."
            )
        if reads_images(self) and self.encoder.n_views > 1:
            raise ValueError(
                f"the encoder has n_views={self.encoder.n_views}, which would augment queries too; set it to 1, "
                "and set n_views of the classifier, which augments the shots only."
            )
        X = as_image_list(X) if reads_images(self) else self._validate_features(X, reset=reset)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        labels = check_labels(y)
        if len(labels) != len(X):
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: X and y have the "
                f"lengths {[len(X), len(labels)]}."
            )
        return X, labels

    def _validate_features(self, X: Any, *, reset: bool) -> NDArray:
        if not reset and self._is_plain_matrix(X):
            return X
        # Checked first, since an array of many images may not fit into memory.
        if looks_like_images(X):
            raise ValueError(self._how_to_read_images())
        X = validate_data(
            self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False
        )
        # A classifier fitted on images has no `n_features_in_` that scikit-learn would compare with.
        probe = None if reset or hasattr(self, "n_features_in_") else self.encoder_probe_
        if probe is not None and X.shape[1] != len(probe):
            raise ValueError(
                f"X has {X.shape[1]} features, but this {type(self).__name__} was fitted on images, and its "
                f"encoder returns {len(probe)} features."
            )
        return X

    def _how_to_read_images(self) -> str:
        if self.encoder is None:
            return (
                "X looks like images, but there is no encoder to read them: pass "
                "encoder=CLIPFeatureTransformer(...)."
            )
        return "X looks like images, but input='features': set input='image', or pass encoder.transform(X)."

    def _is_plain_matrix(self, X: Any) -> bool:
        """Whether X is valid without `validate_data`, which is as slow as a query and may copy X."""
        return (
            type(X) is np.ndarray
            and X.dtype.kind in "fiu"
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
        )

    def _shots_that_count(self, X: Any, labels: NDArray, sample_weight: ArrayLike | None) -> tuple:
        """Drop the shots of weight 0: return X, labels and weights of the others, and their rows.

        The rows are None without weights, or if all weights are positive.
        """
        if sample_weight is None:
            return X, labels, None, None
        weights = check_weights(sample_weight, len(X))
        rows = np.flatnonzero(weights)
        if not len(rows) and not hasattr(self, "classes_"):
            raise ValueError("all values of sample_weight are zero; at least one must be positive.")
        if len(rows) == len(weights):
            return X, labels, weights, None
        X = X[rows] if isinstance(X, np.ndarray) else [X[row] for row in rows]
        return X, labels[rows], weights[rows], rows

    def _class_weighted(self, codes: NDArray, weights: NDArray | None) -> NDArray | None:
        """Weights of shots times the weights of their classes. None if nothing is weighted."""
        if self.class_weight is None or not len(codes):
            return weights
        own = np.ones(len(codes)) if weights is None else weights
        return own * weights_of_classes(self.class_weight, codes, own, self.classes_)[codes]

    def _shot_features(self, X: Any, n_views: int = 1, rows: NDArray | None = None) -> NDArray:
        """Features of the shots' views: (n, n_views, d), un-normalised if X holds images.

        Messages number the shots by `rows`, if shots were dropped.
        """
        if reads_images(self):
            seed = self.random_state if n_views > 1 else None
            return self._encode_images(X, n_views, seed, rows)
        self._check_width(X)
        features = unit_rows(X, called=rows)
        # Only rows that begin with a zero are checked completely.
        empty = np.flatnonzero(X[:, 0] == 0)
        empty = empty[~X[empty].any(axis=1)]
        if len(empty) and self.text_features_ is not None:
            row = empty[0] if rows is None else rows[empty[0]]
            raise ValueError(
                f"row {row} of X is all zeros ({len(empty)} in all), and cannot be compared with "
                "text. Remove it."
            )
        return features[:, np.newaxis]

    def _check_width(self, X: Any) -> None:
        """Check that features and text have the same number of columns."""
        if reads_images(self) or self.text_features_ is None:
            return
        if X.shape[1] != self.text_features_.shape[1]:
            source = "text_features" if self.encoder is None else "the encoder's embedding"
            raise ValueError(
                f"X has {X.shape[1]} features, but {source} has {self.text_features_.shape[1]}; features and "
                "text must come from the same CLIP."
            )

    def _class_means(self, features: NDArray, y: NDArray) -> NDArray:
        """Unit-norm means of the shots of each class, which replace missing text features."""
        sums = np.zeros((len(self.classes_), features.shape[1]), features.dtype)
        np.add.at(sums, codes_of(y, self.classes_), features)
        return unit_norm(sums)

    def _encode_images(
        self, images: Any, n_views: int = 1, random_state: Any = None, rows: NDArray | None = None
    ) -> NDArray[np.float32]:
        """Un-normalised features of images: (n, n_views, d)."""
        session = self._open_encoder()
        features = np.empty((len(images), n_views, session.width), np.float32)
        on_failure = None if rows is None else _called_by(rows, images)
        encoded = session.views(images, n_views, random_state, on_failure)
        # Closed even after an error, so that no thread outlives the call.
        with closing(encoded):
            for row, views in enumerate(encoded):
                features[row] = views
        unread = np.flatnonzero(np.isnan(features).any(axis=(1, 2)))
        if len(unread):
            raise ImageReadError(
                f"{describe(images[unread[0]], unread[0])} could not be read ({len(unread)} in all). "
                "Remove it, encode the images with the transformer and drop rows of NaN, or use "
                "sktip.predict_images, which skips such images."
            )
        endless = np.flatnonzero(~np.isfinite(features).all(axis=(1, 2)))
        if len(endless):
            raise ValueError(
                f"the encoder returns infinite features of {describe(images[endless[0]], endless[0])} "
                f"({len(endless)} in all); set its precision='fp32', or check its weights."
            )
        return features

    def _learn_classes(self, seen: NDArray | None) -> None:
        """Set `classes_`, `text_features_` and `logit_scale_` from the labels seen.

        If `seen` is None, `class_names` or `text_features` define the classes.
        """
        if seen is None and self.encoder is None and self.text_features is None:
            raise ValueError(NOTHING)
        text = self._given_text_features()
        encodes = text is None and self.encoder is not None
        n_rows = None if text is None else len(text)
        self.classes_, names, rows = resolve_classes(
            seen, self.class_names, n_rows, needs_names=encodes
        )
        if encodes:
            prompts = fill_prompts(names or (), self.templates, labels=self.classes_.tolist())
            text = self._open_encoder().class_features(prompts, self.classes_.tolist())
        elif text is None:
            warn(NO_PRIOR.format(consequence=self._without_prior))
        elif rows is not None:
            text = text[rows]
        self.text_features_ = text
        scale = self.logit_scale
        if scale is None:
            scale = 100.0 if self.encoder is None else self._open_encoder().logit_scale
        self.logit_scale_ = float(scale)
        uses_model = encodes or reads_images(self)
        self.encoder_probe_ = self._open_encoder().probe.copy() if uses_model else None

    def _learn_more_classes(self, y: NDArray, classes: ArrayLike | None) -> NDArray:
        """Learn the classes of more shots; return the new indices of the earlier classes.

        The text features of the earlier classes do not change.
        """
        seen = np.unique(y)
        if classes is not None:
            seen = join_labels(seen, check_labels(classes, "classes"), "classes")
        if not hasattr(self, "classes_"):
            self._learn_classes(seen)
            return np.empty(0, np.intp)
        before, text = self.classes_, self.text_features_
        seen = join_labels(before, seen)
        text_rows = self._given_text_features()
        n_rows = None if text_rows is None else len(text_rows)
        if len(resolve_classes(seen, self.class_names, n_rows).labels) == len(before):
            # The model's own scale is not read again, since the model would have to be loaded.
            if self.logit_scale is not None:
                self.logit_scale_ = float(self.logit_scale)
            return np.arange(len(before))
        if self.encoder_probe_ is not None:
            self._open_encoder()
        self._learn_classes(seen)
        moved = codes_of(before, self.classes_)
        if text is not None and self.text_features_ is not None:
            self.text_features_[moved] = text
        return moved

    def _given_text_features(self) -> NDArray | None:
        if self.text_features is None:
            return None
        text = check_array(
            self.text_features,
            dtype=[np.float64, np.float32],
            input_name="text_features",
            ensure_min_samples=0,
        )
        empty = np.flatnonzero(~text.any(axis=1))
        if len(empty):
            raise ValueError(
                f"row {empty[0]} of text_features is all zeros; pass the features of a class name."
            )
        return unit_norm(text)

    def __sktip_split__(self) -> tuple[Any, Any]:
        """Return the encoder or None, and a copy that takes features: see `split_encoder`."""
        return self.encoder, copy.copy(self).set_params(input="features")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        encoder = self.encoder
        of_the_run = encoder is not None and (encoder.memory is not None or encoder.verbose)
        if of_the_run and self.__sklearn_is_fitted__():
            # Settings of the machine that fitted; a server should not write features, or show a bar.
            state = {**state, "encoder": clone(encoder).set_params(memory=None, verbose=0)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_format(type(self).__name__, state)
        state = with_defaults(type(self), state)
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if reads_images(self):
            tags.input_tags.two_d_array = False
            tags.input_tags.three_d_array = True
            tags.input_tags.string = True
        return tags


def reads_images(classifier: Any) -> bool:
    """Whether this is a classifier of sktip that takes images."""
    is_own = isinstance(classifier, BaseCLIPClassifier)
    return is_own and classifier.encoder is not None and classifier.input == "image"


def _called_by(rows: NDArray, images: Any) -> Callable[[int, ImageReadError], None]:
    """Raise the error of an image with its index in the user's data."""

    def call(index: int, error: ImageReadError) -> None:
        reason = str(error).removeprefix(describe(images[index], index))
        raise ImageReadError(describe(images[index], rows[index]) + reason) from error

    return call
