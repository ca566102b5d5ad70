"""What all classifiers share: reading X, class names, the text prior, probabilities."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import Tags, assert_all_finite, check_array, column_or_1d
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from sktip._encoder import CLIPFeatureTransformer, unit_norm
from sktip._images.pictures import as_image_list, describe, looks_like_images
from sktip._prediction import BlockwisePredictionMixin, type_of, unit_rows
from sktip._utils.classes import resolve_classes
from sktip._utils.doc_links import DocumentedMixin
from sktip._utils.fitted_with import RecordedMixin, record
from sktip._utils.magnitudes import check_magnitudes
from sktip.exceptions import ImageReadError
from sktip.prompts import fill_prompts

#: Parameters that logits are made with.
MAGNITUDES = ("logit_scale", "alpha", "alphas", "beta", "betas", "gamma", "lam")

NO_PRIOR = (
    "neither `encoder` nor `text_features` was given, so there is no text prior: {consequence}. To use "
    "class names, pass encoder=CLIPFeatureTransformer(...) with string labels or class_names=..., or "
    "text_features=encoder.encode_text(names)."
)


def fits(method: Callable) -> Callable:
    """Wrap a method that fits: parameters are checked, and a failure leaves no trace.

    Whatever stops it, an interrupt included, the estimator is what it was before the call.
    """

    @functools.wraps(method)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = vars(self).copy()
        try:
            method(self, *args, **kwargs)
            self.fitted_with_ = record(self.encoder)
            return self
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return _fit_context(prefer_skip_nested_validation=False)(wrapper)


def joined_weights(
    old: NDArray | None, n_old: int, new: NDArray | None, n_new: int
) -> NDArray | None:
    """Weights of old and new shots; None, where all weigh the same, is a weight of 1."""
    if old is None and new is None:
        return None
    return np.concatenate(
        [np.ones(n) if own is None else own for own, n in ((old, n_old), (new, n_new))]
    )


class BaseCLIPClassifier(
    BlockwisePredictionMixin, RecordedMixin, DocumentedMixin, ClassifierMixin, BaseEstimator
):
    """Inputs, classes, text prior and probabilities of a classifier on CLIP features.

    A subclass is its `fit` and its `_logit_function(dtype)`.
    """

    _parameter_constraints: dict = {
        "encoder": [CLIPFeatureTransformer, None],
        "input": [StrOptions({"image", "features"})],
        "text_features": ["array-like", None],
        "class_names": ["array-like", Mapping, None],
        "templates": [str, "array-like", Mapping],
        "logit_scale": [Interval(Real, 0, None, closed="neither"), None],
    }

    classes_: NDArray
    text_features_: Any
    logit_scale_: float

    # What a subclass without a text prior does instead; shown in the warning.
    _without_prior = "predictions come from the cached shots alone"

    def _validate_params(self) -> None:
        if isinstance(self.encoder, str):
            raise InvalidParameterError(
                f"encoder={self.encoder!r} is a string; pass "
                f"encoder=CLIPFeatureTransformer({self.encoder!r})."
            )
        super()._validate_params()

    def _magnitudes(self) -> dict[str, float]:
        return {"logit_scale": self.logit_scale_}

    @property
    def _reads_images(self) -> bool:
        return self.encoder is not None and self.input == "image"

    def _query_rows(self, X: Any) -> NDArray:
        check_is_fitted(self)
        if self._reads_images:
            return self._encode_images(as_image_list(X))[:, 0]
        return self._validate_features(X, reset=False)

    def _start_fit(self, X: Any, y: Any, n_views: int = 1, *, reset: bool = True) -> tuple:
        """Check X, y and the views before anything is encoded."""
        if n_views > 1 and not self._reads_images:
            raise ValueError(
                f"n_views={n_views} needs images: views are random crops of them, and X is features here. "
                "Encode the shots with CLIPFeatureTransformer(n_views=...) instead."
            )
        if self._reads_images and self.encoder.n_views > 1:
            raise ValueError(
                f"the encoder has n_views={self.encoder.n_views}, which would augment queries too; leave it "
                "at 1 and set n_views of the classifier, which augments the shots only."
            )
        if self._reads_images:
            X = as_image_list(X)
            if reset:
                self.__dict__.pop("n_features_in_", None)
        else:
            X = self._validate_features(X, reset=reset)
        dtype = np.float32 if self._reads_images else type_of(X)
        check_magnitudes(dtype, **{name: getattr(self, name, None) for name in MAGNITUDES})
        return X, self._validate_labels(y, len(X))

    def _validate_features(self, X: Any, *, reset: bool) -> NDArray:
        if not reset and self._is_plain_matrix(X):
            return X
        try:
            X = validate_data(
                self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False
            )
        except (TypeError, ValueError) as error:
            if not looks_like_images(X):
                raise
            raise type(error)(f"{str(error).rstrip('.')}. {self._how_to_read_images()}") from error
        # What was fitted on images has no `n_features_in_` for scikit-learn to compare with.
        probe = None if reset or hasattr(self, "n_features_in_") else self.encoder_probe_
        if probe is not None and X.shape[1] != len(probe):
            raise ValueError(
                f"X has {X.shape[1]} features, but this {type(self).__name__} was fitted on images, of "
                f"which its encoder makes {len(probe)} features."
            )
        return X

    def _how_to_read_images(self) -> str:
        if self.encoder is None:
            return (
                "X looks like images, and there is no encoder to read them: pass "
                "encoder=CLIPFeatureTransformer(...)."
            )
        return (
            "X looks like images, but input='features': use input='image', or pass what "
            "encoder.transform(X) makes of them."
        )

    def _is_plain_matrix(self, X: Any) -> bool:
        """Whether `validate_data` would find nothing, at the cost of a whole query or of a copy."""
        return (
            type(X) is np.ndarray
            and X.dtype.kind in "fiu"
            and X.ndim == 2
            and len(X) > 0
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and not hasattr(self, "feature_names_in_")
        )

    def _validate_labels(self, y: Any, n_samples: int) -> NDArray:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if isinstance(y, Sequence) or getattr(getattr(y, "dtype", None), "kind", "") == "O":
            # NumPy would turn 3 into "3", or fail to sort.
            labels = list(y)
            text = [isinstance(label, str) for label in labels]
            if any(text) and not all(text):
                odd = text.index(not text[0])
                raise ValueError(
                    f"y mixes text with other labels: {labels[0]!r} at index 0, {labels[odd]!r} at index {odd}. Make "
                    "them all strings, or all integers with class_names."
                )
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: {kind}. Labels are strings or integers; y looks like the numbers of a "
                "regression."
            )
        if len(y) != n_samples:
            raise ValueError(
                "Found input variables with inconsistent numbers of samples: X and y have the "
                f"lengths {[n_samples, len(y)]}."
            )
        return y

    def _validate_weights(self, sample_weight: ArrayLike | None, X: Any) -> NDArray | None:
        if sample_weight is None:
            return None
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True
        )
        if not weights.any():
            raise ValueError("all values of sample_weight are zero; some weight must be positive.")
        return weights

    def _shot_features(self, X: Any, n_views: int = 1) -> NDArray:
        """Features of the shots' views: (n, n_views, d), un-normalised where X is images."""
        if self._reads_images:
            return self._encode_images(X, n_views, self.random_state if n_views > 1 else None)
        self._check_width(X)
        features = unit_rows(X)
        empty = np.flatnonzero(X[:, 0] == 0)
        empty = empty[~X[empty].any(axis=1)]
        if len(empty) and self.text_features_ is not None:
            raise ValueError(
                f"X has a row of zeros, row {empty[0]} ({len(empty)} in all); it has no direction to "
                "compare with text. Remove it."
            )
        return features[:, np.newaxis]

    def _check_width(self, X: Any) -> None:
        """Features and text must have the same number of columns."""
        if self._reads_images or self.text_features_ is None:
            return
        if X.shape[1] != self.text_features_.shape[1]:
            source = "text_features" if self.encoder is None else "the encoder's embedding"
            raise ValueError(
                f"X has {X.shape[1]} features, but {source} has {self.text_features_.shape[1]}; features and "
                "text must come from the same CLIP."
            )

    def _class_means(self, features: NDArray, y: NDArray) -> NDArray:
        """Means of the shots of each class, as unit rows: what stands in for text features."""
        sums = np.zeros((len(self.classes_), features.shape[1]), features.dtype)
        np.add.at(sums, np.searchsorted(self.classes_, y), features)
        return unit_norm(sums)

    def _encode_images(
        self, images: Any, n_views: int = 1, random_state: Any = None
    ) -> NDArray[np.float32]:
        """Un-normalised features of images: (n, n_views, d)."""
        self._check_encoder()
        shape = (len(images), n_views, self.encoder._clip().embed_dim)
        features = np.empty(shape, np.float32)
        for row, views in enumerate(self.encoder._encode(images, n_views, random_state)):
            features[row] = views
        unread = np.flatnonzero(np.isnan(features).any(axis=(1, 2)))
        if len(unread):
            raise ImageReadError(
                f"{describe(images[unread[0]], unread[0])} could not be read ({len(unread)} in all), and a "
                "classifier needs every image. Remove it, or encode with the transformer and drop its rows "
                "of NaN."
            )
        return features

    def _learn_classes(self, seen: NDArray, class_names: Any = None) -> None:
        """Set `classes_`, `text_features_` and `logit_scale_` from the labels seen."""
        rows = self._given_text_features()
        encodes = rows is None and self.encoder is not None
        self.classes_, names = resolve_classes(
            seen,
            self.class_names if class_names is None else class_names,
            None if rows is None else len(rows),
            needs_names=encodes,
        )
        if encodes:
            prompts = fill_prompts(names or (), self.templates, labels=self.classes_.tolist())
            rows = self.encoder._encode_prompts(prompts, self.classes_.tolist())
        elif rows is None:
            warnings.warn(NO_PRIOR.format(consequence=self._without_prior), stacklevel=5)
        self.text_features_ = rows
        scale = self.logit_scale
        if scale is None:
            scale = 100.0 if self.encoder is None else self.encoder._clip().logit_scale
        self.logit_scale_ = float(scale)
        uses_model = encodes or self._reads_images
        self.encoder_probe_ = self.encoder._clip().probe.copy() if uses_model else None

    def _learn_more_classes(self, y: NDArray, classes: ArrayLike | None) -> NDArray:
        """Learn the classes of more shots; return where in `classes_` those known before are now.

        The text features of known classes stay as they are.
        """
        seen = np.unique(y) if classes is None else np.union1d(y, np.asarray(classes))
        if not hasattr(self, "classes_"):
            self._learn_classes(seen)
            return np.empty(0, np.intp)
        before, text = self.classes_, self.text_features_
        if np.isin(seen, before).all():
            return np.arange(len(before))
        if self.encoder_probe_ is not None:
            self._check_encoder()
        self._learn_classes(np.union1d(before, seen))
        moved = np.searchsorted(self.classes_, before)
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
            raise ValueError(f"text_features has a row of zeros, row {empty[0]}.")
        return unit_norm(text)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if self._reads_images:
            tags.input_tags.two_d_array = False
            tags.input_tags.three_d_array = True
            tags.input_tags.string = True
        return tags
