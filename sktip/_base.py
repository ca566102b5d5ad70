"""The base class of all classifiers: the steps of a fit, text prior, probabilities."""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sktip._docs import with_shared_docs
from sktip._encoder import as_encoder, without_settings
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images.inputs import as_image_list
from sktip._input import (
    GivenShots,
    about_unlabeled,
    check_more_features,
    check_shots,
    check_text,
    check_unlabeled,
    is_empty,
    reads_images,
)
from sktip._maths.head import Head, linear_logits
from sktip._maths.unit import across_blocks, row_batches, type_of, unit_rows
from sktip._utils.estimators import EstimatorMixin
from sktip._utils.fitted_with import check_format, check_same_model, record
from sktip._utils.labels import (
    Classes,
    check_labels,
    codes_of,
    join_labels,
    joined_groups,
    joined_weights,
    resolve_classes,
)
from sktip._utils.messages import warn
from sktip.prompts import fill_prompts

NO_PRIOR = (
    "neither `encoder` nor `text_features` was given, so there is no text prior: {consequence}. To use "
    "class names, pass encoder=CLIPFeatureTransformer(...) with string labels or class_names=..., or "
    "text_features=encoder.encode_text(names). If the names mean nothing, say so with templates=None."
)

ONE_VS_REST = (
    "y holds only 0 and 1, but class_names has {n} names. If OneVsRestClassifier or OneVsOneClassifier made these "
    "labels, leave it out: the classifier takes many classes itself, and FewShotTagger several labels per photo."
)

COLUMNS: tuple[str, ...] = ("n_features_in_", "feature_names_in_")

NOTHING = "there are neither shots nor text: pass X and y, or class names with an encoder or text_features."


