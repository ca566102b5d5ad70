"""Gaussian discriminant analysis with CLIP's text prior."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPClassifier, LinearPredictionMixin, Shots, Task
from sktip._docs import with_shared_docs
from sktip._explanation import ExplanationMixin
from sktip._maths.unit import unit_norm
from sktip._utils.estimators import validated


@with_shared_docs
class GDAClassifier(ExplanationMixin, LinearPredictionMixin, BaseCLIPClassifier):
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
    {encoder}

    {names}

    {features}

    alpha : "auto" or float, default="auto"
        Weight of the discriminants relative to the text prior. ``"auto"`` chooses it on held-out
        shots, see Notes.

    {logit_scale}

    n_views : int, default=1
        Number of random views of each training image. Each view is a sample. Only for images;
        queries are never augmented.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views.

    Attributes
    ----------
    {classes_}

    alpha_ : float
        Weight of the discriminants.

    {linear_}

    class_counts_ : ndarray of shape (C,)
        Number of samples of each class, or the sum of their weights.

    means_ : ndarray of shape (C, d)
        Class means. Zeros for a class without shots.

    scatter_ : ndarray of shape (d, d)
        Within-class scatter :math:`N \Sigma`: sum of the outer products of the differences between
        samples and their class mean.

    covariance_ : ndarray of shape (d, d)
        Within-class covariance :math:`\Sigma`, the scatter divided by the number of samples.

    {shots_}

    {text_}

    {fitted_}

    See Also
    --------
    FewShotClassifier : The recommended classifier.
    ProKeRClassifier : Kernel ridge regression, for fewer shots.

    Notes
    -----
    The cost of a prediction, one matrix product, does not depend on the number of shots.

    All classes have the same prior probability, whatever the number of their shots. There is no
    `class_weight`: it would only change the covariance.

    The mean of a class without shots is that of the other class means, so its text decides. If no class
    has two different samples, there is no covariance, and P is the identity.

    ``alpha="auto"`` is chosen as in :class:`FewShotClassifier`: about 500 shots are held out in folds, with
    equal weight for every class, and the weights of text and discriminants minimise their log-loss plus a
    prior belief. alpha is the ratio of the two weights. The belief grows with the number of shots per
    class. If too few shots can be held out, as with one shot per class, alpha follows from the belief
    alone. Without a text prior, alpha changes no prediction, only its confidence.

    The weight of the text is only used to choose alpha. For calibrated probabilities, use
    :class:`sklearn.calibration.CalibratedClassifierCV`.

    References
    ----------
    .. [1] Zhengbo Wang et al., "A hard-to-beat baseline for training-free CLIP-based adaptation",
       ICLR 2024.

    Examples
    --------
    >>> from sktip import GDAClassifier
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = GDAClassifier("tiny", templates="the digit {}")
    >>> clf.fit(photos[:60], labels[:60]).predict(photos[62:65]).tolist()
    ['three', 'three', 'four']
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
    shot_codes_: NDArray | None

    _without_prior = "predictions come from the shots alone"

    def __init__(
        self,
        encoder: Any = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        alpha: Literal["auto"] | float = "auto",
        logit_scale: float | None = None,
        n_views: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.alpha = alpha
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.random_state = random_state

    @validated
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
        {shots}

        {sample_weight}

        {groups}

        Returns
        -------
        self : GDAClassifier
            The fitted classifier.

        Raises
        ------
        {fit_raises}
        """
        return self._fit(X, y, sample_weight, groups)

    @validated
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
        {more_shots}

        {new_weight}

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
        reset = not self.__sklearn_is_fitted__()
        return self._fit(X, y, sample_weight, groups, classes=classes, reset=reset)

    @property
    def covariance_(self) -> NDArray:
        """Within-class covariance of the samples, (d, d)."""
        return self.scatter_ / self.class_counts_.sum()

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        from sktip._maths.gda import fit_discriminants, joined_statistics
        from sktip._maths.statistics import Statistics

        shots = shots._replace(features=unit_norm(shots.features))
        statistics = Statistics.of_views(
            shots.features, shots.codes, shots.weights, len(task.classes)
        )
        auto = self.alpha == "auto"
        if task.places is not None:
            earlier = self.class_counts_, self.means_, self.scatter_
            statistics = joined_statistics(*earlier, task.places, statistics)
            if auto:
                shots = shots.after(self._earlier_shots(self.n_views), task.places)
        fitted = fit_discriminants(
            statistics,
            shots,
            alpha=None if auto else float(self.alpha),
            text=task.text_features,
            logit_scale=task.logit_scale,
        )
        dtype = shots.features.dtype
        return {
            "alpha_": fitted.alpha,
            "class_counts_": statistics.counts,
            "means_": statistics.means,
            "scatter_": statistics.scatter,
            "coef_": fitted.coef.astype(dtype),
            "intercept_": fitted.intercept.astype(dtype),
            **(shots.attributes() if auto else dict.fromkeys(shots.attributes())),
        }

    def _earlier_shots(self, n_views: int) -> Shots:
        """Return the kept shots, on which alpha is chosen again."""
        if self.shot_codes_ is None:
            raise ValueError(
                "alpha='auto' needs the earlier shots, but they were not kept because alpha was a number; "
                "call fit with all shots, or set alpha to a number."
            )
        kept = Shots.kept_by(self)
        if kept.features.shape[1] != n_views:
            raise ValueError(
                f"n_views={n_views}, but earlier shots have {kept.features.shape[1]} views; set n_views "
                "back, or call fit with all shots."
            )
        return kept

    def _parts(self, queries: NDArray, logits: NDArray) -> dict[str, NDArray]:
        text = self._text_part(queries, self.logit_scale_)
        return {"text": text, "means": logits - text}

    def _shots_part(self, queries: NDArray, targets: NDArray) -> tuple[NDArray, NDArray] | None:
        if self.shot_codes_ is None:
            return None
        from sktip._maths.gda import contributions

        kept = Shots.kept_by(self)
        shares = contributions(
            queries,
            targets,
            kept.features,
            kept.codes,
            kept.weights,
            n_classes=len(self.classes_),
        )
        return self.alpha_ * shares, kept.codes
