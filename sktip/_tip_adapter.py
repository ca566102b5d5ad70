"""Tip-Adapter and Tip-Adapter-F: CLIP's text prior plus a cache of the shots' features."""

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

FINE_TUNED = "partial_fit cannot add shots to a fine-tuned cache; call fit with all shots, or set fine_tune=False."

NOT_BALANCED = (
    "partial_fit does not support class_weight='balanced', because new shots would change the weights of the "
    "earlier ones; call fit with all shots, or pass class_weight as a dict."
)


def _keeps_its_keys(classifier: Any) -> bool:
    """Whether shots can be added: fine-tuned keys depend on all shots that they were trained on."""
    if classifier.fine_tune:
        raise AttributeError(FINE_TUNED)
    return True


class TipAdapterClassifier(BaseCacheClassifier):
    r"""Tip-Adapter, the paper's method: add shots and classes at any time, without training.

    Tip-Adapter stores the features of the labelled images ("shots") as the keys of a cache, and
    their labels as its values. A query f gets the logits

    .. math:: s f W^\top + \alpha \, \exp(-\beta (1 - f K^\top)) L

    where s is CLIP's logit scale, W the text features of the class names, K the cache keys and
    L the one-hot labels ([1]_, equations 4 to 6). Nothing is trained. With ``fine_tune=True``,
    the keys are trained for a few epochs; this is Tip-Adapter-F.

    Read more in the :ref:`User Guide <guide_method>`.

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

    alpha : float, default=1.0
        Residual ratio: weight of the cache relative to the text prior. 0 is zero-shot CLIP.

    beta : float, default=5.5
        Sharpness: how fast the affinity of a shot decreases with its distance from the query.

    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label, which multiplies `sample_weight`. ``"balanced"`` gives all
        classes with shots the same total weight.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Number of random views of each training image. Their features are averaged into its cache
        key. The paper uses 10. Only for images; queries are never augmented.

    fine_tune : bool, default=False
        Whether to train the cache keys on the shots (Tip-Adapter-F).

    n_epochs : int, default=20
        Number of passes over the shots in fine-tuning.

    learning_rate : float, default=1e-3
        Initial learning rate of AdamW. It decreases to 0 along a cosine.

    weight_decay : float, default=0.01
        Weight decay of AdamW.

    batch_size : int, default=256
        Number of shots in each step of fine-tuning.

    device : str, default=None
        Torch device of the computation. If None, CUDA if available, else the CPU. The encoder has
        its own `device`.

    random_state : int, RandomState instance or None, default=None
        Seed of the random views, and of the order of the shots in fine-tuning.

    verbose : int, default=0
        If positive, show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    cache_keys_ : ndarray of shape (m, d)
        Features of the shots, in the order given to `fit`, without shots of weight 0. Unit rows
        unless fine-tuned.

    cache_codes_ : ndarray of shape (m,), int
        Class of each key, as an index into `classes_`.

    cache_weights_ : ndarray of shape (m,) or None
        Weight of each key. None if the shots are not weighted.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

    loss_curve_ : list of float of length n_epochs
        Mean training loss of each epoch. Only after fine-tuning.

    n_iter_ : int
        Number of epochs. Only after fine-tuning.

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
    TipAdapterClassifierCV : Tip-Adapter that chooses alpha and beta on the shots.
    FewShotClassifier : The recommended classifier.
    CLIPFeatureTransformer : The encoder.

    Notes
    -----
    The cache term is a sum over shots. It grows with their number, and favours classes with more
    shots; ``class_weight="balanced"`` corrects that.

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
        "alpha": [Interval(Real, 0, 1e6, closed="both")],
        "beta": [Interval(Real, 0, 1e6, closed="both")],
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
        """Build the cache from the shots, and fine-tune its keys if ``fine_tune=True``.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Labels of the shots. Classes may have different numbers of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot in the cache and in the loss of fine-tuning. A weight
            of 2 counts a shot twice. Shots of weight 0 are ignored: they are not encoded, and add no
            class.

        Returns
        -------
        self : TipAdapterClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. Nothing has been encoded then.

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
        """Add shots, also of new classes, to the cache. Its earlier keys do not change.

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

        Returns
        -------
        self : TipAdapterClassifier
            The fitted classifier.

        Raises
        ------
        AttributeError
            With ``fine_tune=True``: the method does not exist then, since trained keys depend on all
            shots.

        ValueError
            If the cache was fine-tuned, if `class_weight` is ``"balanced"``, or if the labels are of
            another kind than the known ones.
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
        return self

    def _alpha_beta(self) -> tuple[float, float]:
        return float(self.alpha), float(self.beta)
