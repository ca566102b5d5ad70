"""RejectUnknown: a classifier that rejects images whose score is below a threshold."""

from collections.abc import Iterable
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.utils import _safe_indexing, check_array, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _num_samples, has_fit_parameter

from sktip._base import BaseCLIPClassifier
from sktip._docs import with_shared_docs
from sktip._encoding.session import open_encoder
from sktip._images.folders import images_of
from sktip._images.inputs import looks_like_images
from sktip._maths.known_scores import Scores, known_scores, score_by
from sktip._maths.unit import unit_norm
from sktip._meta import BaseMetaClassifier
from sktip._utils.estimators import available_if, validated
from sktip._utils.labels import check_groups, label_of_unknown
from sktip.model_selection._cross_fit import (
    as_samples,
    check_samples,
    cross_fit,
    cv_splits,
    encoder_and_rest,
)

#: Smaller probabilities are raised to this before their logarithm is taken.
LEAST_PROBABILITY = 1e-12
#: Number of rows that are scored at a time.
ROWS = 4096


def _estimator_has(name: str) -> Any:
    """Whether the classifier, fitted or not, has a method."""
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), name)


@with_shared_docs
class RejectUnknown(BaseMetaClassifier):
    r"""Reject images that show none of the known classes.

    A classifier always predicts one of its classes, whatever the image shows. This meta-estimator
    computes a score of each image, and predicts `unknown_label` if the score is below a threshold. The
    threshold is chosen so that a share `quantile` of the images of known classes is rejected.

    Read more in the :ref:`User Guide <guide_unknown>`.

    Parameters
    ----------
    estimator : classifier
        Classifier of images or features with `decision_function` or `predict_proba`: one of sktip, a
        linear probe, or a Pipeline. It is cloned.

    criterion : {"auto", "max_proba", "max_logit", "energy", "zero_shot"}, default="auto"
        Score of an image: the largest probability, the largest logit, the log-sum-exp of the logits,
        or the largest cosine with a text feature. With `X_unknown`, ``"auto"`` takes the score with the
        largest area under the ROC curve; else a combination of scores, see Notes.

    quantile : float or None, default=0.05
        Share of the images of known classes to reject. If None, the threshold maximises the mean of
        two shares: known images that are accepted, and images of `X_unknown` that are rejected.

    unknown_label : str or int, default=None
        Prediction for an image that is rejected. If None, ``"unknown"`` for string labels, and -1 for
        integer labels. Predictions have the type of the labels, or if it has no such value, such as
        unsigned integers for -1, the smallest integer type that holds both.

    text_features : array-like of shape (n_texts, d), default=None
        Text features of the classes, in any order, for a classifier without text features, such as a
        linear probe. If None, those of the classifier are used, if it has any.

    Attributes
    ----------
    estimator_ : classifier
        Classifier fitted on all shots, which predicts the class. It takes features, even if
        `estimator` takes images.

    estimators_ : list of classifier
        Classifiers that were each fitted without one fold of the shots. They compute the score.

    threshold_ : float
        Images with a score below it are rejected.

    held_out_scores_ : ndarray of shape (m,)
        Score of each shot, from the classifier that was fitted without it.

    criterion_ : str
        Name of the score; ``"combined"`` is the combination of the Notes.

    scales_ : dict
        Divisor of each part of the combined score.

    classes_ : ndarray of shape (C,)
        Labels of the known classes, sorted.

    unknown_label_ : str or int
        Prediction for an image that is rejected.

    text_features_ : ndarray of shape (n_texts, d) or None
        Unit-norm text features of the score. None without text.

    n_features_in_ : int
        Number of columns of X. Only if X is a feature matrix.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only if X is a table of features with string column names.

    See Also
    --------
    sktip.predict_images : Predict a folder of images; it takes this classifier too.
    sktip.model_selection.held_out_proba : Probabilities of held-out shots, with the same folds.

    Notes
    -----
    A classifier gives higher scores to the shots that it was fitted on than to new images. So the shots
    are split into at most four folds, with as many shots of every class in each, and each fold is scored
    by a classifier fitted without it. Copies of a shot share a fold. The score of a new image is the mean over these
    classifiers, so it is comparable with the scores that set the threshold. A prediction costs five times that of
    `estimator`. Each image is encoded once.

    The share of rejected known images is close to `quantile` only if these images are like the shots.
    Shots whose features are averaged over several views are not like single images. A classifier with
    ``n_views`` above 1 is therefore refused.

    With text, the combined score is the largest logit, plus the largest cosine with a text feature,
    plus half of the negative entropy of the probabilities. Each is divided by its standard deviation
    over the held-out shots. Without text, the combined score is the largest probability.

    References
    ----------
    .. [1] D. Hendrycks and K. Gimpel, "A baseline for detecting misclassified and out-of-distribution
       examples in neural networks", ICLR 2017: the largest probability.
    .. [2] D. Hendrycks et al., "Scaling out-of-distribution detection for real-world settings", ICML
       2022: the largest logit.
    .. [3] W. Liu et al., "Energy-based out-of-distribution detection", NeurIPS 2020.
    .. [4] Y. Ming et al., "Delving into out-of-distribution detection with vision-language
       representations", NeurIPS 2022: text features.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier, RejectUnknown
    >>> from sktip.datasets import load_digit_images
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clip, y = CLIPFeatureTransformer("tiny"), labels[:400]
    >>> X = clip.transform(images[:400])
    >>> known = np.isin(y, ["one", "two", "four", "six", "seven"])
    >>> shots, rest = np.flatnonzero(known)[::2], np.flatnonzero(~known)
    >>> clf = FewShotClassifier(clip, input="features", templates="the digit {}")
    >>> clf = RejectUnknown(clf).fit(X[shots], y[shots])
    >>> bool(clf.is_known(X[rest]).mean() < 0.3)
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "criterion": [StrOptions({"auto", "max_proba", "max_logit", "energy", "zero_shot"})],
        "quantile": [Interval(Real, 0, 1, closed="left"), None],
        "unknown_label": [str, Real, None],
        "text_features": ["array-like", None],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        *,
        criterion: Literal["auto", "max_proba", "max_logit", "energy", "zero_shot"] = "auto",
        quantile: float | None = 0.05,
        unknown_label: str | int | None = None,
        text_features: ArrayLike | None = None,
    ):
        self.estimator = estimator
        self.criterion = criterion
        self.quantile = quantile
        self.unknown_label = unknown_label
        self.text_features = text_features

    @validated
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        X_unknown: Any = None,
        X_unlabeled: Any = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Fit the classifier, and choose the threshold on held-out shots.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots, as `estimator` takes them.

        y : array-like of shape (m,)
            Labels of the shots.

        X_unknown : sequence of images of length n, or array-like of shape (n, d), default=None
            Images of none of the classes, similar to those that you expect.

        X_unlabeled : folder, sequence of images, or array-like of shape (n, d), default=None
            Images without labels, for an `estimator` whose `fit` takes them, such as `FewShotClassifier`.
            The threshold is chosen without them.

        groups : array-like of shape (m,), default=None
            Group of each shot, such as the object or the video that it shows. The shots of a group are
            held out together. An `estimator` whose `fit` takes `groups` gets them too.

        Returns
        -------
        self : RejectUnknown
            The fitted classifier.

        Raises
        ------
        ValueError
            If a class has one shot and no text, if `unknown_label` is a class or not of the type of
            the labels, if `X_unknown` is empty, or if `criterion` or `quantile` need data that was not
            given.
        """
        if getattr(self.estimator, "n_views", 1) > 1:
            raise ValueError(
                f"the classifier has n_views={self.estimator.n_views}, which averages views of the shots only: "
                "held-out shots would get higher scores than new images. Set n_views to 1."
            )
        if self.quantile is None and X_unknown is None:
            raise ValueError("quantile=None chooses the threshold by X_unknown; pass it to fit.")
        X, labels = check_samples(X, y, self.estimator)
        label_of_unknown(self.unknown_label, np.unique(labels))
        groups = check_groups(groups, len(labels))
        if X_unknown is not None and not _num_samples(X_unknown):
            raise ValueError("X_unknown is empty; pass images of none of the classes, or None.")
        encoder, classifier = encoder_and_rest(self.estimator)
        options = _fit_options(classifier, encoder, groups, X_unlabeled)
        rows = X if encoder is None else encoder.transform(X)
        splits = cv_splits(classifier, rows, labels, groups)
        folds = list(cross_fit(classifier, rows, labels, splits, groups=groups))
        fitted = classifier.fit(rows, labels, **options)
        # Again, since class names may add classes.
        unknown_label = label_of_unknown(self.unknown_label, fitted.classes_)
        models = [model for model, _ in folds]
        text = self._text_of(fitted)
        if text is not None and looks_like_images(rows):
            raise ValueError(
                f"text_features are compared with features, but {type(self.estimator).__name__} takes images; "
                "begin it with a CLIPFeatureTransformer."
            )
        held_out: Scores = {}
        for model, part in folds:
            for name, values in _scores_of(model, _safe_indexing(rows, part), text).items():
                held_out.setdefault(name, np.empty(len(labels)))[part] = values
        scales = {name: float(values.std()) or 1.0 for name, values in held_out.items()}
        unknown = None
        if X_unknown is not None:
            X_unknown = as_samples(X_unknown, self.estimator)
            X_unknown = X_unknown if encoder is None else encoder.transform(X_unknown)
            unknown = _mean_scores(models, X_unknown, text)
        criterion = self._chosen_criterion(held_out, unknown, scales)
        known = score_by(criterion, held_out, scales)
        if self.quantile is not None:
            threshold = float(np.quantile(known, self.quantile))
        else:
            threshold = _best_threshold(known, score_by(criterion, unknown or {}, scales))
        self.estimator_, self.estimators_ = fitted, models
        self.classes_, self.unknown_label_ = fitted.classes_, unknown_label
        self.text_features_, self.criterion_, self.scales_ = text, criterion, scales
        self.held_out_scores_, self.threshold_ = known, threshold
        self._assign_columns(encoder)
        return self

    def predict(self, X: Any) -> NDArray:
        """Predict the class of each image, or `unknown_label_`.

        Parameters
        ----------
        {rows}

        Returns
        -------
        labels : ndarray of shape (n,)
            Predicted classes, and `unknown_label_` where `is_known` is False.
        """
        rows = self._rows(X)
        labels = np.asarray(self.estimator_.predict(rows))
        # With room for the longest text: in the type of "cat", "unknown" would become "unk".
        labels = labels.astype(np.result_type(labels, np.asarray(self.unknown_label_)))
        labels[self._scores(rows) < self.threshold_] = self.unknown_label_
        return labels

    def is_known(self, X: Any) -> NDArray[np.bool_]:
        """Test which images show one of the known classes.

        Parameters
        ----------
        {rows}

        Returns
        -------
        known : ndarray of shape (n,), bool
            Whether the score is at least `threshold_`.
        """
        return self.score_samples(X) >= self.threshold_

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Compute the score of each image.

        Parameters
        ----------
        {rows}

        Returns
        -------
        scores : ndarray of shape (n,)
            Scores by `criterion_`. Images of known classes have larger ones.
        """
        return self._scores(self._rows(X))

    @available_if(_estimator_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray:
        """Predict the probability of each known class, given that the image shows one of them.

        Parameters
        ----------
        {rows}

        Returns
        -------
        probabilities : ndarray of shape (n, C)
            Probabilities of `estimator_`. Columns follow `classes_`.
        """
        rows = self._rows(X)
        return self.estimator_.predict_proba(rows)

    @available_if(_estimator_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray:
        """Compute the logits of the known classes.

        Parameters
        ----------
        {rows}

        Returns
        -------
        logits : ndarray of shape (n, C), or (n,) for two classes
            Logits of `estimator_`.
        """
        rows = self._rows(X)
        return self.estimator_.decision_function(rows)

    def _scores(self, rows: Any) -> NDArray[np.float64]:
        scores = _mean_scores(self.estimators_, rows, self.text_features_)
        return score_by(self.criterion_, scores, self.scales_)

    def _text_of(self, fitted: Any) -> NDArray | None:
        if self.text_features is not None:
            return unit_norm(check_array(self.text_features, input_name="text_features"))
        return fitted.text_features_ if isinstance(fitted, BaseCLIPClassifier) else None

    def _chosen_criterion(
        self,
        held_out: Scores,
        unknown: Scores | None,
        scales: dict[str, float],
    ) -> str:
        """Choose the criterion."""
        if self.criterion == "zero_shot" and "zero_shot" not in held_out:
            raise ValueError(
                "criterion='zero_shot' needs text features, and the classifier has none: pass text_features."
            )
        if self.criterion != "auto":
            return self.criterion
        with_text = ["combined", "zero_shot"] if "zero_shot" in held_out else []
        names = [*with_text, "max_proba", "max_logit", "energy"]
        if unknown is None:
            return names[0]
        is_known = np.repeat(
            [True, False], [_num_samples(part["energy"]) for part in (held_out, unknown)]
        )
        pairs = ([score_by(name, part, scales) for part in (held_out, unknown)] for name in names)
        areas = [roc_auc_score(is_known, np.concatenate(pair)) for pair in pairs]
        return names[int(np.argmax(areas))]


def _fit_options(
    classifier: BaseEstimator,
    encoder: BaseEstimator | None,
    groups: ArrayLike | None,
    X_unlabeled: Any,
) -> dict[str, Any]:
    """Arguments of the `fit` of a classifier of features, besides the shots."""
    options = {}
    if groups is not None and has_fit_parameter(classifier, "groups"):
        options["groups"] = groups
    if X_unlabeled is not None:
        if not has_fit_parameter(classifier, "X_unlabeled"):
            raise ValueError(
                f"{type(classifier).__name__} does not learn from unlabelled images; leave out X_unlabeled, or use "
                "FewShotClassifier."
            )
        if encoder is not None:
            X_unlabeled = open_encoder(encoder).readable_features(images_of(X_unlabeled))
        options["X_unlabeled"] = X_unlabeled
    return options


def _scores_of(model: Any, rows: Any, text: NDArray | None) -> Scores:
    """Scores of rows by one classifier, batch by batch."""
    batches = [
        _scores_of_batch(model, _safe_indexing(rows, batch), text)
        for batch in gen_batches(_num_samples(rows), ROWS)
    ]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _scores_of_batch(model: Any, rows: Any, text: NDArray | None) -> Scores:
    if hasattr(model, "decision_function"):
        logits = np.asarray(model.decision_function(rows), dtype=np.float64)
        if logits.ndim == 1:
            logits = np.stack([-logits / 2, logits / 2], axis=1)
    else:
        logits = np.log(np.maximum(model.predict_proba(rows), LEAST_PROBABILITY))
    return known_scores(logits, None if text is None else unit_norm(np.asarray(rows)) @ text.T)


def _mean_scores(models: Iterable[Any], rows: Any, text: NDArray | None) -> Scores:
    """Mean of the scores over the classifiers."""
    each = [_scores_of(model, rows, text) for model in models]
    return {name: np.mean([scores[name] for scores in each], axis=0) for name in each[0]}


def _best_threshold(known: NDArray, unknown: NDArray) -> float:
    """Threshold with the largest mean of the shares of known accepted and unknown rejected images."""
    is_known = np.repeat([True, False], [len(known), len(unknown)])
    rejected, kept, thresholds = roc_curve(is_known, np.concatenate([known, unknown]))
    return float(thresholds[1:][np.argmax((kept - rejected)[1:])])
