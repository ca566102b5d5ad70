"""Gaussian discriminant analysis with CLIP's text prior."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPClassifier
from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.unit import unit_norm
from sktip._shots.kept import KeptShotsMixin
from sktip._utils.explanation import ExplanationMixin
from sktip._utils.fitting import extends_fit, fits
from sktip._utils.labels import check_groups, codes_of
from sktip._utils.prediction import LinearPredictionMixin


class GDAClassifier(ExplanationMixin, LinearPredictionMixin, KeptShotsMixin, BaseCLIPClassifier):
    r"""Gaussian discriminant analysis with CLIP's text prior, for many shots that arrive over time.

    Each class is modelled as a Gaussian around the mean of its shots, with one covariance for all
    classes. Nothing is trained. A query f gets the logits ([1]_, equations 4 to 6)

    .. math::
        s f W^\top + \alpha (f P \mu^\top + b), \quad b_c = -\ln C - \mu_c P \mu_c^\top / 2 \\
        P = d \left((N - 1) \Sigma + \mathrm{tr}(\Sigma) I\right)^{-1}

    where s is CLIP's logit scale, W the text features, :math:`\mu` the class means and
    :math:`\Sigma` the covariance of the N samples about them.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer, default=None
        Encoder of the images and the class names. If None, X is a feature matrix.

    input : {"image", "features"}, default="image"
        Whether X holds images or features of the `encoder`; not used without an `encoder`. With
        features, the encoder is only used in `fit`, for the text features and the logit scale.

    text_features : array-like of shape (C, d), default=None
        Text features to use instead of the encoder's; `fit` normalises them. Rows follow the
        classes, or the names if `class_names` is a sequence. Without `class_names`, integer labels
        index the rows, and every row is a class.

    class_names : mapping or sequence of str, default=None
        Names of the classes. If None, the labels are the names. A mapping gives a name to each
        label; a label in it is a class even without images. A sequence is indexed by integer
        labels, and every index is a class. If it contains all labels, it is matched by value, and
        every name is a class. Otherwise it follows the sorted labels.

    templates : str, sequence of str, or mapping, default="a photo of a {}."
        Prompt templates, with ``{}`` for the class name. The features of several templates are
        averaged. A mapping gives each label its own templates.

    alpha : "auto" or float, default="auto"
        Weight of the discriminants relative to the text prior. ``"auto"`` chooses it on held-out
        shots, see Notes.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Number of random views of each training image. Each view is a sample. Only for images;
        queries are never augmented.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    alpha_ : float
        Weight of the discriminants.

    coef_ : ndarray of shape (C, d)
        Weights of the logits ``f @ coef_.T + intercept_``, including the text prior.

    intercept_ : ndarray of shape (C,)
        Intercepts of the logits.

    class_counts_ : ndarray of shape (C,)
        Number of samples of each class, or the sum of their weights.

    means_ : ndarray of shape (C, d)
        Class means. Zeros for a class without shots.

    scatter_ : ndarray of shape (d, d)
        Within-class scatter :math:`N \Sigma`: sum of the outer products of the differences between
        samples and their class mean.

    shots_ : ndarray of shape (m, n_views, d) or None
        The shots. Only kept with ``alpha="auto"`` and a text prior, for `partial_fit`, which chooses
        alpha again, and for `explain`; else None.

    shot_codes_ : ndarray of shape (m,), int, or None
        Class of each shot, as an index into `classes_`.

    shot_weights_ : ndarray of shape (m,) or None
        Weight of each shot. None if the shots are not weighted.

    shot_groups_ : ndarray of shape (m,) or None
        Group of each shot. None without groups.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    n_features_in_ : int
        Number of columns of X. Only if X is a feature matrix.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only if X is a table of features with string column names.

    encoder_probe_ : ndarray of shape (d,) or None
        The encoder's feature of a fixed image. It is compared later, to detect an encoder with
        another model. None if no encoder was used.

    fitted_with_ : dict
        Versions of sktip, its file format and its dependencies, and the encoder's model, at the
        time of `fit`.

    See Also
    --------
    FewShotClassifier : The recommended classifier.
    ProKeRClassifier : Kernel ridge regression, for fewer shots.

    Notes
    -----
    The cost of a prediction, one matrix product, does not depend on the number of shots.

    All classes have the same prior probability, whatever the number of their shots. There is no
    `class_weight`: it would only change the covariance.

    A class without shots gets the mean discriminant of the other classes, so its text decides. If no
    class has two different samples, there is no covariance, and P is the identity.

    ``alpha="auto"`` is chosen on held-out shots. The shots of each class are divided into at most 4
    folds, and about 500 shots are held out, fold by fold; copies of a shot share a fold. The most
    probable weight minimises

    .. math:: N \, \ell(\alpha, t) + \ln^2 (\alpha / \alpha_0) / 2 + \ln^2 t / 2

    over alpha and t, where :math:`\ell` is the mean log-loss of N held-out shots with logits
    multiplied by t, and with equal weight for every class. Without t, an overconfident text prior would
    lead to a small alpha. The other two terms are prior beliefs with a standard deviation of a factor
    of e. With six or more shots per class, the discriminants of the wrong classes are as spread at
    :math:`\alpha_0` as their text logits; with fewer shots, less in proportion.
    :math:`\alpha_0` is multiplied by :math:`\max(1, (3 / \sigma)^2)` if the text is unreliable.
    :math:`\sigma` is the spread of the text logits at the temperature that fits the shots best; the
    information in calibrated logits grows with its square.

    Few shots beside strong text may do harm. So alpha is two standard deviations below the most probable
    weight, in the logarithm: :math:`2 / \sqrt{h}`, where h is the second derivative of the cost. With
    hundreds of held-out shots this hardly matters. If no shot can be held out, as with one shot per
    class, alpha is :math:`\alpha_0`. Without a text prior, alpha changes no prediction, only its
    confidence. The discriminants are then scaled to a spread of 3 % of the logit scale, the usual spread
    of CLIP's text logits.

    t is only used to choose alpha. For calibrated probabilities, use
    :class:`sklearn.calibration.CalibratedClassifierCV`.

    References
    ----------
    .. [1] Zhengbo Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation",
       ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import GDAClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 4
    >>> X = np.eye(4, 8)[y] + 0.4 * rng.normal(size=(40, 8))
    >>> clf = GDAClassifier(text_features=np.eye(4, 8), logit_scale=5).fit(X, y)
    >>> clf.alpha_ > 0
    True
    >>> clf.predict(np.eye(4, 8))
    array([0, 1, 2, 3])
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, 1e6, closed="both")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    class_counts_: NDArray
    means_: NDArray
    scatter_: NDArray

    _without_prior = "predictions come from the shots alone"

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        alpha: str | float = "auto",
        logit_scale: float | None = None,
        n_views: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.encoder = encoder
        self.input = input
        self.text_features = text_features
        self.class_names = class_names
        self.templates = templates
        self.alpha = alpha
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.random_state = random_state

    @fits
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Estimate the class means and the covariance, and choose alpha if it is ``"auto"``.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Labels of the shots. Classes may have different numbers of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot. A weight of 2 counts a shot twice; its copies are held
            out together. Shots of weight 0 are ignored: they are not encoded, and add no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, for example the video that a frame is from. Shots of a group are
            held out together to choose alpha.

        Returns
        -------
        self : GDAClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. Nothing has been encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        X, labels = self._start_fit(X, y, self.n_views)
        groups = check_groups(groups, len(X))
        counting = self._shots_that_count(X, labels, sample_weight)
        self._learn_classes(np.unique(counting[1]))
        self._add_shots(counting, groups, np.empty(0, np.intp))
        return self

    @extends_fit
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Add shots, also of new classes. The result is that of `fit` with all shots.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            More shots.

        y : array-like of shape (m,)
            Labels of the shots, of known or new classes.

        classes : array-like of shape (n,), default=None
            Further classes, which need not occur in `y`.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each new shot. Shots of weight 0 are ignored.

        groups : array-like of shape (m,), default=None
            Group of each new shot, if the earlier shots have groups.

        Returns
        -------
        self : GDAClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If alpha was a number before and is ``"auto"`` now, since the earlier shots were not
            kept; or if the labels are of another kind than the known ones.
        """
        first = not hasattr(self, "classes_")
        X, labels = self._start_fit(X, y, self.n_views, reset=first)
        groups = check_groups(groups, len(X))
        counting = self._shots_that_count(X, labels, sample_weight)
        moved = self._learn_more_classes(counting[1], classes)
        self._add_shots(counting, groups, moved)
        return self

    def _add_shots(self, counting: tuple, groups: NDArray | None, moved: NDArray) -> None:
        """Add shots to the statistics; `moved` is where earlier classes are now. Choose alpha."""
        from sktip._maths.discriminant import ClassStatistics, views_as_samples

        X, labels, weights, rows = counting
        shots = unit_norm(self._shot_features(X, self.n_views, rows))
        codes, n_classes = codes_of(labels, self.classes_), len(self.classes_)
        samples, sample_codes, sample_weights = views_as_samples(shots, codes, weights)
        statistics = ClassStatistics.of(samples, sample_codes, n_classes, sample_weights)
        if hasattr(self, "means_"):
            statistics = self._statistics().spread_to(n_classes, moved) + statistics
        groups = groups if groups is None or rows is None else groups[rows]
        self._keep_shots((shots, codes, weights, groups), moved)
        self.class_counts_, self.means_ = statistics.counts, statistics.means
        self.scatter_ = statistics.scatter
        scores, intercepts = statistics.discriminants()
        self.alpha_ = self._chosen_alpha(statistics) if self.alpha == "auto" else float(self.alpha)
        coef, intercept = self.alpha_ * scores, self.alpha_ * intercepts
        if self.text_features_ is not None:
            coef += self.logit_scale_ * self.text_features_
        self.coef_ = coef.astype(shots.dtype)
        self.intercept_ = intercept.astype(shots.dtype)

    def _keep_shots(self, new: tuple, moved: NDArray) -> None:
        """Keep the shots if alpha is chosen on them."""
        shots = new[0]
        if self.alpha != "auto" or self.text_features_ is None:
            self.shots_ = self.shot_codes_ = self.shot_weights_ = self.shot_groups_ = None
            return
        if hasattr(self, "means_"):
            if self.shots_ is None:
                raise ValueError(
                    "alpha='auto' needs the earlier shots, but they were not kept because alpha was a number; "
                    "call fit with all shots, or set alpha to a number."
                )
            if self.shots_.shape[1] != shots.shape[1]:
                raise ValueError(
                    f"n_views={shots.shape[1]}, but earlier shots have {self.shots_.shape[1]} views; set n_views "
                    "back, or call fit with all shots."
                )
            self.shot_codes_ = moved[self.shot_codes_]
        self._append_shots(*new)

    def _chosen_alpha(self, statistics: Any) -> float:
        """Most probable alpha; see the notes of the class."""
        from sktip._maths.discriminant import chosen_weight, weight_without_text

        if self.text_features_ is None:
            return weight_without_text(statistics, self.logit_scale_)
        return chosen_weight(
            statistics,
            self.shots_,
            self.shot_codes_,
            self.shot_weights_,
            groups=self.shot_groups_,
            text=self.text_features_,
            logit_scale=self.logit_scale_,
        )

    def _statistics(self) -> Any:
        from sktip._maths.discriminant import ClassStatistics

        return ClassStatistics(self.class_counts_, self.means_, self.scatter_)

    def _parts(self, queries: NDArray, logits: NDArray) -> dict[str, NDArray]:
        text = self._text_part(queries, self.logit_scale_)
        return {"text": text, "means": logits - text}

    def _shots_part(self, queries: NDArray, targets: NDArray) -> tuple[NDArray, NDArray] | None:
        if self.shots_ is None:
            return None
        kept = self.shots_, self.shot_codes_, self.shot_weights_
        moved = self._statistics().contributions(queries, targets, *kept)
        return self.alpha_ * moved, self.shot_codes_