class Shots(NamedTuple):
    """What a method learns from: one row for each shot of a weight above 0."""

    #: Features of the views of each shot, (m, n_views, d), or of the shot, (m, d).
    features: NDArray
    #: Class of each shot, (m,), as an index into the classes, or its tags, (m, C).
    codes: NDArray
    weights: NDArray | None
    groups: NDArray | None

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes that keep the shots."""
        return {f"shot_{name}_": value for name, value in self._asdict().items()}

    @classmethod
    def kept_by(cls, estimator: BaseEstimator) -> "Shots":
        """Return the shots that a fitted estimator has kept."""
        return cls(*(getattr(estimator, f"shot_{name}_") for name in cls._fields))

    def after(self, earlier: "Shots", places: NDArray) -> "Shots":
        """Append these shots to earlier ones, whose classes have the new codes `places`."""
        if not len(earlier.codes):
            return self
        earlier = earlier._replace(codes=places[earlier.codes])
        if not len(self.codes):
            return earlier
        return Shots(
            np.concatenate([earlier.features, self.features]),
            np.concatenate([earlier.codes, self.codes]),
            joined_weights(earlier.weights, len(earlier.codes), self.weights, len(self.codes)),
            joined_groups(earlier.groups, self.groups),
        )


class Task(NamedTuple):
    """What a method learns: classes, and all that is known of them beside the shots."""

    classes: NDArray
    #: Unit rows, (C, d), or None without a text prior.
    text_features: Any
    logit_scale: float
    #: Number of columns of each block that has unit norm. Empty if the whole rows have.
    widths: tuple[int, ...]
    #: New codes of the classes of an earlier fit, to which shots are added. None in `fit`.
    places: NDArray[np.intp] | None
    #: Opens the encoder. It is the same session in every call.
    open_encoder: Callable[[], EncoderSession]
    #: Unit feature of a fixed image, by which another model is noticed later. None if the encoder was not
    #: used.
    probe: NDArray | None
    fitted_with: dict[str, Any]


class BaseCLIPEstimator(EstimatorMixin, BaseEstimator):
    """Input, names and text prior of an estimator on CLIP features, and its logits, batch by batch.

    A subclass defines `_learn` and `__sktip_head__`. Its `fit` checks the shots and resolves the classes;
    `_learn_from` does the rest.
    """

    _parameter_constraints: dict = {
        "encoder": [HasMethods(["transform"]), str, None],
        "input": [StrOptions({"image", "features"})],
        "text_features": ["array-like", None],
        "class_names": ["array-like", Mapping, None],
        "templates": [str, "array-like", Mapping, None],
        "logit_scale": [Interval(Real, 1e-6, 1e6, closed="both"), None],
    }

    classes_: NDArray
    text_features_: NDArray | None
    logit_scale_: float
    fitted_with_: dict[str, Any]
    _encoder_probe: NDArray | None

    #: Whether each block of the features of several encoders has unit norm, not the whole row.
    _norm_per_block = False
    #: Numbers of columns of these blocks. Empty for a single block.
    _widths: tuple[int, ...] = ()
    # How a subclass predicts without a text prior; part of the warning.
    _without_prior = "predictions come from the cached shots alone"

    #: Fitted attributes that an estimator has only after some fits.
    _not_always: tuple[str, ...] = COLUMNS

    def _learn(self, shots: Shots, task: Task, *args: Any, **extra: Any) -> dict[str, Any]:
        """Return the fitted attributes of the method, by name, without assigning them."""
        raise NotImplementedError

    def __sktip_head__(self) -> Head:
        """Return the formula of the logits with its arrays, which prediction and export share."""
        raise NotImplementedError

    def _of_logits(self, X: Any, answer: Callable[[NDArray], NDArray]) -> NDArray:
        """Apply `answer` to the logits of each batch of queries, and join the results."""
        X = self._query_features(X)
        dtype = type_of(X)
        head = self.__sktip_head__()
        logits_of = head.prepared(dtype)

        def of_batch(rows: slice) -> NDArray:
            logits = logits_of(unit_rows(X, rows))
            if not np.isfinite(logits).all():
                raise ValueError(
                    f"logits are not finite, since numbers overflow {dtype}. Lower sample_weight, and the "
                    "parameters that are larger than usual."
                )
            return answer(logits)

        width = max(X.shape[1], len(self.classes_), head.n_columns)
        first, *others = row_batches(len(X), width, dtype)
        part = of_batch(first)
        if not others:
            return part
        whole = np.empty((len(X), *part.shape[1:]), part.dtype)
        whole[first] = part
        del part  # Otherwise two batches would be in memory at a time.
        for rows in others:
            whole[rows] = of_batch(rows)
        return whole

    def _query_features(self, X: Any) -> NDArray:
        """Convert queries to a matrix, (n, d), which is not normalised."""
        if not self.__sklearn_is_fitted__():
            check_is_fitted(self)  # Slow: it builds the tags, which takes as long as a query.
        if reads_images(self):
            rows = self._open_fitted_encoder().view_features(as_image_list(X))[:, 0]
            self._check_width(rows, self.text_features_)
            return rows
        return check_more_features(self, X)

    def _open_fitted_encoder(self) -> EncoderSession:
        """Open the encoder. It must have the model that `fit` used."""
        session = open_encoder(as_encoder(self.encoder))
        check_same_model(self, session)
        return session

    # The steps of a fit, in their order.

    def _encodes_names(self, text: NDArray | None) -> bool:
        """Whether the names of classes are encoded: without other text, by an encoder that has text."""
        has_text = hasattr(as_encoder(self.encoder), "encode_text")
        return text is None and has_text and self.templates is not None

    def _learn_from(
        self,
        given: GivenShots | None,
        classes: Classes,
        text: NDArray | None,
        *,
        unlabeled: GivenShots | None = None,
        reset: bool = True,
        **extra: Any,
    ) -> Self:
        """Open the encoder once, encode, learn, and assign the fitted attributes.

        `given` and `unlabeled` are checked, and the targets are codes. `text` are the given text features,
        in the order of the classes.
        """
        columns = given or unlabeled
        task = self._make_task(classes, text, None if columns is None else columns.X, reset=reset)
        shots = self._encode_shots(given, task)
        if unlabeled is not None:
            extra["unlabeled"] = self._encode_unlabeled(unlabeled, task)
        learned = self._learn(shots, task, **extra)

        fitted = {
            "classes_": task.classes,
            "text_features_": task.text_features,
            "logit_scale_": task.logit_scale,
            "fitted_with_": task.fitted_with,
            "_encoder_probe": task.probe,
            **learned,
        }
        if not reset:
            fitted |= {name: vars(self)[name] for name in COLUMNS if name in vars(self)}
        elif not reads_images(self):
            fitted["n_features_in_"] = (task.text_features if columns is None else columns.X).shape[
                1
            ]
            if columns is not None and columns.feature_names is not None:
                fitted["feature_names_in_"] = columns.feature_names
        for name in {*self._not_always} - {*fitted}:
            self.__dict__.pop(name, None)
        for name, value in fitted.items():
            setattr(self, name, value)
        return self

    def _make_task(self, classes: Classes, text: NDArray | None, X: Any, *, reset: bool) -> Task:
        """Encode the names of the classes, unless there are text features.

        The text features of earlier classes do not change.
        """
        open_once = cache(self._open_encoder if reset else self._open_fitted_encoder)
        places = None if reset else codes_of(self.classes_, classes.labels)
        if places is not None and len(places) == len(classes.labels):
            # The model's own scale is not read again, since the model would have to be loaded.
            return Task(
                self.classes_,
                self.text_features_,
                self.logit_scale_ if self.logit_scale is None else float(self.logit_scale),
                self._widths,
                places,
                open_once,
                self._encoder_probe,
                self.fitted_with_,
            )
        encodes = self._encodes_names(text)
        if encodes:
            prompts = fill_prompts(
                classes.names or (), self.templates, labels=classes.labels.tolist()
            )
            of_names = open_once().class_features(prompts, classes.labels.tolist())
            text = open_once().across_blocks(of_names)
        elif text is None and self.encoder is None and self.templates is not None:
            warn(NO_PRIOR.format(consequence=self._without_prior))
        widths = self._block_widths(X, open_once) if reset else self._widths
        if text is not None and widths:
            text = _beside_blocks(text, widths)
        if places is not None and text is not None and self.text_features_ is not None:
            text[places] = self.text_features_
        scale = getattr(self, "logit_scale", None)
        if scale is None and self.encoder is not None:
            scale = open_once().logit_scale
            if not self._norm_per_block:
                # In rows of k unit blocks, divided by their norm, cosines with text are smaller by sqrt(k).
                scale *= len(open_once().blocks) ** 0.5
        used = open_once() if encodes or reads_images(self) else None
        return Task(
            classes.labels,
            text,
            100.0 if scale is None else float(scale),
            widths,
            places,
            open_once,
            None if used is None else used.probe,
            record(used),
        )

    def _block_widths(self, X: Any, open_once: Callable[[], EncoderSession]) -> tuple[int, ...]:
        """Numbers of columns of the blocks that each have unit norm; empty if the whole rows have."""
        return ()

    def _open_encoder(self) -> EncoderSession:
        return open_encoder(as_encoder(self.encoder))

    def _encode_shots(self, given: GivenShots | None, task: Task) -> Shots:
        """Encode the views of shots. Features of images are not normalised."""
        if given is None:
            none = np.empty((0, 0)) if task.text_features is None else task.text_features[:0]
            return Shots(none[:, np.newaxis], np.empty(0, np.intp), None, None)
        if reads_images(self):
            n_views, seed = getattr(self, "n_views", 1), getattr(self, "random_state", None)
            features = task.open_encoder().view_features(given.X, n_views, seed, given.rows)
            self._check_width(features[:, 0], task.text_features)
        else:
            features = self._unit_features(given.X, task, given.rows)[:, np.newaxis]
        return Shots(features, given.targets, given.weights, given.groups)

    def _encode_unlabeled(self, unlabeled: GivenShots, task: Task) -> NDArray:
        """Encode the unlabelled images that can be read: unit rows, (n, d)."""
        with about_unlabeled():
            if reads_images(self):
                return task.open_encoder().readable_features(unlabeled.X)
            return self._unit_features(unlabeled.X, task)

    def _check_width(self, X: NDArray, text: NDArray | None) -> None:
        """Check that features and text have the same number of columns."""
        if text is not None and X.shape[1] != text.shape[1]:
            source = "text_features" if self.encoder is None else "the encoder's embedding"
            raise ValueError(
                f"X has {X.shape[1]} features, but {source} has {text.shape[1]}; features and "
                "text must come from the same CLIP."
            )

    def _unit_features(self, X: NDArray, task: Task, rows: NDArray | None = None) -> NDArray:
        """Normalise features that must be comparable with the text features."""
        text = task.text_features
        self._check_width(X, text)
        features = unit_rows(X, called=rows)
        # Only rows that begin with a zero are checked completely.
        empty = np.flatnonzero(X[:, 0] == 0)
        empty = empty[~X[empty].any(axis=1)]
        if len(empty) and text is not None:
            row = empty[0] if rows is None else rows[empty[0]]
            raise ValueError(
                f"row {row} of X is all zeros ({len(empty)} in all), and cannot be compared with "
                "text. Remove it."
            )
        return features

    def __sktip_split__(self) -> tuple[Any, Any]:
        """Return the encoder or None, and a copy that takes features: see `split_encoder`."""
        return as_encoder(self.encoder), copy.copy(self).set_params(input="features")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        if self.__sklearn_is_fitted__():
            # A server should not write features, or show a bar. To be fitted elsewhere, all are needed.
            state = {**state, "encoder": without_settings(self.encoder)}
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

    #: Whether it learns from shots, and not from text alone.
    _needs_shots = True

    def _fit(
        self,
        X: Any,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        *,
        X_unlabeled: Any = None,
        classes: ArrayLike | None = None,
        reset: bool = True,
    ) -> Self:
        """Check everything, before anything is encoded; then encode, learn, and assign what was learned.

        Without `reset`, shots, further `classes` and unlabelled images are added to what is fitted.
        """
        given = kept = None
        seen = np.array([]) if reset else self.classes_
        if self._needs_shots or not (is_empty(X) and is_empty(y)):
            labels = self._check_labels(X, y)
            given = check_shots(self, X, labels, sample_weight, groups, reset=reset)
            kept = given.of_weight()
            seen = join_labels(seen, kept.targets)
        else:
            for name, value in (("sample_weight", sample_weight), ("groups", groups)):
                if not is_empty(value):
                    raise ValueError(f"there are no shots for {name}; pass X and y.")
        unlabeled = check_unlabeled(self, X_unlabeled, given, reset=reset)
        if not is_empty(classes):
            seen = join_labels(seen, check_labels(classes, "classes"), "classes")
        text = check_text(self.text_features)
        encodes = self._encodes_names(text)
        if reset and given is None and text is None and not encodes:
            raise ValueError(NOTHING)
        resolved = resolve_classes(
            seen if len(seen) else None,
            self.class_names,
            None if text is None else len(text),
            needs_names=encodes,
        )
        is_sequence = self.class_names is not None and not hasattr(self.class_names, "keys")
        if is_sequence and seen.tolist() == [0, 1] and len(resolved.labels) > 2:
            warn(ONE_VS_REST.format(n=len(resolved.labels)))
        if text is not None and resolved.rows is not None:
            text = text[resolved.rows]
        extra = self._check_method(given, resolved.labels, unlabeled, reset=reset)
        if kept is not None:
            kept = kept._replace(targets=codes_of(kept.targets, resolved.labels))
        return self._learn_from(kept, resolved, text, unlabeled=unlabeled, reset=reset, **extra)

    def _check_labels(self, X: Any, y: ArrayLike | None) -> NDArray:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        if X is None and not self._needs_shots:
            raise ValueError("y was passed without X; pass the shots as X.")
        return check_labels(y)

    def _check_method(
        self,
        given: Any,
        classes: NDArray,
        unlabeled: GivenShots | None,
        *,
        reset: bool,
    ) -> dict[str, Any]:
        """Check what only this method needs. The result are keyword arguments of its `_learn`."""
        return {}

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


def _two_as_one(logits: NDArray) -> NDArray:
    return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits


def _softmax(logits: NDArray) -> NDArray[np.float64]:
    # In double precision, small probabilities stay above 0, and rows sum to 1 as scorers require. Each step
    # writes over the one before: the product of rows and coefficients takes hardly longer than that.
    p = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p


def _log_softmax(logits: NDArray) -> NDArray[np.float64]:
    return log_softmax(logits.astype(np.float64), axis=1)


def _beside_blocks(text: NDArray, widths: tuple[int, ...]) -> NDArray:
    """Give text features the columns of several blocks: zeros in all but the first block of their width."""
    if text.shape[1] == sum(widths):
        return text
    if text.shape[1] not in widths:
        raise ValueError(
            f"text_features has {text.shape[1]} columns, but the blocks have {list(widths)}; the text must come "
            "from the same CLIP as one of them."
        )
    return across_blocks(text, widths, widths.index(text.shape[1]))
