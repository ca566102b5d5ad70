"""ProKeR: kernel ridge regression on the residuals of CLIP's text prior."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from sktip._utils.labels import check_groups, codes_of, numbered
from sktip._utils.progress import progress


class ProKeRClassifier(ExplanationMixin, BaseCLIPClassifier):
    r"""Few-shot classification by kernel ridge regression beside CLIP's text prior.

    The shots correct the text classifier: a regression with the kernel of Tip-Adapter's cache
    learns, in closed form, what the text features miss ([1]_, equation 9). A query f gets the
    logits

    .. math::
        \frac{1}{T} \left(f W^\top + \gamma \, k(f, K) \left(k(K, K) + \lambda I\right)^{-1}
        (L - K W^\top)\right) \\
        k(a, b) = \exp(-\beta (1 - a b^\top))

    where W are the text features, K those of the shots, L their one-hot labels and T is a fitted
    temperature. The published method has :math:`\gamma = \lambda`.

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

    beta : "auto" or float, default="auto"
        Sharpness of the kernel. ``"auto"`` is chosen, see Notes.

    lam : "auto" or float, default="auto"
        Strength :math:`\lambda` of the ridge.

    gamma : "auto" or float, default="auto"
        Weight of the correction. ``"auto"`` with numbers for `beta` and `lam` is the published
        ``gamma = lam``.

    max_shots : int, default=30_000
        Most rows (shots times views) that are solved for. Time grows with their cube, memory
        with their square: 16,000 take 2.1 GB, 30,000 take 7.2 GB, besides the features.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label, which multiply `sample_weight`. ``"balanced"`` makes
        all classes with shots count the same.

    logit_scale : float, default=None
        Scale s at which `beta`, `lam` and `gamma` are chosen, and about which the temperature is
        fitted. None is the model's own, or 100 without an encoder.

    n_views : int, default=1
        Random views of each training image, each of which is a row. Images only. Queries are
        never augmented.

    device : str, default=None
        Torch device of the arithmetic. None is CUDA where there is one, else the CPU. The
        encoder has a device of its own.

    random_state : int, RandomState instance or None, default=None
        Seed of the views.

    verbose : int, default=0
        Above 0, show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The classes, sorted.

    beta_ : float
        Sharpness in use.

    lam_ : float
        Ridge in use.

    gamma_ : float
        Weight of the correction in use.

    temperature_ : float
        What the logits are divided by; about 1 / s.

    cache_keys_ : ndarray of shape (m * n_views, d)
        Unit features of the shots' views, shot by shot in the order given.

    cache_codes_ : ndarray of shape (m * n_views,), int
        Index into `classes_` of each key.

    dual_coef_ : ndarray of shape (m * n_views, C)
        Solution of the regression.

    n_views_ : int
        Keys of each shot.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes, None without a text prior.

    logit_scale_ : float
        Scale s.

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
    GDAClassifier : The other strong relative without training, whose cost is linear in the shots.
    TipAdapterClassifier : The cache model.

    Notes
    -----
    ``"auto"`` takes the most probable values, of least

    .. math::
        N \, \ell(\beta, \lambda, \gamma) + \frac{\ln^2 (\beta / \beta_0) +
        \ln^2 (\lambda / \lambda_0) + \ln^2 (\gamma / \lambda_0)}{2 \cdot 0.7^2}

    where :math:`\ell` is the mean log-loss, at the logit scale, of N held-out shots, every class
    counting the same, and :math:`\beta_0` and :math:`\lambda_0` are the published values for the
    mean number of shots, interpolated in the logarithm. One shot of every class is held out at a
    time, with all its views, and predicted in closed form from the Cholesky factor; the best gamma
    is a minimum in one dimension; beta and lambda are searched for by at most 20 factorisations
    (Nelder-Mead). With one shot per class none can be held out, and the published values stand.

    Beside more than 2,048 rows, and without a text prior, beta is the published value, lambda 0.05 (the
    published value for few shots: those for more are larger because they are gamma too), and gamma
    alone is chosen: one factorisation does it all. Accuracies are the same within what the draw of
    the shots decides, or better where labels are wrong. Of more than 3,500 rows about 1,000 are held
    out, one shot of every class at least.

    The temperature is the most probable one for the held-out logits, about 1 / s within a factor of
    2. Where nothing was held out it is that of the text prior alone, which has not seen the shots.

    A class without shots takes part with a target of 0 for every shot, as the formula says.

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
        "beta": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "lam": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "gamma": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_shots": [Interval(Integral, 1, None, closed="left")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "device": [str, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    # Models saved before there was an explanation have none.
    n_views_: int = 1

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
        verbose: int = 0,
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
        self.verbose = verbose

    @fits
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Solve the regression on labelled shots, and choose its values if asked to.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Their labels. Classes may have any number of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot's error: a weight of 2 is the shot given twice. A shot
            of weight 0 is no shot: it is neither encoded nor kept, and makes no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, such as the video that it is a frame of: shots of a group are held
            out together.

        Returns
        -------
        self : ProKeRClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y and the parameters do not fit together, or there are more than `max_shots`
            rows; nothing is encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        from sktip._maths.selection.kernel_ridge import fit_ridge

        X, labels = self._start_fit(X, y, self.n_views)
        group_codes = numbered(check_groups(groups, len(X)))
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        self._check_size(len(X))
        self._learn_classes(np.unique(labels))
        views = unit_norm(self._shot_features(X, self.n_views, rows))
        codes, n_classes = codes_of(labels, self.classes_), len(self.classes_)
        total = self._class_weighted(codes, weights)
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
            weights=total,
            counted=weights if self.class_weight == "balanced" else total,
            groups=group_codes if group_codes is None or rows is None else group_codes[rows],
            n_views=self.n_views,
            n_classes=n_classes,
            logit_scale=self.logit_scale_,
            beta=beta,
            lam=lam,
            gamma=gamma,
            progress=partial(progress, "Choosing", "try", None, verbose=self.verbose),
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
                f"{shown} make {rows:,} rows, more than max_shots={self.max_shots:,}: the time grows with "
                f"their cube, and {8 * rows**2 / 1e9:.1f} GB of memory are needed. Use fewer shots or "
                "views, or GDAClassifier, whose cost is linear; or raise max_shots."
            )

    def _magnitudes(self) -> dict[str, float]:
        return {**super()._magnitudes(), "beta": self.beta_, "gamma": self.gamma_}

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
        """Keys and text, in the type and place of computation."""
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        text = self.text_features_
        return (
            as_tensor(self.cache_keys_, dtype, device),
            None if text is None else as_tensor(text, dtype, device),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "dual_coef_")
