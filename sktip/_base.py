"""The base class of all classifiers: input, classes, text prior, probabilities."""

import copy
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _get_feature_names, check_is_fitted, validate_data

from sktip._docs import with_shared_docs
from sktip._encoder import as_encoder, without_memory
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.inputs import as_image_list, describe, looks_like_images
from sktip._maths.head import Head, linear_logits
from sktip._maths.unit import row_blocks, type_of, unit_norm, unit_rows
from sktip._utils.classes import resolve_classes
from sktip._utils.doc_links import DOC_LINK_TEMPLATE
from sktip._utils.fitted_with import check_format, check_same_model, record
from sktip._utils.labels import (
    check_groups,
    check_labels,
    check_weights,
    codes_of,
    join_labels,
    joined_groups,
    joined_weights,
)
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError
from sktip.prompts import fill_prompts

NO_PRIOR = (
    "neither `encoder` nor `text_features` was given, so there is no text prior: {consequence}. To use "
    "class names, pass encoder=CLIPFeatureTransformer(...) with string labels or class_names=..., or "
    "text_features=encoder.encode_text(names). If the names mean nothing, say so with templates=None."
)

NOTHING = "there are neither shots nor text: pass X and y, or class names with an encoder or text_features."


class Shots(NamedTuple):
    """Labelled images or features: checked, not yet encoded, without those of weight 0."""

    X: Any
    labels: NDArray
    weights: NDArray | None
    groups: NDArray | None
    #: Names of the columns, if X is a table of features.
    feature_names: NDArray | None
    #: Index of each shot in the user's data, for messages. None if none was dropped.
    rows: NDArray | None = None

    def weighted(self, sample_weight: ArrayLike | None, *, first: bool = True) -> "Shots":
        """Give weights to all shots, and drop those of weight 0. Some of the `first` shots must stay."""
        if sample_weight is None:
            return self
        weights = check_weights(sample_weight, len(self.X))
        rows = np.flatnonzero(weights)
        if first and not len(rows):
            raise ValueError("all values of sample_weight are zero; at least one must be positive.")
        if len(rows) == len(weights):
            return self._replace(weights=weights)
        return Shots(
            self.X[rows] if isinstance(self.X, np.ndarray) else [self.X[row] for row in rows],
            self.labels[rows],
            weights[rows],
            None if self.groups is None else self.groups[rows],
            self.feature_names,
            rows,
        )


class EncodedShots(NamedTuple):
    """Unit features of shots, (m, ...), their class codes, and their weights and groups or None."""

    features: NDArray
    codes: NDArray
    weights: NDArray | None
    groups: NDArray | None

    def after(self, earlier: "EncodedShots", places: NDArray) -> "EncodedShots":
        """Append these shots to earlier ones, whose classes have the new codes `places`."""
        if not len(earlier.codes):
            return self
        earlier = earlier._replace(codes=places[earlier.codes])
        if not len(self.codes):
            return earlier
        return EncodedShots(
            np.concatenate([earlier.features, self.features]),
            np.concatenate([earlier.codes, self.codes]),
            joined_weights(earlier.weights, len(earlier.codes), self.weights, len(self.codes)),
            joined_groups(earlier.groups, self.groups),
        )


class Task(NamedTuple):
    """The classes of a fit, and what is known of them without shots."""

    classes: NDArray
    #: Unit rows, (C, d), or None without a text prior.
    text_features: Any
    logit_scale: float
    #: The encoder's unit feature of a fixed image, by which another model is noticed later. None if the
    #: encoder was not used.
    probe: NDArray | None
    fitted_with: dict[str, Any]


