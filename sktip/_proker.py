"""ProKeR: kernel ridge regression on the residuals of CLIP's text prior."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._explanation import ExplanationMixin
from sktip._input import GivenShots
from sktip._maths.head import Head
from sktip._maths.unit import unit_norm
from sktip._utils.estimators import validated
from sktip._utils.labels import class_weighted


@with_shared_docs
class ProKeRClassifier(ExplanationMixin, BaseCLIPClassifier):
    r"""Kernel ridge regression with CLIP's text prior, for eight or more shots per class.

    A regression with the kernel of Tip-Adapter's cache learns the errors of the text classifier on the
    shots, in closed form ([1]_, equation 9). A query f gets the logits

    .. math::
        \frac{1}{T} \left(f W^\top + \gamma \, k(f, K) \left(k(K, K) + \lambda I\right)^{-1}
        (L - K W^\top)\right) \\
        k(a, b) = \exp(-\beta (1 - a b^\top))

    where W are the text features, K the features of the shots, L their one-hot labels and T a fitted
    temperature. The published method has :math:`\gamma = \lambda`.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    {encoder}

    {names}

    {features}

    beta : "auto" or float, default="auto"
        Sharpness of the kernel. ``"auto"`` is the published value, see Notes.

    lam : "auto" or float, default="auto"
        Regularisation strength :math:`\lambda`. ``"auto"`` is the published value, see Notes.

    gamma : "auto" or float, default="auto"
        Weight of the correction. ``"auto"`` chooses it on held-out shots, see Notes. The published method
        has the value of `lam`.

    max_shots : int, default=30_000
        Largest number of rows (shots times views); `fit` refuses more. Its time grows with the cube
        of the rows, its memory with their square: 2.1 GB for 16,000 rows and 7.2 GB for 30,000,
        besides the features.

    {class_weight}

    logit_scale : float, default=None
        Scale s of the logits. The temperature is fitted around 1 / s. If None, the model's own, or 100 without an
        encoder.

    n_views : int, default=1
        Number of random views of each training image. Each view is a row. Only for images; queries
        are never augmented.

    {device}

    random_state : int, RandomState instance or None, default=None
        Seed of the random views.

    Attributes
    ----------
    {classes_}

    beta_ : float
        Sharpness of the kernel.

    lam_ : float
        Regularisation strength.

    gamma_ : float
        Weight of the correction.

    temperature_ : float
        Temperature that the logits are divided by, about 1 / s.

    cache_keys_ : ndarray of shape (m * n_views, d)
        Unit features of the views of the shots, shot by shot in the order given to `fit`.

    cache_codes_ : ndarray of shape (m * n_views,), int
        Class of each key, as an index into `classes_`.

    dual_coef_ : ndarray of shape (m * n_views, C)
        Dual coefficients of the regression.

    n_views_ : int
        Number of keys of each shot.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of the logits.

    {fitted_}

    See Also
    --------
    FewShotClassifier : The recommended classifier.
    GDAClassifier : Gaussian discriminant analysis, whose cost is linear in the number of shots.

    Notes
    -----
    By default, beta and lambda have the published values for the mean number of shots per class,
    interpolated in the logarithm of that number:

    ======  ====  ====  ====  ====  ====
    shots      1     2     4     8    16
    ======  ====  ====  ====  ====  ====
    beta       3   2.6   1.5  1.66   1.7
    lambda  0.05  0.05  0.05  0.07   0.1
    ======  ====  ====  ====  ====  ====

    gamma and the temperature are chosen as in :class:`FewShotClassifier`: about 500 shots are held out in
    folds, with equal weight for every class, and the weights of text and correction minimise their log-loss
    plus a prior belief in gamma = lambda and in the usual logit scale. The logits of the held-out shots follow
    in closed form from the Cholesky factor of the regression. If too few shots can be held out, as with one
    shot per class, gamma is lambda, and the temperature is that of the text prior alone.

    The targets of a class without shots are 0 for every shot, as in the formula.

    References
    ----------
    .. [1] Y. Bendou et al., "ProKeR: A kernel perspective on few-shot adaptation of large
       vision-language models", CVPR 2025.

    Examples
    --------
    >>> from sktip import ProKeRClassifier
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = ProKeRClassifier("tiny", templates="the digit {}")
    >>> clf.fit(photos[:60], labels[:60]).predict(photos[62:65]).tolist()
    ['three', 'three', 'four']
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "class_weight": [Mapping, StrOptions({"balanced"}), None],
        "beta": [StrOptions({"auto"}), Interval(Real, 0, 1e6, closed="both")],
        "lam": [StrOptions({"auto"}), Interval(Real, 0, 1e6, closed="right")],
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, 1e6, closed="both")],
        "max_shots": [Interval(Integral, 1, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    n_views_: int

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        beta: Literal["auto"] | float = "auto",
        lam: Literal["auto"] | float = "auto",
        gamma: Literal["auto"] | float = "auto",
        max_shots: int = 30_000,
        class_weight: Mapping | Literal["balanced"] | None = None,
        logit_scale: float | None = None,
        n_views: int = 1,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.beta = beta
        self.lam = lam
        self.gamma = gamma
        self.max_shots = max_shots
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.device = device
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
        """Solve the regression on the shots, and choose gamma and the temperature.

        Parameters
        ----------
        {shots}

        {sample_weight}

        {groups}

        Returns
        -------
        self : ProKeRClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid, or if there are more than `max_shots` rows. Nothing
            has been encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        return self._fit(X, y, sample_weight, groups)

    def _check_method(
        self, given: Any, classes: NDArray, unlabeled: GivenShots | None, *, reset: bool
    ) -> dict[str, Any]:
        n_shots = len(given.targets) if given.weights is None else np.count_nonzero(given.weights)
        rows = n_shots * self.n_views
        if rows > self.max_shots:
            shown = f"{n_shots:,} shots" + (f" of {self.n_views} views" if self.n_views > 1 else "")
            raise ValueError(
                f"{shown} make {rows:,} rows, more than max_shots={self.max_shots:,}. They would need "
                f"{8 * rows**2 / 1e9:.1f} GB of memory, and time that grows with the cube of the rows. Use fewer "
                "shots or views, use GDAClassifier, whose cost is linear, or raise max_shots."
            )
        return {}

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        from sktip._maths.kernel_ridge import fit_ridge

        views = unit_norm(shots.features)
        keys = views.reshape(-1, views.shape[2])
        key_rows, text = self._tensors(keys, task.text_features, views.dtype)
        fitted = fit_ridge(
            key_rows,
            shots.codes,
            text,
            weights=class_weighted(self.class_weight, shots.codes, shots.weights, task.classes),
            groups=shots.groups,
            n_views=self.n_views,
            n_classes=len(task.classes),
            logit_scale=task.logit_scale,
            beta=_given(self.beta),
            lam=_given(self.lam),
            gamma=_given(self.gamma),
        )
        return {
            "cache_keys_": keys,
            "cache_codes_": shots.codes.repeat(self.n_views),
            "n_views_": self.n_views,
            "beta_": fitted.beta,
            "lam_": fitted.lam,
            "gamma_": fitted.gamma,
            "temperature_": fitted.temperature,
            "dual_coef_": fitted.duals.cpu().numpy(),
        }

    def __sktip_head__(self) -> Head:
        from sktip._maths.kernel_ridge import ridge_logits

        return Head(
            ridge_logits,
            {"keys": self.cache_keys_, "duals": self.dual_coef_, "text": self.text_features_},
            {"beta": self.beta_, "gamma": self.gamma_, "temperature": self.temperature_},
            n_columns=len(self.cache_keys_),
            device=self.device,
        )

    def _parts(self, queries: NDArray, logits: NDArray) -> dict[str, NDArray]:
        text = self._text_part(queries, 1 / self.temperature_)
        return {"text": text, "correction": logits - text}

    def _shots_part(self, queries: NDArray, targets: NDArray) -> tuple[NDArray, NDArray]:
        from sktip._maths.cache import affinity
        from sktip._maths.device import as_tensor

        keys, _ = self._tensors(self.cache_keys_, None, queries.dtype)
        similar = affinity(as_tensor(queries, queries.dtype, keys.device), keys, self.beta_)
        votes = self.dual_coef_[:, targets].T * similar.T.cpu().numpy()
        votes *= self.gamma_ / self.temperature_
        of_shots = votes.reshape(len(queries), -1, self.n_views_).sum(axis=2)
        return of_shots, self.cache_codes_[:: self.n_views_]

    def _tensors(self, keys: NDArray, text: NDArray | None, dtype: Any) -> tuple:
        """Keys and text features as tensors, in the type and on the device of the computation."""
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        return as_tensor(keys, dtype, device), None if text is None else as_tensor(
            text, dtype, device
        )


def _given(value: float | str) -> float | None:
    """Value of a parameter; None if it is "auto"."""
    return None if isinstance(value, str) else float(value)
