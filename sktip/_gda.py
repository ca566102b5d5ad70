"""Gaussian discriminant analysis with CLIP's text prior."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPClassifier, LinearPredictionMixin, Shots, Task
from sktip._docs import with_shared_docs
from sktip._explanation import ExplanationMixin
from sktip._maths.discriminants import KAPPA, SPREAD_OF_TEXT
from sktip._maths.folds import MAX_FOLDS, class_balanced_weights, scored_folds
from sktip._maths.log_loss import most_probable_weights
from sktip._maths.statistics import Statistics
from sktip._maths.unit import unit_norm
from sktip._utils.estimators import validated

#: Prior of alpha: the ratio of the spread of the discriminants over the wrong classes to that of the text
#: logits, with many shots. It is smaller with few.
SPREAD_WITH_MANY_SHOTS = 0.3


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
        encoder: BaseEstimator | str | None = None,
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
        shots = shots._replace(features=unit_norm(shots.features))
        statistics = Statistics.of_views(
            shots.features, shots.codes, shots.weights, len(task.classes)
        )
        auto = self.alpha == "auto"
        if task.places is not None:
            statistics = self._joined(task.places, statistics)
            if auto:
                shots = shots.after(self._earlier_shots(self.n_views), task.places)
        coef, intercept = discriminants(statistics)
        alpha = float(
            most_probable_alpha(statistics, shots, task.text_features, task.logit_scale)
            if auto
            else self.alpha
        )
        coef *= alpha
        if task.text_features is not None:
            coef += task.logit_scale * task.text_features
        dtype = shots.features.dtype
        return {
            "alpha_": alpha,
            "class_counts_": statistics.counts,
            "means_": statistics.means,
            "scatter_": statistics.scatter,
            "coef_": coef.astype(dtype),
            "intercept_": (alpha * intercept).astype(dtype),
            **(shots.attributes() if auto else dict.fromkeys(shots.attributes())),
        }

    def _joined(self, places: NDArray[np.intp], new: Statistics) -> Statistics:
        """Statistics of the earlier samples, whose classes have the codes `places` now, and of new ones."""
        sums = self.class_counts_[:, np.newaxis] * self.means_
        counts, all_sums = new.counts.copy(), new.sums.copy()
        counts[places] += self.class_counts_
        all_sums[places] += sums
        return Statistics(counts, all_sums, new.moment + self.scatter_ + sums.T @ self.means_)

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


def discriminants(statistics: Statistics) -> tuple[NDArray, NDArray]:
    """Weights (C, d) and intercepts (C,) of ``f P mu_c - mu_c P mu_c / 2 - log C``.

    The mean of a class without samples is that of the other class means.
    """
    means, present = statistics.means, statistics.counts > 0
    means[~present] = means[present].mean(axis=0)
    weights = times_precision(statistics, means)
    return weights, -np.log(len(means)) - (means * weights).sum(axis=1) / 2


def times_precision(statistics: Statistics, rows: NDArray) -> NDArray:
    """Rows (n, d) times the precision ``P = d inv((N - 1) Sigma + trace(Sigma) I)``.

    P is the identity if no class has two samples that differ by more than rounding.
    """
    n, scatter = statistics.counts.sum(), statistics.scatter
    variance = np.trace(scatter) / n
    if variance < 1e-12:
        return rows
    shrunken = max(n - 1, 0) / n * scatter
    shrunken[np.diag_indices_from(shrunken)] += variance
    return len(scatter) * cho_solve(cho_factor(shrunken, lower=True), rows.T).T


def most_probable_alpha(
    statistics: Statistics, shots: Shots, text: NDArray | None, logit_scale: float
) -> float:
    """Weight of the discriminants relative to the text logits, chosen on held-out shots.

    Features of the shots are unit rows, (m, n_views, d), and `statistics` are those of the views of all of them.
    """
    views, codes = shots.features, shots.codes
    (m, n_views, width), n_classes = views.shape, len(statistics.counts)
    weights = np.ones(m) if shots.weights is None else shots.weights
    folds = scored_folds(
        unit_norm(views.mean(axis=1)), codes, weights, shots.groups, max_folds=MAX_FOLDS
    )
    coef = None if text is None else logit_scale * text.astype(np.float64)

    def believed(part: Statistics, scores: tuple[NDArray, NDArray]) -> float:
        # The usual logit scale of CLIP is 100.
        usual = SPREAD_OF_TEXT * logit_scale / 100 if coef is None else _spread(part, coef)
        per_class = part.counts.sum() / n_views / np.count_nonzero(part.counts)
        share = per_class / (per_class + KAPPA)
        return float(SPREAD_WITH_MANY_SHOTS * share * usual / _spread(part, *scores))

    votes = np.empty((m, n_views, n_classes))
    for fold in range(folds.max() + 1):
        out = folds == fold
        rest = statistics.without(
            Statistics.of_views(views[out], codes[out], weights[out], n_classes)
        )
        scores = discriminants(rest)
        votes[out] = believed(rest, scores) * (views[out] @ scores[0].T + scores[1])
    alpha, scored = believed(statistics, discriminants(statistics)), folds >= 0
    if not scored.any():
        return alpha
    targets = codes[scored].repeat(n_views)
    even = class_balanced_weights(codes[scored], weights[scored]).repeat(n_views) / n_views
    parts = [votes[scored].reshape(len(targets), n_classes)]
    if coef is not None:
        parts.append(views[scored].reshape(len(targets), width) @ coef.T)
    found, _ = most_probable_weights(parts, targets, even)
    return float(alpha * found[0] / (1.0 if coef is None else found[1]))


def _spread(statistics: Statistics, coef: NDArray, intercept: NDArray | float = 0.0) -> float:
    """Deviation of logits over the wrong classes, root mean square over the class means.

    The right class is included with two classes, where only the difference matters. 1 if logits are equal.
    """
    present = np.flatnonzero(statistics.counts)
    logits = statistics.means[present] @ coef.T + intercept
    if len(coef) > 2:
        wrong = present[:, None] != np.arange(len(coef))
        logits = logits[wrong].reshape(len(present), -1)
    return float(np.sqrt(logits.var(axis=1).mean())) or 1.0


def contributions(
    queries: NDArray,
    targets: NDArray,
    shots: NDArray,
    codes: NDArray,
    weights: NDArray | None,
    *,
    n_classes: int,
) -> NDArray:
    """Contribution of each shot to the discriminant of one class for each query: (n, m).

    They add up to the discriminant, except for a term that is the same for all classes of a query.
    P and the centre of the class means are held fixed, and means are taken relative to the centre. Queries are
    (n, d) with one class code each, (n,); shots are (m, n_views, d), their codes and weights (m,).
    """
    statistics = Statistics.of_views(shots, codes, weights, n_classes)
    means, present = statistics.means, statistics.counts > 0
    centre = means[present].mean(axis=0)
    sharp_means = times_precision(statistics, means - centre)
    placed = shots.mean(axis=1, dtype=np.float64) - centre
    result: NDArray = times_precision(statistics, queries - centre) @ placed.T
    result -= np.einsum("ij,ij->i", sharp_means[codes], placed) / 2
    result *= targets[:, None] == codes
    result *= shots.shape[1] * (1 if weights is None else weights) / statistics.counts[codes]
    return result
