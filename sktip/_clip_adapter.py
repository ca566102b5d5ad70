"""CLIP-Adapter: a small residual network on the image features, trained on the shots."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from sktip._base import BaseCLIPClassifier
from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.folds import content_order
from sktip._maths.unit import unit_norm
from sktip._utils.fitting import fits
from sktip._utils.labels import codes_of
from sktip._utils.progress import progress


class CLIPAdapterClassifier(BaseCLIPClassifier):
    r"""CLIP-Adapter, a small trained network, for comparison with published results.

    Two linear layers without biases, with a narrow layer between them, are trained on the shots. Their
    output is mixed with the image feature and compared with the text features ([1]_, equations 5 to 8):

    .. math::
        A(f) = \mathrm{relu}(\mathrm{relu}(f D) U) \\
        f' = \frac{r A(f) + (1 - r) f}{\lVert r A(f) + (1 - r) f \rVert} \\
        \text{logits} = s f' W^\top

    Tip-Adapter was proposed as an alternative that needs no training.

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

    ratio : float, default=0.2
        Share r of the adapter's output in the mixed feature, from 0 (zero-shot CLIP) to 1.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Number of random views of each training image. Each epoch draws one of them. Only for images.

    n_epochs : int, default=200
        Number of passes over the shots.

    learning_rate : float, default=2e-3
        Learning rate of SGD with momentum 0.9. After a first epoch at 1e-5, it decreases from this
        value to 0 along a cosine.

    weight_decay : float, default=5e-4
        Weight decay of SGD.

    batch_size : int, default=32
        Number of shots in each step.

    device : str, default=None
        Torch device of the computation. If None, CUDA if available, else the CPU. The encoder has
        its own `device`.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views, of the initial weights and of the order of the shots.

    verbose : int, default=0
        If positive, show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    coefs_ : list of two ndarrays, of shape (d, d // 4) and (d // 4, d)
        Weights D of the first layer and U of the second.

    class_features_ : ndarray of shape (C, d)
        Features that queries are compared with: the text features or, without a text prior, the
        normalised mean of the shots of each class.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    loss_curve_ : list of float of length n_epochs
        Mean training loss of each epoch.

    n_iter_ : int
        Number of epochs.

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
    TipAdapterClassifier : Needs no training, or 20 epochs instead of 200 with ``fine_tune=True``.

    References
    ----------
    .. [1] P. Gao et al., "CLIP-Adapter: Better vision-language models with feature adapters",
       arXiv:2110.04544.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPAdapterClassifier
    >>> text = np.eye(2, 3)
    >>> X = [[1, 0, 0.5], [0.9, 0, 0.1], [0, 1, 0.4], [0.1, 0.8, 0]]
    >>> clf = CLIPAdapterClassifier(text_features=text, random_state=0).fit(X, [0, 0, 1, 1])
    >>> clf.predict([[0.8, 0.1, 0.3]])
    array([0])
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "ratio": [Interval(Real, 0, 1, closed="both")],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _without_prior = "adapted features are compared with the mean of each class's shots"

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        ratio: float = 0.2,
        logit_scale: float | None = None,
        n_views: int = 1,
        n_epochs: int = 200,
        learning_rate: float = 2e-3,
        weight_decay: float = 5e-4,
        batch_size: int = 32,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.encoder = encoder
        self.input = input
        self.text_features = text_features
        self.class_names = class_names
        self.templates = templates
        self.ratio = ratio
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fits
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train the adapter on labelled shots.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Labels of the shots.

        Returns
        -------
        self : CLIPAdapterClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. Nothing has been encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        import torch

        from sktip._maths.adapter import train_adapter
        from sktip._maths.device import resolve_device

        X, labels = self._start_fit(X, y, self.n_views)
        self._learn_classes(np.unique(labels))
        views = unit_norm(self._shot_features(X, self.n_views))
        if self.text_features_ is None:
            self.class_features_ = self._class_means(views.mean(axis=1), labels)
        else:
            self.class_features_ = self.text_features_
        codes = codes_of(labels, self.classes_)
        # The batches do not depend on the order of the rows.
        order = content_order(views.mean(axis=1), codes)
        device = resolve_device(self.device)
        seed = check_random_state(self.random_state).randint(2**31)
        with progress("Training", "epoch", self.n_epochs, verbose=self.verbose) as on_epoch:
            *weights, self.loss_curve_ = train_adapter(
                torch.as_tensor(views[order], device=device),
                torch.as_tensor(codes[order], device=device),
                torch.as_tensor(self.class_features_.astype(views.dtype), device=device),
                ratio=float(self.ratio),
                logit_scale=self.logit_scale_,
                n_epochs=self.n_epochs,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                batch_size=self.batch_size,
                generator=torch.Generator().manual_seed(seed),
                on_epoch=on_epoch,
            )
        self.coefs_ = [weight.cpu().numpy() for weight in weights]
        self.n_iter_ = self.n_epochs
        return self

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray], NDArray]:
        import torch

        from sktip._maths.adapter import adapted
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        classes, down, up = (
            as_tensor(array, dtype, device) for array in (self.class_features_, *self.coefs_)
        )

        def logits_of(features: NDArray) -> NDArray:
            queries = torch.as_tensor(features, device=device)
            mixed = adapted(queries, down, up, float(self.ratio))
            return (self.logit_scale_ * mixed @ classes.T).cpu().numpy()

        return logits_of

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coefs_")