class BaseCLIPEstimator(BaseEstimator):
    """Input, names and text prior of an estimator on CLIP features, and its logits block by block.

    A subclass defines `fit` and `__sktip_head__`. Its `fit` computes with local values, and
    assigns the fitted attributes in its last lines.
    """

    _doc_link_module, _doc_link_template = "sktip", DOC_LINK_TEMPLATE

    _parameter_constraints: dict = {
        "encoder": [HasMethods(["transform"]), str, None],
        "input": [StrOptions({"image", "features"})],
        "text_features": ["array-like", None],
        "class_names": ["array-like", Mapping, None],
        "templates": [str, "array-like", Mapping, None],
        "logit_scale": [Interval(Real, 1e-6, 1e6, closed="both"), None],
    }

    classes_: NDArray
    text_features_: Any
    logit_scale_: float

    #: Whether each block of the features of several encoders has unit norm, not the whole row.
    _norm_per_block = False
    # How a subclass predicts without a text prior; part of the warning.
    _without_prior = "predictions come from the cached shots alone"

    def __sktip_head__(self) -> Head:
        """Return the formula of the logits with its arrays, which prediction and export share."""
        raise NotImplementedError

    def _of_logits(self, X: Any, answer: Callable[[NDArray], NDArray]) -> NDArray:
        """Apply `answer` to the logits of each block of queries, and join the results."""
        X = self._query_features(X)
        dtype = type_of(X)
        head = self.__sktip_head__()
        logits_of = head.prepared(dtype)

        def of_block(rows: slice) -> NDArray:
            logits = logits_of(unit_rows(X, rows))
            if not np.isfinite(logits).all():
                raise ValueError(
                    f"logits are not finite, since numbers overflow {dtype}. Lower sample_weight, and the parameters that "
                    "are larger than usual."
                )
            return answer(logits)

        width = max(X.shape[1], len(self.classes_), head.n_columns)
        first, *others = row_blocks(len(X), width, dtype)
        part = of_block(first)
        if not others:
            return part
        whole = np.empty((len(X), *part.shape[1:]), part.dtype)
        whole[first] = part
        del part  # Otherwise two blocks would be in memory at a time.
        for rows in others:
            whole[rows] = of_block(rows)
        return whole

    def _query_features(self, X: Any) -> NDArray:
        """Convert queries to a matrix, (n, d), which is not normalised."""
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # Slow: it builds the tags, which takes as long as a query.
        if reads_images(self):
            return encode_views(self._open_fitted_encoder(), as_image_list(X))[:, 0]
        return self._check_more_features(X)

    def _open_fitted_encoder(self) -> EncoderSession:
        """Open the encoder. It must have the model that `fit` used."""
        session = open_encoder(as_encoder(self.encoder))
        check_same_model(self, session)
        return session

    def _check_shots(
        self,
        X: Any,
        y: Any,
        groups: ArrayLike | None = None,
        *,
        n_views: int = 1,
        first: bool = True,
    ) -> Shots:
        """Check shots before anything is encoded. They are the `first` ones, or more of them."""
        if n_views > 1 and not reads_images(self):
            raise ValueError(
                f"n_views={n_views} needs images, since views are random crops, but X holds features. "
                "Encode the shots with CLIPFeatureTransformer(n_views=...) instead."
            )
        if reads_images(self) and (own := getattr(self.encoder, "n_views", 1)) > 1:
            raise ValueError(
                f"the encoder has n_views={own}, which would augment queries too; set it to 1. To augment the "
                "shots only, encode them with it, and fit with input='features'."
            )
        X, names = self._check_input(X, first=first)
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
        return Shots(X, labels, None, check_groups(groups, len(X)), names)

    def _check_input(self, X: Any, *, first: bool) -> tuple[Any, NDArray | None]:
        """Check images or features; return them and the names of the columns."""
        if reads_images(self):
            return as_image_list(X), None
        if not first:
            return self._check_more_features(X), None
        self._refuse_images(X)
        matrix = check_array(
            X,
            dtype=[np.float64, np.float32],
            ensure_all_finite=False,
            estimator=self,
            input_name="X",
        )
        return matrix, _get_feature_names(X)

    def _check_more_features(self, X: Any) -> NDArray:
        """Check features that must have the columns of those in `fit`."""
        if self._is_plain_matrix(X):
            return X
        self._refuse_images(X)
        X = validate_data(
            self, X, reset=False, dtype=[np.float64, np.float32], ensure_all_finite=False
        )
        # A classifier fitted on images has no `n_features_in_` that scikit-learn would compare with.
        probe = None if hasattr(self, "n_features_in_") else self._encoder_probe
        if probe is not None and X.shape[1] != len(probe):
            raise ValueError(
                f"X has {X.shape[1]} features, but this {type(self).__name__} was fitted on images, and its "
                f"encoder returns {len(probe)} features."
            )
        return X

    def _refuse_images(self, X: Any) -> None:
        """Refuse images before a conversion to an array, which may not fit into memory."""
        if looks_like_images(X):
            raise ValueError(
                "X looks like images, but there is no encoder to read them: pass "
                "encoder=CLIPFeatureTransformer(...)."
                if self.encoder is None
                else "X looks like images, but input='features': set input='image', or pass encoder.transform(X)."
            )

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

    def _make_task(self, seen: NDArray | None) -> Task:
        """Resolve the classes, and encode their names.

        If `seen`, the labels of the shots, is None, `class_names` or `text_features` define the classes.
        """
        text = self._given_text_features()
        encodes = self._encodes_names(text)
        if seen is None and text is None and not encodes:
            raise ValueError(NOTHING)
        n_rows = None if text is None else len(text)
        classes, names, rows = resolve_classes(seen, self.class_names, n_rows, needs_names=encodes)
        return self._named_task(
            classes, names, text if rows is None or text is None else text[rows]
        )

    def _named_task(
        self, classes: NDArray, names: Sequence[str] | None, text: NDArray | None
    ) -> Task:
        """Encode the names of the classes, unless there are text features already, in their order."""
        encoder, session, prompts = as_encoder(self.encoder), None, None
        if self._encodes_names(text):
            prompts = fill_prompts(names or (), self.templates, labels=classes.tolist())
        elif text is None and encoder is None and self.templates is not None:
            warn(NO_PRIOR.format(consequence=self._without_prior))
        scale = getattr(self, "logit_scale", None)
        uses_model = prompts is not None or reads_images(self)
        if uses_model or (encoder is not None and scale is None):
            session = open_encoder(encoder)
        if session is not None and prompts is not None:
            of_names = session.class_features(prompts, classes.tolist())
            text = self._beside_blocks(session.across_blocks(of_names))
        if scale is None:
            scale = 100.0 if session is None else session.logit_scale
            if session is not None and not self._norm_per_block:
                # In rows of k unit blocks, divided by their norm, cosines with text are smaller by sqrt(k).
                scale *= len(session.blocks) ** 0.5
        used = session if uses_model else None
        return Task(classes, text, float(scale), None if used is None else used.probe, record(used))

    def _encodes_names(self, text: NDArray | None) -> bool:
        """Whether the names of classes are encoded: without other text, by an encoder that has text."""
        has_text = hasattr(as_encoder(self.encoder), "encode_text")
        return text is None and has_text and self.templates is not None

    def _extended_task(
        self, labels: NDArray, classes: ArrayLike | None, *, first: bool
    ) -> tuple[Task, NDArray[np.intp]]:
        """Add the classes of more shots; return the new codes of the earlier classes too.

        The text features of the earlier classes do not change.
        """
        seen = np.unique(labels)
        if classes is not None:
            seen = join_labels(seen, check_labels(classes, "classes"), "classes")
        if first:
            return self._make_task(seen), np.empty(0, np.intp)
        known, text = self.classes_, self.text_features_
        seen = join_labels(known, seen)
        text_rows = self._given_text_features()
        n_rows = None if text_rows is None else len(text_rows)
        same = len(resolve_classes(seen, self.class_names, n_rows).labels) == len(known)
        if self._encoder_probe is not None and (reads_images(self) or not same):
            self._open_fitted_encoder()
        if same:
            # The model's own scale is not read again, since the model would have to be loaded.
            scale = self.logit_scale_ if self.logit_scale is None else float(self.logit_scale)
            return self._fitted_task()._replace(logit_scale=scale), np.arange(len(known))
        task = self._make_task(seen)
        places = codes_of(known, task.classes)
        if text is not None and task.text_features is not None:
            task.text_features[places] = text
        return task, places

    def _fitted_task(self) -> Task:
        return Task(
            self.classes_,
            self.text_features_,
            self.logit_scale_,
            self._encoder_probe,
            self.fitted_with_,
        )

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
        return self._beside_blocks(unit_norm(text))

    def _beside_blocks(self, text: NDArray) -> NDArray:
        """Give text features the columns of X, where those are blocks of several encoders."""
        return text

    def _encode_shots(
        self, shots: Shots, task: Task, n_views: int = 1, random_state: Any = None
    ) -> NDArray:
        """Features of the shots' views, (m, n_views, d), un-normalised if X holds images."""
        if reads_images(self):
            session = open_encoder(as_encoder(self.encoder))
            return encode_views(session, shots.X, n_views, random_state, shots.rows)
        self._check_width(shots.X, task.text_features)
        features = unit_rows(shots.X, called=shots.rows)
        # Only rows that begin with a zero are checked completely.
        empty = np.flatnonzero(shots.X[:, 0] == 0)
        empty = empty[~shots.X[empty].any(axis=1)]
        if len(empty) and task.text_features is not None:
            row = empty[0] if shots.rows is None else shots.rows[empty[0]]
            raise ValueError(
                f"row {row} of X is all zeros ({len(empty)} in all), and cannot be compared with "
                "text. Remove it."
            )
        return features[:, np.newaxis]

    def _check_width(self, X: NDArray, text: NDArray | None) -> None:
        """Check that features and text have the same number of columns."""
        if text is not None and X.shape[1] != text.shape[1]:
            source = "text_features" if self.encoder is None else "the encoder's embedding"
            raise ValueError(
                f"X has {X.shape[1]} features, but {source} has {text.shape[1]}; features and "
                "text must come from the same CLIP."
            )

    def _assign_task(self, task: Task, X: Any = None, feature_names: NDArray | None = None) -> None:
        """Assign the fitted attributes that all classifiers share.

        X is the first input, whose columns later input must have. Without it, they stay as they are.
        """
        if X is not None:
            for name in ("n_features_in_", "feature_names_in_"):
                self.__dict__.pop(name, None)
            if not reads_images(self):
                self.n_features_in_ = X.shape[1]
            if feature_names is not None:
                self.feature_names_in_ = feature_names
        self.classes_, self.text_features_ = task.classes, task.text_features
        self.logit_scale_, self.fitted_with_ = task.logit_scale, task.fitted_with
        self._encoder_probe = task.probe

    def __sktip_split__(self) -> tuple[Any, Any]:
        """Return the encoder or None, and a copy that takes features: see `split_encoder`."""
        return as_encoder(self.encoder), copy.copy(self).set_params(input="features")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if self.__sklearn_is_fitted__():
            # Settings of the machine that fitted; a server should not write features, or show a bar.
            state = {**state, "encoder": without_memory(self.encoder)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        check_format(type(self).__name__, state)
        super().__setstate__(state)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        if reads_images(self):
            tags.input_tags.two_d_array = False
            tags.input_tags.three_d_array = True
            tags.input_tags.string = True
        return tags


@with_shared_docs
class BaseCLIPClassifier(ClassifierMixin, BaseCLIPEstimator):
    """A classifier whose probabilities are the softmax of its logits."""

    def decision_function(self, X: Any) -> NDArray:
        """Compute the logits of the classes.

        Parameters
        ----------
        {queries}

        Returns
        -------
        logits : ndarray of shape (n, C), or (n,) for two classes
            Columns follow `classes_`. For two classes, the logit of the second minus that of the first.
        """
        return self._of_logits(X, _two_as_one)

    def predict(self, X: Any) -> NDArray:
        """Predict the class of each row.

        The memory beyond X and the result does not grow with the number of rows.

        Parameters
        ----------
        {queries}

        Returns
        -------
        labels : ndarray of shape (n,)
            Classes with the largest logit.
        """
        winners = self._of_logits(X, lambda logits: logits.argmax(axis=1))
        return self.classes_[winners]

    def predict_proba(self, X: Any) -> NDArray:
        """Predict the probability of each class.

        Parameters
        ----------
        {queries}

        Returns
        -------
        probabilities : ndarray of shape (n, C), float64
            Softmax of the logits. Columns follow `classes_`.
        """
        return self._of_logits(X, _softmax)

    def predict_log_proba(self, X: Any) -> NDArray:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        {queries}

        Returns
        -------
        log_probabilities : ndarray of shape (n, C), float64
            Columns follow `classes_`. Values are finite even where a probability is rounded to 0.
        """
        return self._of_logits(X, _log_softmax)


class LinearPredictionMixin:
    """Logits of a linear classifier with `coef_` and `intercept_`."""

    coef_: NDArray[Any]
    intercept_: NDArray[Any]

    def __sktip_head__(self) -> Head:
        return Head(linear_logits, {"coef": self.coef_, "intercept": self.intercept_})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")


def reads_images(classifier: Any) -> bool:
    """Whether this is a classifier or tagger of sktip that takes images."""
    is_own = isinstance(classifier, BaseCLIPEstimator)
    return is_own and classifier.encoder is not None and classifier.input == "image"


def encode_views(
    session: EncoderSession,
    images: Any,
    n_views: int = 1,
    random_state: Any = None,
    rows: NDArray | None = None,
    *,
    on_failure: Callable[[int, ImageReadError], None] | None = None,
) -> NDArray[np.float32]:
    """Un-normalised features of the views of images: (n, n_views, d).

    Messages number the images by `rows`, their indices in the user's data. With `on_failure`, which is called
    with the index and the error, images that cannot be read are rows of NaN.
    """
    skips = on_failure is not None
    if rows is not None:
        on_failure = _numbered_by(rows, images)
    seed = random_state if n_views > 1 else None
    features = session.view_features(images, n_views, seed, on_failure)
    unread = np.flatnonzero(np.isnan(features).any(axis=(1, 2)))
    if len(unread) and not skips:
        raise ImageReadError(
            f"{describe(images[unread[0]], unread[0])} could not be read ({len(unread)} in all). "
            "Remove it, encode the images with the transformer and drop rows of NaN, or use "
            "sktip.predict_images, which skips such images."
        )
    infinite = np.flatnonzero(np.isinf(features).any(axis=(1, 2)))
    if len(infinite):
        raise ValueError(
            f"the encoder returns infinite features of {describe(images[infinite[0]], infinite[0])} "
            f"({len(infinite)} in all); set its precision='fp32', or check its weights."
        )
    return features


def encode_readable(session: EncoderSession, images: Any) -> NDArray[np.float32]:
    """Encode the unlabelled images that can be read, (n, d); one warning counts the others."""
    errors: list[str] = []
    features = encode_views(session, images, on_failure=lambda _, error: errors.append(str(error)))[
        :, 0
    ]
    if not errors:
        return unit_norm(features)
    if len(errors) == len(images):
        raise ImageReadError(
            f"none of the {len(images):,} images can be read. The first is {errors[0]}"
        )
    warn(
        f"X_unlabeled: {len(errors):,} of {len(images):,} images cannot be read, and are left out. The first is "
        f"{errors[0]}"
    )
    return unit_norm(features[~np.isnan(features).any(axis=1)])


def _numbered_by(rows: NDArray, images: Any) -> Callable[[int, ImageReadError], None]:
    """Raise the error of an image with its index in the user's data."""

    def on_failure(index: int, error: ImageReadError) -> None:
        reason = str(error).removeprefix(describe(images[index], index))
        raise ImageReadError(describe(images[index], rows[index]) + reason) from error

    return on_failure


def _two_as_one(logits: NDArray) -> NDArray:
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _below_the_largest(logits: NDArray) -> NDArray[np.float64]:
    """Logits minus the largest logit of their row, in double precision."""
    # In double precision, small probabilities stay above 0, and rows sum to 1 as scorers require.
    below: NDArray[np.float64]
    below = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    return below


def _softmax(logits: NDArray) -> NDArray[np.float64]:
    masses = _below_the_largest(logits)
    np.exp(masses, out=masses)
    masses /= masses.sum(axis=1, keepdims=True)
    return masses


def _log_softmax(logits: NDArray) -> NDArray[np.float64]:
    logs = _below_the_largest(logits)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return logs
