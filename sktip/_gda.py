"""Gaussian discriminant analysis beside CLIP's text prior."""

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
from sktip._utils.labels import check_groups, codes_of, numbered
from sktip._utils.magnitudes import check_finite
from sktip._utils.prediction import LinearPredictionMixin


class GDAClassifier(ExplanationMixin, LinearPredictionMixin, KeptShotsMixin, BaseCLIPClassifier):
    r"""Few-shot classification by Gaussian class densities beside CLIP's text prior.

    The shots of each class are taken as a Gaussian about the class mean, with one covariance for
    all; no training. A query f gets the logits ([1]_, equations 4 to 6)

    .. math::
        s f W^\top + \alpha (f P \mu^\top + b), \quad b_c = -\ln C - \mu_c P \mu_c^\top / 2 \\
        P = d \left((N - 1) \Sigma + \mathrm{tr}(\Sigma) I\right)^{-1}

    where s is CLIP's logit scale, W the text features, :math:`\mu` the class means and
    :math:`\Sigma` the covariance of the N samples about them.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    encoder : CLIPFeatureTransformer, default=None
        Encodes images and class names. None makes X a feature matrix.

    input : {"image", "features"}, default="image"
        What X is when there is an `encoder`: images, or features that it has made. With
        features, the encoder is used in `fit` only, for the text and the logit scale.

    text_features : array-like of shape (C, d), default=None
        Text features of the classes, instead of an encoder's; normalised here. Rows follow the
        classes. Without `class_names`, integer labels index the rows and every row is a class.

    class_names : mapping or sequence of str, default=None
        What the classes are called. None: the labels are the names. A mapping goes from label to
        name; its keys are classes, with images or without. A sequence is indexed by integer
        labels, and every index is a class; labels of another type take it in sorted order.

    templates : str, sequence of str, or mapping, default="a photo of a {}."
        Sentences that the names are put into; several are averaged. A mapping goes from label to
        the templates of that class.

    alpha : "auto" or float, default="auto"
        Weight of the discriminants beside CLIP's prior. ``"auto"`` is chosen on held-out shots,
        see Notes.

    logit_scale : float, default=None
        Scale s of CLIP's logits. None is the model's own, or 100 without an encoder.

    n_views : int, default=1
        Random views of each training image, each of which is a sample. Images only. Queries are
        never augmented.

    random_state : int, RandomState instance or None, default=None
        Seed of the views.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The classes, sorted.

    alpha_ : float
        The weight in use.

    coef_ : ndarray of shape (C, d)
        Weights of the logits, text prior included: they are ``f @ coef_.T + intercept_``.

    intercept_ : ndarray of shape (C,)
        Intercepts of the logits.

    class_counts_ : ndarray of shape (C,)
        Samples of each class, or the sum of their weights.

    means_ : ndarray of shape (C, d)
        Class means; zeros for a class without shots.

    scatter_ : ndarray of shape (d, d)
        Sum of the outer products of the samples' differences from their class means:
        :math:`N \Sigma`.

    shots_ : ndarray of shape (m, n_views, d) or None
        The shots, kept with ``alpha="auto"`` and a text prior, so that `partial_fit` can choose
        again and `explain` can trace logits to them; else None.

    shot_codes_ : ndarray of shape (m,), int, or None
        Index into `classes_` of each of them.

    shot_weights_ : ndarray of shape (m,) or None
        Weight of each of them, None if all weigh the same.

    shot_groups_ : ndarray of shape (m,) or None
        Group of each of them, None if there are none.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes, None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    n_features_in_ : int
        Width of X. Only when X is features.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only when X is a table of features with string column names.

    encoder_probe_ : ndarray of shape (d,) or None
        What the encoder made of a fixed picture, by which another model is noticed. None if no
        encoder was used.

    fitted_with_ : dict
        Versions of sktip, of its file format and of the libraries below it, and the encoder's
        model, at the time of `fit`.

    See Also
    --------
    ProKeRClassifier : The other strong relative without training.
    TipAdapterClassifier : The cache model.

    Notes
    -----
    Predictions cost one matrix product, however many shots there are.

    All classes have the same prior, however many shots each has. There is no `class_weight`, which
    would move the covariance only.

    A class without shots gets the mean discriminant of the others, so that its text decides.
    Where no class has two different samples, there is no covariance and P is the identity.

    ``alpha="auto"`` is the most probable weight, of least

    .. math:: N \, \ell(\alpha, t) + \ln^2 (\alpha / \alpha_0) / 2 + \ln^2 t / 2

    over alpha and t, where :math:`\ell` is the mean log-loss of t times the logits of N held-out
    shots, every class counting the same. Without the temperature t, a text prior that is too confident
    of its errors would hold alpha down. The other terms are beliefs within a factor of e. At
    :math:`\alpha_0` the discriminants of wrong classes spread as widely as their text logits do with
    six shots per class and more, and in proportion to the shots with fewer; times
    :math:`\max(1, (3 / \sigma)^2)` if the text deserves less trust: :math:`\sigma` is how widely its
    logits spread at the temperature at which it tells the shots, which it has not seen, best, and
    what calibrated logits know grows with the square. In detail:

    - The shots of each class are dealt into at most 4 folds, the classes into at most 4 groups.
      A held-out shot is a query among the classes of its group, with means of the other
      folds and a covariance that has not seen it. With two shots per class the folds leave no
      covariance, and means whose own shots shaped it look nearer than they are: hence the groups.
    - A shot short counts: the weight found is multiplied by the ratio of :math:`\alpha_0` with all
      shots to that with those left.
    - Where no shot can be held out, as with one shot per class, the weight is :math:`\alpha_0`.
    - Without a text prior alpha changes no prediction, only their confidence. The discriminants
      then spread as CLIP's text logits mostly do, by 3 % of the logit scale.

    t is not kept: logits stay on the scale of CLIP's. For probabilities to rely on, calibrate them
    with :class:`sklearn.calibration.CalibratedClassifierCV`.

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
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
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
        """Estimate class means and covariance, and choose alpha if asked to.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Their labels. Classes may have any number of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot: a weight of 2 is the shot given twice. For the
            choice of alpha it is one held-out shot that counts twice. A shot of weight 0 is no shot:
            it is neither encoded nor kept, and makes no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, such as the video that it is a frame of: to choose alpha, shots of a
            group are held out together.

        Returns
        -------
        self : GDAClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y and the parameters do not fit together; nothing is encoded then.

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
        """Add shots, and new classes: the result is that of `fit` with all shots.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            More shots.

        y : array-like of shape (m,)
            Their labels, of known classes or new ones.

        classes : array-like of shape (n,), default=None
            Classes to know about even if `y` does not have them.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each new shot; one of weight 0 is no shot.

        groups : array-like of shape (m,), default=None
            Group of each new shot, where the earlier ones have groups.

        Returns
        -------
        self : GDAClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If alpha was a number before and is ``"auto"`` now: the shots were not kept. Or if the
            labels are not of the kind known.
        """
        first = not hasattr(self, "classes_")
        X, labels = self._start_fit(X, y, self.n_views, reset=first)
        groups = check_groups(groups, len(X))
        counting = self._shots_that_count(X, labels, sample_weight)
        moved = self._learn_more_classes(counting[1], classes)
        self._add_shots(counting, groups, moved)
        return self

    def _add_shots(self, counting: tuple, groups: NDArray | None, moved: NDArray) -> None:
        """Add shots to the statistics, whose classes are those of `moved` now; choose alpha."""
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
        for name in ("coef_", "intercept_"):
            check_finite(name, getattr(self, name), **self._magnitudes())

    def _keep_shots(self, new: tuple, moved: NDArray) -> None:
        """Keep what alpha is chosen by, where it is chosen."""
        shots = new[0]
        if self.alpha != "auto" or self.text_features_ is None:
            self.shots_ = self.shot_codes_ = self.shot_weights_ = self.shot_groups_ = None
            return
        if hasattr(self, "means_"):
            if self.shots_ is None:
                raise ValueError(
                    "alpha='auto' needs the earlier shots, which were not kept because alpha was a number; "
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
        from sktip._maths.selection.discriminant import chosen_weight, weight_without_text

        if self.text_features_ is None:
            return weight_without_text(statistics, self.logit_scale_).alpha
        return chosen_weight(
            statistics,
            self.shots_,
            self.shot_codes_,
            self.shot_weights_,
            groups=numbered(self.shot_groups_),
            text=self.text_features_,
            logit_scale=self.logit_scale_,
        ).alpha

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

    def _magnitudes(self) -> dict[str, float]:
        return {**super()._magnitudes(), "alpha": self.alpha_}
