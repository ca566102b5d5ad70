"""Several tags per photo, from their names and a few labelled photos."""

from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin
from sklearn.utils import Tags, check_array
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPEstimator, LinearPredictionMixin, Shots, Task
from sktip._docs import with_shared_docs
from sktip._input import check_shots, check_text
from sktip._maths.unit import unit_norm
from sktip._utils.estimators import validated
from sktip._utils.labels import Classes, check_labels, plain
from sktip._utils.messages import composed
from sktip._utils.threads import threads_for
from sktip.prompts import GENERAL_TEMPLATES


@with_shared_docs
class FewShotTagger(LinearPredictionMixin, ClassifierMixin, MultiOutputMixin, BaseCLIPEstimator):
    r"""Finds several tags per photo, from the names of the tags and a few labelled photos.

    Each tag is a logistic regression, which begins with the similarity of a photo to the name of the tag,
    and is corrected by the photos that have or lack it. What the tags share, such as how far their names are
    trusted, is chosen on held-out photos.

    Read more in the :ref:`User Guide <guide_tags>`.

    Parameters
    ----------
    {encoder}

    class_names : sequence of str, default=None
        Names of the tags, in the order of the columns of y. If None, the column names of y if it is a
        table.

    templates : str, sequence of str, or mapping, default=GENERAL_TEMPLATES
        Prompt templates, with ``{}`` for the name. The features of several templates are averaged. A
        mapping gives each tag its own templates. The default is `sktip.prompts.GENERAL_TEMPLATES`, for photos
        of any kind.

    input : {"image", "features"}, default="image"
        Whether X holds images or features of the `encoder`; not used without an `encoder`. With
        features, the encoder is only used in `fit`, for the text features.

    text_features : array-like of shape (C, d), default=None
        Text features to use instead of the encoder's, in the order of the columns of y; `fit` normalises
        them.

    threshold : "f1", float or array-like of shape (C,), default="f1"
        Probability from which a tag is predicted. ``"f1"`` chooses it for each tag: the best F1 on
        held-out photos.

    Attributes
    ----------
    tags_ : ndarray of shape (C,)
        The tags, in the order of the columns of y: their names, or indices without names.

    classes_ : ndarray of shape (C, 2)
        The values 0 and 1 for each tag, as scikit-learn's multi-label tools expect.

    thresholds_ : ndarray of shape (C,)
        Probability from which each tag is predicted.

    coef_ : ndarray of shape (C, d)
        Weights of the logits ``f @ coef_.T + intercept_``, including the prior of the names.

    intercept_ : ndarray of shape (C,)
        Intercepts of the logits.

    text_weight_ : float
        Standard deviation of the part of the logits that the names give. 0 without names.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the tags. None without names.

    {fitted_}

    See Also
    --------
    FewShotClassifier : For photos with one label each.

    Notes
    -----
    The logit of tag c is :math:`a \, z_c(x) + B_c (x - m) + b_c`. z is the cosine with the name of the tag,
    centred over the tags and scaled. B has a Gaussian prior in whitened features, and the intercepts have
    one around the mean log-odds of all tags. So a tag that no photo shows is predicted by its name. a and the
    variance of B are the same for all tags, and are chosen by the log-loss of held-out photos.

    The F1 of a tag with few photos says little about its threshold. So the counts of all tags are added with
    the weight of two photos.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import FewShotTagger
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> Y = np.column_stack([np.isin(labels, ["zero", "six", "eight"]), labels == "one"]).astype(int)
    >>> tagger = FewShotTagger("tiny", class_names=["circle", "line"]).fit(photos[:80], Y[:80])
    >>> tagger.predict_proba(photos[80:]).shape
    (1717, 2)
    """

    _parameter_constraints: dict = {
        **BaseCLIPEstimator._parameter_constraints,
        "class_names": ["array-like", None],
        "threshold": [StrOptions({"f1"}), Interval(Real, 0, 1, closed="both"), "array-like"],
    }

    _without_prior = "tags come from the labelled photos alone"

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = GENERAL_TEMPLATES,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        threshold: Literal["f1"] | float | ArrayLike = "f1",
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.threshold = threshold

    @validated
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn the tags from labelled photos.

        Parameters
        ----------
        X : sequence of images of length n, or array-like of shape (n, d)
            The photos: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (n, C)
            1 where a photo has the tag, 0 where it has not, and NaN where that is not known.
            `sklearn.preprocessing.MultiLabelBinarizer` makes it from lists of tags.

        sample_weight : array-like of shape (n,), default=None
            Non-negative weight of each photo. Photos of weight 0 are not encoded.

        groups : array-like of shape (n,), default=None
            Group of each photo, for example the video that a frame is from. Photos of a group are
            held out together.

        Returns
        -------
        self : FewShotTagger
            The fitted tagger.

        Raises
        ------
        {fit_raises}
        """
        targets, tags = _check_targets(y, self.class_names)
        given = check_shots(self, X, targets, sample_weight, groups)
        text = check_text(self.text_features)
        if text is not None and len(text) != len(tags):
            raise ValueError(f"text_features has {len(text)} rows for {len(tags)} columns of y.")
        if text is None and self.encoder is not None and tags.dtype.kind not in "UO":
            raise ValueError(
                "the names of the tags are not known: pass class_names in the order of the columns of y, or y as a "
                "DataFrame with the names as columns."
            )
        classes = Classes(tags, tags.tolist(), None)
        thresholds = self._given_thresholds(len(tags))
        return self._learn_from(given.of_weight(), classes, text, thresholds=thresholds)

    def _learn(self, shots: Shots, task: Task, *, thresholds: NDArray | None) -> dict[str, Any]:
        from sktip._maths.tags import fit_tags

        features = unit_norm(shots.features[:, 0])
        with threads_for(features.size * len(task.classes)):
            model = fit_tags(
                features,
                shots.codes,
                np.ones(len(features)) if shots.weights is None else shots.weights,
                groups=shots.groups,
                text=task.text_features,
            )
        return {
            "classes_": np.tile([0, 1], (len(task.classes), 1)),
            "tags_": task.classes,
            "coef_": model.coef.astype(features.dtype),
            "intercept_": model.intercept.astype(features.dtype),
            "thresholds_": model.thresholds if thresholds is None else thresholds,
            "text_weight_": model.text_weight,
        }

    def decision_function(self, X: Any) -> NDArray:
        """Compute the logits of the tags.

        Parameters
        ----------
        {queries}

        Returns
        -------
        logits : ndarray of shape (n, C)
            Columns follow `tags_`.
        """
        return self._of_logits(X, lambda logits: logits)

    def predict_proba(self, X: Any) -> NDArray:
        """Predict the probability of each tag; those of different tags are independent.

        Parameters
        ----------
        {queries}

        Returns
        -------
        probabilities : ndarray of shape (n, C), float64
            Columns follow `tags_`.
        """
        return self._of_logits(X, lambda logits: expit(logits.astype(np.float64)))

    def predict(self, X: Any) -> NDArray:
        """Predict the tags: those whose probability is at least `thresholds_`.

        Parameters
        ----------
        {queries}

        Returns
        -------
        tags : ndarray of shape (n, C), int
            1 where a photo has the tag. Columns follow `tags_`.
        """
        return (self.predict_proba(X) >= self.thresholds_).astype(int)

    def _given_thresholds(self, n_tags: int) -> NDArray | None:
        if isinstance(self.threshold, str):
            return None
        given = np.asarray(self.threshold)
        is_numeric = given.dtype.kind in "fiu" and given.shape in ((), (n_tags,))
        if not is_numeric or not ((given >= 0) & (given <= 1)).all():
            raise ValueError(
                f"threshold={self.threshold!r} must be 'f1', or a number from 0 to 1 for all of the {n_tags} "
                "tags or for each of them."
            )
        return np.broadcast_to(given.astype(np.float64), n_tags).copy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        tags.target_tags.single_output = False
        return tags


def _check_targets(y: Any, names: Any) -> tuple[NDArray[np.float64], NDArray]:
    """Return the indicator matrix, (n, C), with NaN for unknown entries, and the tags."""
    if y is None:
        raise ValueError("FewShotTagger requires y to be passed, but the target y is None.")
    if isinstance(y, list) and any(
        isinstance(row, list | tuple | set) and any(isinstance(tag, str) for tag in row)
        for row in y
    ):
        raise ValueError(
            "y holds lists of tags; pass an indicator matrix, (n, C): "
            "MultiLabelBinarizer().fit_transform(tags) of scikit-learn makes it."
        )
    if np.asarray(y).ndim == 1:
        raise ValueError(
            "y has one label per photo; pass an indicator matrix, (n, C), or use FewShotClassifier."
        )
    tags = _check_names(names, list(y.columns) if hasattr(y, "columns") else None)
    targets = check_array(
        y, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y", ensure_2d=True
    )
    odd = targets[~(np.isnan(targets) | (targets == 0) | (targets == 1))]
    if len(odd):
        raise ValueError(f"y holds {odd[0]:g}; pass 1 for a tag, 0 for none, NaN for not known.")
    if not (targets == 0).any() or not (targets == 1).any():
        raise ValueError(
            "y holds one class, but needs some 1 and some 0: photos that have a tag, and photos that are known not to "
            "have one."
        )
    if tags is None:
        tags = np.arange(targets.shape[1])
    if len(tags) != targets.shape[1]:
        raise ValueError(
            f"class_names has {len(tags)} names for {targets.shape[1]} columns of y; pass one per column."
        )
    return targets, tags


def _check_names(names: Any, columns: list[Any] | None) -> NDArray | None:
    """Return the tags: their names, or else the columns of y. None if they have neither."""
    given = columns if names is None else list(names)
    if given is None:
        return None
    what = "y has the column" if names is None else "class_names has the name"
    tags = check_labels(given, "the columns of y" if names is None else "class_names")
    forms = list(map(composed, tags.tolist()))
    twice = [name for name, n in Counter(forms).items() if n > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} more than once; give each tag its own name.")
    for name, column in zip(forms, map(composed, map(plain, columns or [])), strict=False):
        if name != column and column in forms:
            raise ValueError(
                f"class_names has {name!r} for the column {column!r} of y, which is another of the names. Pass "
                "y[class_names], or leave out class_names."
            )
    return tags
