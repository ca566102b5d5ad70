"""CLIP-Adapter: a small residual network on the image features, trained on the shots."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

from sktip._base import BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._maths.folds import content_order
from sktip._maths.head import Head
from sktip._maths.unit import class_means, unit_norm
from sktip._utils.estimators import validated
from sktip._utils.messages import progress


@with_shared_docs
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
    {encoder}

    {names}

    {features}

    ratio : float, default=0.2
        Share r of the adapter's output in the mixed feature, from 0 (zero-shot CLIP) to 1.

    {logit_scale}

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

    {device}

    random_state : int, RandomState instance or None, default=None
        Seed of the random views, of the initial weights and of the order of the shots.

    {verbose}

    Attributes
    ----------
    {classes_}

    coefs_ : list of two ndarrays, of shape (d, d // 4) and (d // 4, d)
        Weights D of the first layer and U of the second.

    class_features_ : ndarray of shape (C, d)
        Features that queries are compared with: the text features or, without a text prior, the
        normalised mean of the shots of each class.

    {text_}

    loss_curve_ : list of float of length n_epochs
        Mean training loss of each epoch.

    n_iter_ : int
        Number of epochs.

    {fitted_}

    See Also
    --------
    TipAdapterClassifier : Needs no training, or 20 epochs instead of 200 with ``fine_tune=True``.

    References
    ----------
    .. [1] P. Gao et al., "CLIP-Adapter: Better vision-language models with feature adapters",
       arXiv:2110.04544.

    Examples
    --------
    >>> from sktip import CLIPAdapterClassifier
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = CLIPAdapterClassifier("tiny", templates="the digit {}", n_epochs=5, random_state=0)
    >>> clf.fit(photos[:60], labels[:60]).predict(photos[62:65]).tolist()
    ['three', 'three', 'four']
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
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
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
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
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

    @validated
    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Train the adapter on labelled shots.

        Parameters
        ----------
        {shots}

        Returns
        -------
        self : CLIPAdapterClassifier
            The fitted classifier.

        Raises
        ------
        {fit_raises}
        """
        return self._fit(X, y)

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        import torch

        from sktip._maths.adapter import train_adapter
        from sktip._maths.device import resolve_device

        views, codes = unit_norm(shots.features), shots.codes
        class_features = task.text_features
        if class_features is None:
            class_features = class_means(views.mean(axis=1), codes, len(task.classes))
        # The batches do not depend on the order of the rows.
        order = content_order(views.mean(axis=1), codes)
        device = resolve_device(self.device)
        seed = check_random_state(self.random_state).randint(2**31)
        with progress("Training", "epoch", self.n_epochs, verbose=self.verbose) as on_epoch:
            *weights, losses = train_adapter(
                torch.as_tensor(views[order], device=device),
                torch.as_tensor(codes[order], device=device),
                torch.as_tensor(class_features.astype(views.dtype), device=device),
                ratio=float(self.ratio),
                logit_scale=task.logit_scale,
                n_epochs=self.n_epochs,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                batch_size=self.batch_size,
                generator=torch.Generator().manual_seed(seed),
                on_epoch=on_epoch,
            )
        return {
            "coefs_": [weight.cpu().numpy() for weight in weights],
            "class_features_": class_features,
            "loss_curve_": losses,
            "n_iter_": self.n_epochs,
        }

    def __sktip_head__(self) -> Head:
        from sktip._maths.adapter import adapter_logits

        down, up = self.coefs_
        return Head(
            adapter_logits,
            {"down": down, "up": up, "class_features": self.class_features_},
            {"ratio": float(self.ratio), "logit_scale": self.logit_scale_},
            device=self.device,
        )
