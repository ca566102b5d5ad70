"""Tip-Adapter and Tip-Adapter-F: CLIP's text prior plus a cache of the shots' features."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sktip._base import COLUMNS, BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._maths.folds import content_order
from sktip._maths.head import Head
from sktip._maths.unit import row_batches, type_of, unit_norm, unit_rows
from sktip._utils.estimators import available_if, validated
from sktip._utils.labels import class_weighted, joined_weights
from sktip._utils.messages import progress

FINE_TUNED = "partial_fit cannot add shots to a fine-tuned cache; call fit with all shots, or set fine_tune=False."

NOT_BALANCED = (
    "partial_fit does not support class_weight='balanced', because new shots would change the weights of the "
    "earlier ones; call fit with all shots, or pass class_weight as a dict."
)


class Cache(NamedTuple):
    """Keys of the shots, (m, d), their class codes, (m,), and their weights, (m,) or None."""

    keys: NDArray
    codes: NDArray
    weights: NDArray | None

    def attributes(self, loss_curve: list[float] | None = None) -> dict[str, Any]:
        """Return the fitted attributes; those of fine-tuning too if there is a loss curve."""
        cache = {f"cache_{name}_": array for name, array in self._asdict().items()}
        if loss_curve is None:
            return cache
        return {**cache, "loss_curve_": loss_curve, "n_iter_": len(loss_curve)}


class BaseCacheClassifier(BaseCLIPClassifier):
    """Predictions of a cache of shots with a text prior, and the fine-tuning of its keys."""

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "class_weight": [Mapping, StrOptions({"balanced"}), None],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "fine_tune": ["boolean"],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    cache_keys_: NDArray
    cache_codes_: NDArray
    cache_weights_: NDArray | None

    _not_always = (*COLUMNS, "loss_curve_", "n_iter_")

    def _alpha_beta(self) -> tuple[float, float]:
        """Residual ratio and sharpness."""
        raise NotImplementedError

    def nearest_shots(self, X: Any, n: int = 5) -> tuple[NDArray, NDArray, NDArray]:
        r"""Find the cached shots with the largest votes for each query, to explain a prediction.

        The vote of shot i for its class is :math:`\alpha w_i \, \exp(-\beta (1 - f K_i^\top))`, with its
        weight :math:`w_i`. The votes of all shots of a class add up to the cache's part of its logit.

        Parameters
        ----------
        X : sequence of images, or array-like of shape (n_queries, d)
            Images, or feature rows, as in `fit`.

        n : int, default=5
            Number of shots to find for each query.

        Returns
        -------
        indices : ndarray of shape (n_queries, n), int
            Row indices of `cache_keys_`, with the largest vote first. Ties are in the order of the rows.
            The rows are the shots in the order given to `fit`, without shots of weight 0. With alpha 0,
            the order is that of any other alpha.

        weights : ndarray of shape (n_queries, n)
            Votes of these shots.

        labels : ndarray of shape (n_queries, n)
            Classes of these shots.

        Raises
        ------
        ValueError
            If `n` is not an integer between 1 and the number of shots.

        See Also
        --------
        sktip.inspection.EvidenceDisplay : Plot the shots and votes of one query.

        Examples
        --------
        >>> import numpy as np
        >>> from sktip import TipAdapterClassifier
        >>> X = [[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]]
        >>> clf = TipAdapterClassifier(text_features=np.eye(2, 3)).fit(X, [0, 1, 1])
        >>> indices, weights, labels = clf.nearest_shots([[0.8, 0.6, 0]], n=2)
        >>> indices, labels
        (array([[1, 0]]), array([[1, 0]]))
        >>> weights.round(3)
        array([[0.803, 0.333]])
        """
        check_is_fitted(self)
        n_shots = len(self.cache_keys_)
        if not isinstance(n, Integral) or not 1 <= n <= n_shots:
            raise ValueError(
                f"n={n!r} must be an integer from 1 to the number of shots in the cache, {n_shots}."
            )
        indices, weights = self._largest_votes(self._query_features(X), int(n))
        return indices, weights, self.classes_[self.cache_codes_[indices]]

    def _make_cache(self, shots: Shots, task: Task) -> Cache:
        """Make the cache from the features of the shots' views, (m, n_views, d)."""
        weights = class_weighted(self.class_weight, shots.codes, shots.weights, task.classes)
        return Cache(unit_norm(shots.features.mean(axis=1)), shots.codes, weights)

    def _cache(self) -> Cache:
        return Cache(self.cache_keys_, self.cache_codes_, self.cache_weights_)

    def _train_keys(
        self,
        cache: Cache,
        views: NDArray,
        task: Task,
        *,
        alpha: float,
        beta: float,
        cached: NDArray | slice = slice(None),
        examples: NDArray | None = None,
    ) -> tuple[NDArray, list[float]]:
        """Train the keys of the `cached` shots on unit views, (m, n_views, d), of the `examples`.

        Return the keys, and the loss of each epoch. Both are all shots by default.
        """
        import torch

        from sktip._maths.cache import CacheValues
        from sktip._maths.fine_tune import fine_tune_keys

        keys, values, text, weights = self._tensors(
            cache, task.text_features, len(task.classes), cache.keys.dtype
        )
        if examples is None:
            examples = np.arange(len(views))
        # The batches do not depend on the order of the rows.
        examples = examples[content_order(views[examples].mean(axis=1), cache.codes[examples])]
        seed = check_random_state(self.random_state).randint(2**31)
        with progress("Fine-tuning", "epoch", self.n_epochs, verbose=self.verbose) as on_epoch:
            learned, losses = fine_tune_keys(
                torch.as_tensor(views[examples], device=keys.device),
                values.codes[examples],
                keys[cached],
                CacheValues(
                    values.codes[cached],
                    len(task.classes),
                    None if weights is None else weights[cached],
                ),
                text,
                logit_scale=task.logit_scale,
                alpha=alpha,
                beta=beta,
                n_epochs=self.n_epochs,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                batch_size=self.batch_size,
                generator=torch.Generator().manual_seed(seed),
                weights=None if weights is None else weights[examples],
                on_epoch=on_epoch,
            )
        return learned.cpu().numpy(), losses

    def __sktip_head__(self) -> Head:
        from sktip._maths.cache import cache_logits

        alpha, beta = self._alpha_beta()
        return Head(
            cache_logits,
            {
                "keys": self.cache_keys_,
                "codes": self.cache_codes_,
                "weights": self.cache_weights_,
                "text": self.text_features_,
            },
            {
                "n_classes": len(self.classes_),
                "logit_scale": self.logit_scale_,
                "alpha": float(alpha),
                "beta": float(beta),
            },
            n_columns=len(self.cache_keys_),
            device=self.device,
        )

    def _largest_votes(self, X: NDArray, n: int) -> tuple[NDArray, NDArray]:
        """Rows and votes of the n shots with the largest votes for each query: (q, n) both."""
        import torch

        from sktip._maths.cache import nearest_shots

        dtype = type_of(X)
        keys, _, _, weights = self._tensors(
            self._cache(), self.text_features_, len(self.classes_), dtype
        )
        alpha, beta = self._alpha_beta()
        indices, votes = np.empty((len(X), n), np.int64), np.empty((len(X), n), dtype)
        for rows in row_batches(len(X), max(X.shape[1], len(keys)), dtype):
            queries = torch.as_tensor(unit_rows(X, rows), device=keys.device)
            found = nearest_shots(queries, keys, weights, alpha=alpha, beta=beta, n=n)
            indices[rows], votes[rows] = (part.cpu().numpy() for part in found)
        return indices, votes

    def _tensors(
        self, cache: Cache, text: NDArray | None, n_classes: int, dtype: np.dtype
    ) -> tuple:
        """Keys, values, text and weights of the cache, in the type and on the device to use."""
        from sktip._maths.cache import CacheValues
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        text_rows = None if text is None else as_tensor(text, dtype, device)
        weights = None if cache.weights is None else as_tensor(cache.weights, dtype, device)
        values = CacheValues(as_tensor(cache.codes, np.int64, device), n_classes, weights)
        return as_tensor(cache.keys, dtype, device), values, text_rows, weights


