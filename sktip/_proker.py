"""ProKeR: kernel ridge regression on the residuals of CLIP's text prior."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from sktip._base import BaseCLIPClassifier
from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.unit import unit_norm
from sktip._utils.explanation import ExplanationMixin
from sktip._utils.fitting import fits
from sktip._utils.labels import check_groups, codes_of


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

    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label, which multiplies `sample_weight`. ``"balanced"`` gives all
        classes with shots the same total weight.

    logit_scale : float, default=None
        Scale s of the logits. The temperature is fitted around 1 / s. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Number of random views of each training image. Each view is a row. Only for images; queries
        are never augmented.

    device : str, default=None
        Torch device of the computation. If None, CUDA if available, else the CPU. The encoder has
        its own `device`.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

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
    GDAClassifier : Gaussian discriminant analysis, whose cost is linear in the number of shots.

    Notes
    -----
    By default, beta and lambda have the published values for the mean number of different shots per class,
    interpolated in the logarithm of that number:

    ======  ====  ====  ====  ====  ====
    shots      1     2     4     8    16
    ======  ====  ====  ====  ====  ====
    beta       3   2.6   1.5  1.66   1.7
    lambda  0.05  0.05  0.05  0.07   0.1
    ======  ====  ====  ====  ====  ====

    gamma and the temperature are the most probable ones. With inverse temperature t, they minimise

    .. math:: N \, \ell(\gamma, t) + \frac{\ln^2 (\gamma / \lambda) + \ln^2 (t / s)}{2 \cdot 0.7^2}

    where :math:`\ell` is the mean log-loss of N held-out shots with logits multiplied by t, and with
    equal weight for every class. One shot of every class is held out at a time, with all its views and
    copies, until about 500 shots were held out. Their logits follow in closed form from the Cholesky
    factor of the regression. If no shot can be held out, as with one shot per class, gamma is lambda, and
    the temperature is that of the text prior alone.

    The targets of a class without shots are 0 for every shot, as in the formula.

    References
    ----------
    .. [1] Y. Bendou et al., "ProKeR: A kernel perspective on few-shot adaptation of large
       vision-language models", CVPR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import ProKeRClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 4
    >>> X = np.eye(4, 8)[y] + 0.4 * rng.normal(size=(40, 8))
    >>> clf = ProKeRClassifier(text_features=np.eye(4, 8), logit_scale=5).fit(X, y)
    >>> clf.predict(np.eye(4, 8))
    array([0, 1, 2, 3])
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
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
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        beta: str | float = "auto",
        lam: str | float = "auto",
        gamma: str | float = "auto",
        max_shots: int = 30_000,
        class_weight: Mapping | str | None = None,
        logit_scale: float | None = None,
        n_views: int = 1,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.encoder = encoder
        self.input = input
        self.text_features = text_features
        self.class_names = class_names
        self.templates = templates
        self.beta = beta
        self.lam = lam
        self.gamma = gamma
        self.max_shots = max_shots
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.device = device
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
        """Solve the regression on the shots, and choose gamma and the temperature.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Labels of the shots. Classes may have different numbers of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot's error. A weight of 2 counts a shot twice. Shots of
            weight 0 are ignored: they are not encoded, and add no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, for example the video that a frame is from. Shots of a group are
            held out together.

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
        from sktip._maths.kernel_ridge import fit_ridge

        X, labels = self._start_fit(X, y, self.n_views)
        groups = check_groups(groups, len(X))
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        self._check_size(len(X))
        self._learn_classes(np.unique(labels))
        views = unit_norm(self._shot_features(X, self.n_views, rows))
        codes = codes_of(labels, self.classes_)
        self.cache_keys_ = views.reshape(-1, views.shape[2])
        self.cache_codes_, self.n_views_ = codes.repeat(self.n_views), self.n_views
        keys, text = self._tensors(views.dtype)
        beta, lam, gamma = (
            None if value == "auto" else float(value) for value in (self.beta, self.lam, self.gamma)
        )
        fitted = fit_ridge(
            keys,
            codes,
            text,
            weights=self._class_weighted(codes, weights),
            groups=groups if groups is None or rows is None else groups[rows],
            n_views=self.n_views,
            n_classes=len(self.classes_),
            logit_scale=self.logit_scale_,
            beta=beta,
            lam=lam,
            gamma=gamma,
        )
        self.beta_, self.lam_, self.gamma_ = fitted.beta, fitted.lam, fitted.gamma
        self.temperature_ = fitted.temperature
        self.dual_coef_ = fitted.duals.cpu().numpy()
        return self

    def _check_size(self, n_shots: int) -> None:
        rows = n_shots * self.n_views
        if rows > self.max_shots:
            shown = f"{n_shots:,} shots" + (f" of {self.n_views} views" if self.n_views > 1 else "")
            raise ValueError(
                f"{shown} make {rows:,} rows, more than max_shots={self.max_shots:,}. They would need "
                f"{8 * rows**2 / 1e9:.1f} GB of memory, and time that grows with the cube of the rows. Use fewer "
                "shots or views, use GDAClassifier, whose cost is linear, or raise max_shots."
            )

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray], NDArray]:
        import torch

        from sktip._maths.device import as_tensor
        from sktip._maths.kernel_ridge import ridge_logits

        keys, text = self._tensors(dtype)
        duals = as_tensor(self.dual_coef_, dtype, keys.device)

        def logits_of(features: NDArray) -> NDArray:
            logits = (
                ridge_logits(
                    torch.as_tensor(features, device=keys.device),
                    keys,
                    duals,
                    text,
                    beta=self.beta_,
                    gamma=self.gamma_,
                )
                .cpu()
                .numpy()
            )
            logits /= dtype.type(self.temperature_)
            return logits

        return logits_of

    def _parts(self, queries: NDArray, logits: NDArray) -> dict[str, NDArray]:
        text = self._text_part(queries, 1 / self.temperature_)
        return {"text": text, "correction": logits - text}

    def _shots_part(self, queries: NDArray, targets: NDArray) -> tuple[NDArray, NDArray]:
        from sktip._maths.cache import affinity
        from sktip._maths.device import as_tensor

        keys, _ = self._tensors(queries.dtype)
        similar = affinity(as_tensor(queries, queries.dtype, keys.device), keys, self.beta_)
        moved = self.dual_coef_[:, targets].T * similar.T.cpu().numpy()
        moved *= self.gamma_ / self.temperature_
        of_shots = moved.reshape(len(queries), -1, self.n_views_).sum(axis=2)
        return of_shots, self.cache_codes_[:: self.n_views_]

    def _tensors(self, dtype: Any) -> tuple:
        """Keys and text features as tensors, in the type and on the device of the computation."""
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        text = self.text_features_
        return (
            as_tensor(self.cache_keys_, dtype, device),
            None if text is None else as_tensor(text, dtype, device),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "dual_coef_")
