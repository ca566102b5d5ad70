"""Tip-Adapter, and Tip-Adapter-F: a cache of few-shot features beside CLIP's text prior."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval

from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.unit import unit_norm
from sktip._shots.cache import BaseCacheClassifier
from sktip._utils.fitting import available_if, extends_fit, fits
from sktip._utils.labels import codes_of, joined_weights

FINE_TUNED = (
    "partial_fit cannot add to a fine-tuned cache; call fit with all shots, or use fine_tune=False."
)

NOT_BALANCED = (
    "partial_fit cannot keep class_weight='balanced', since the weights of the earlier shots would change; "
    "call fit with all shots, or give class_weight as a dict."
)


def _keeps_its_keys(classifier: Any) -> bool:
    """Whether shots can be added: keys that learn belong to the shots that they learn from."""
    if classifier.fine_tune:
        raise AttributeError(FINE_TUNED)
    return True


class TipAdapterClassifier(BaseCacheClassifier):
    r"""Few-shot classification by a cache of training features beside CLIP's text prior.

    Tip-Adapter keeps the features of the labelled images ("shots") as the keys of a cache and
    their labels as its values. A query f gets the logits

    .. math:: s f W^\top + \alpha \, \exp(-\beta (1 - f K^\top)) L

    where s is CLIP's logit scale, W the text features of the class names, K the cache keys and
    L the one-hot labels ([1]_, equations 4 to 6). Nothing is trained. With ``fine_tune=True``
    the keys learn for a few epochs: Tip-Adapter-F.

    Read more in the :ref:`User Guide <guide_method>`.

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

    alpha : float, default=1.0
        Residual ratio: the weight of the cache beside CLIP's prior. 0 is zero-shot CLIP.

    beta : float, default=5.5
        Sharpness: how fast the vote of a shot falls with its distance from the query.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label, which multiply `sample_weight`. ``"balanced"`` makes
        all classes with shots count the same.

    logit_scale : float, default=None
        Scale s of CLIP's logits. None is the model's own, or 100 without an encoder.

    n_views : int, default=1
        Random views of each training image that are averaged to its cache key; the paper uses
        10. Images only. Queries are never augmented.

    fine_tune : bool, default=False
        Whether the cache keys learn from the shots (Tip-Adapter-F).

    n_epochs : int, default=20
        Passes over the shots when fine-tuning.

    learning_rate : float, default=1e-3
        AdamW's learning rate, which falls to 0 along a cosine.

    weight_decay : float, default=0.01
        AdamW's weight decay.

    batch_size : int, default=256
        Shots in one step of fine-tuning.

    device : str, default=None
        Torch device of the arithmetic. None is CUDA where there is one, else the CPU. The
        encoder has a device of its own.

    random_state : int, RandomState instance or None, default=None
        Seed of the views and of the order of the shots in fine-tuning.

    verbose : int, default=0
        Above 0, show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        The classes, sorted.

    cache_keys_ : ndarray of shape (m, d)
        Features of the shots, in the order given, without those of weight 0; unit rows unless
        fine-tuned.

    cache_codes_ : ndarray of shape (m,), int
        Index into `classes_` of each key.

    cache_weights_ : ndarray of shape (m,) or None
        Weight of each key, None if all weigh the same.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes, None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    loss_curve_ : list of float of length n_epochs
        Mean training loss of each epoch. Only after fine-tuning.

    n_iter_ : int
        Epochs done. Only after fine-tuning.

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
    CLIPFeatureTransformer : The encoder.

    Notes
    -----
    The cache term is a sum over shots: it grows with their number and favours classes with
    more of them. `sample_weight` balances an unbalanced cache.

    References
    ----------
    .. [1] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930.

    Examples
    --------
    On features, with the text features of two classes:

    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> text = np.eye(2, 3)
    >>> X = [[1, 0, 0.5], [0.9, 0, 0.1], [0, 1, 0.4], [0.1, 0.8, 0]]
    >>> clf = TipAdapterClassifier(text_features=text, alpha=1.0, beta=5.5).fit(X, [0, 0, 1, 1])
    >>> clf.predict([[0.8, 0.1, 0.3]])
    array([0])

    On images, with the bundled model and the class names as labels:

    >>> from sktip import CLIPFeatureTransformer
    >>> from sktip.datasets import load_digit_images
    >>> images, names = load_digit_images(return_X_y=True)
    >>> clf = TipAdapterClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
    >>> clf.fit(images[:30], names[:30]).predict_proba(images[30:40]).shape
    (10, 10)
    """

    _parameter_constraints: dict = {
        **BaseCacheClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        alpha: float = 1.0,
        beta: float = 5.5,
        class_weight: Mapping | str | None = None,
        logit_scale: float | None = None,
        n_views: int = 1,
        fine_tune: bool = False,
        n_epochs: int = 20,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        batch_size: int = 256,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ):
        self.encoder = encoder
        self.input = input
        self.text_features = text_features
        self.class_names = class_names
        self.templates = templates
        self.alpha = alpha
        self.beta = beta
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.fine_tune = fine_tune
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fits
    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Build the cache from labelled shots, and fine-tune it if asked to.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Their labels. Classes may have any number of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot's vote: a weight of 2 is the shot given twice. It
            weights the loss of fine-tuning too. A shot of weight 0 is no shot: it is neither
            encoded nor kept, and makes no class.

        Returns
        -------
        self : TipAdapterClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y and the parameters do not fit together; nothing is encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        X, labels = self._start_fit(X, y, self.n_views)
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        self._learn_classes(np.unique(labels))
        views = self._shot_features(X, self.n_views, rows)
        self._fill_cache(views, labels, weights)
        if self.fine_tune:
            self._fine_tune(unit_norm(views), *self._alpha_beta())
        return self

    @available_if(_keeps_its_keys)
    @extends_fit
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Append shots, and new classes, without touching those already cached.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            More shots.

        y : array-like of shape (m,)
            Their labels, of known classes or new ones.

        classes : array-like of shape (n,), default=None
            Classes to know about even if `y` does not have them.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each new shot's vote; one of weight 0 is no shot.

        Returns
        -------
        self : TipAdapterClassifier
            The fitted classifier.

        Raises
        ------
        AttributeError
            With ``fine_tune=True``, where there is no such method: learned keys belong to the shots
            that they learned from.

        ValueError
            If the keys have learned already, `class_weight` is ``"balanced"``, or the labels are
            not of the kind known.
        """
        if hasattr(self, "loss_curve_"):
            raise ValueError(FINE_TUNED)
        if self.class_weight == "balanced":
            raise ValueError(NOT_BALANCED)
        first = not hasattr(self, "classes_")
        X, labels = self._start_fit(X, y, self.n_views, reset=first)
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        moved = self._learn_more_classes(labels, classes)
        keys = unit_norm(self._shot_features(X, self.n_views, rows).mean(axis=1))
        codes = codes_of(labels, self.classes_)
        weights = self._class_weighted(codes, weights)
        if not first:
            weights = joined_weights(self.cache_weights_, len(self.cache_keys_), weights, len(keys))
            keys = np.concatenate([self.cache_keys_, keys])
            codes = np.concatenate([moved[self.cache_codes_], codes])
        self.cache_keys_, self.cache_codes_, self.cache_weights_ = keys, codes, weights
        self._check_weights()
        return self

    def _alpha_beta(self) -> tuple[float, float]:
        return float(self.alpha), float(self.beta)