def _keeps_its_keys(classifier: BaseEstimator) -> bool:
    """Whether shots can be added: fine-tuned keys depend on all shots that they were trained on."""
    if classifier.fine_tune:
        raise AttributeError(FINE_TUNED)
    return True


@with_shared_docs
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
    {encoder}

    {names}

    {features}

    alpha : float, default=1.0
        Residual ratio: weight of the cache relative to the text prior. 0 is zero-shot CLIP.

    beta : float, default=5.5
        Sharpness: how fast the affinity of a shot decreases with its distance from the query.

    {class_weight}

    {logit_scale}

    n_views : int, default=1
        Number of random views of each training image. Their features are averaged into its cache
        key. The paper uses 10. Only for images; queries are never augmented.

    fine_tune : bool, default=False
        Whether to train the cache keys on the shots (Tip-Adapter-F).

    {fine_tuning}

    {device}

    random_state : int, RandomState instance or None, default=None
        Seed of the random views, and of the order of the shots in fine-tuning.

    {verbose}

    Attributes
    ----------
    {classes_}

    {cache_}

    {text_}

    {fine_tuned_}

    {fitted_}

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
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = TipAdapterClassifier("tiny", templates="the digit {}")
    >>> clf.fit(photos[:60], labels[:60]).predict(photos[62:65]).tolist()
    ['three', 'three', 'four']

    On features, with the text features of two classes:

    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> text = np.eye(2, 3)
    >>> X = [[1, 0, 0.5], [0.9, 0, 0.1], [0, 1, 0.4], [0.1, 0.8, 0]]
    >>> clf = TipAdapterClassifier(text_features=text, alpha=1.0, beta=5.5).fit(X, [0, 0, 1, 1])
    >>> clf.predict([[0.8, 0.1, 0.3]])
    array([0])
    """

    _parameter_constraints: dict = {
        **BaseCacheClassifier._parameter_constraints,
        "alpha": [Interval(Real, 0, 1e6, closed="both")],
        "beta": [Interval(Real, 0, 1e6, closed="both")],
    }

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        alpha: float = 1.0,
        beta: float = 5.5,
        class_weight: Mapping | Literal["balanced"] | None = None,
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
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
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

    @validated
    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Build the cache from the shots, and fine-tune its keys if ``fine_tune=True``.

        Parameters
        ----------
        {shots}

        {sample_weight}

        Returns
        -------
        self : TipAdapterClassifier
            The fitted classifier.

        Raises
        ------
        {fit_raises}
        """
        return self._fit(X, y, sample_weight)

    @available_if(_keeps_its_keys)
    @validated
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
        {more_shots}

        {new_weight}

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
        reset = not self.__sklearn_is_fitted__()
        return self._fit(X, y, sample_weight, classes=classes, reset=reset)

    def _learn(self, shots: Shots, task: Task) -> dict[str, Any]:
        cache = self._make_cache(shots, task)
        if task.places is not None:
            earlier = self._cache()
            cache = Cache(
                np.concatenate([earlier.keys, cache.keys]),
                np.concatenate([task.places[earlier.codes], cache.codes]),
                joined_weights(earlier.weights, len(earlier.keys), cache.weights, len(cache.keys)),
            )
        if not self.fine_tune:
            return cache.attributes()
        views, (alpha, beta) = unit_norm(shots.features), self._alpha_beta()
        keys, losses = self._train_keys(cache, views, task, alpha=alpha, beta=beta)
        return cache._replace(keys=keys).attributes(losses)

    def _alpha_beta(self) -> tuple[float, float]:
        return float(self.alpha), float(self.beta)
