"""The cache of Tip-Adapter: building, fine-tuning and predicting."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from sktip._base import BaseCLIPClassifier
from sktip._maths.folds import content_order
from sktip._maths.unit import unit_norm
from sktip._utils.fitting import answers
from sktip._utils.labels import codes_of
from sktip._utils.prediction import row_blocks, type_of, unit_rows
from sktip._utils.progress import progress


class BaseCacheClassifier(BaseCLIPClassifier):
    """A classifier with a cache of shots and a text prior, and the fine-tuning of its keys."""

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
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

    @answers
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
        sktip.inspection.CacheEvidenceDisplay : Plot the shots and votes of one query.

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
        indices, weights = self._largest_votes(self._query_rows(X), int(n))
        return indices, weights, self.classes_[self.cache_codes_[indices]]

    def _alpha_beta(self) -> tuple[float, float]:
        """Residual ratio and sharpness."""
        raise NotImplementedError

    def _fill_cache(self, views: NDArray, y: ArrayLike, weights: NDArray | None) -> None:
        """Compute the cache keys from the features of the shots' views, (m, n_views, d)."""
        self.cache_keys_ = unit_norm(views.mean(axis=1))
        self.cache_codes_ = codes_of(y, self.classes_)
        self.cache_weights_ = self._class_weighted(self.cache_codes_, weights)

    def _fine_tune(self, views: NDArray, alpha: float, beta: float) -> None:
        """Train all keys on the unit views of the shots, (m, n_views, d)."""
        everything = np.arange(len(views))
        keys, self.loss_curve_ = self._learned_keys(views, alpha, beta, everything, everything)
        self.cache_keys_ = keys
        self.n_iter_ = self.n_epochs

    def _learned_keys(
        self, views: NDArray, alpha: float, beta: float, cached: NDArray, examples: NDArray
    ) -> tuple[NDArray, list[float]]:
        """Train the keys of the `cached` shots on the views of the `examples`: keys and losses."""
        import torch

        from sktip._maths.cache import Shots
        from sktip._maths.fine_tune import fine_tune_keys

        keys, shots, text, weights = self._tensors(self.cache_keys_.dtype)
        # The batches do not depend on the order of the rows.
        examples = examples[
            content_order(views[examples].mean(axis=1), self.cache_codes_[examples])
        ]
        seed = check_random_state(self.random_state).randint(2**31)
        with progress("Fine-tuning", "epoch", self.n_epochs, verbose=self.verbose) as on_epoch:
            learned, losses = fine_tune_keys(
                torch.as_tensor(views[examples], device=keys.device),
                shots.codes[examples],
                keys[cached],
                Shots(
                    shots.codes[cached],
                    len(self.classes_),
                    None if weights is None else weights[cached],
                ),
                text,
                logit_scale=self.logit_scale_,
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

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray], NDArray]:
        import torch

        from sktip._maths.cache import cache_logits

        keys, shots, text, _ = self._tensors(dtype)
        alpha, beta = self._alpha_beta()

        def logits_of(features: NDArray) -> NDArray:
            logits = cache_logits(
                torch.as_tensor(features, device=keys.device),
                keys,
                shots,
                text,
                logit_scale=self.logit_scale_,
                alpha=alpha,
                beta=beta,
            )
            return logits.cpu().numpy()

        return logits_of

    def _largest_votes(self, X: NDArray, n: int) -> tuple[NDArray, NDArray]:
        """Rows and votes of the n shots with the largest votes for each query: (q, n) both."""
        import torch

        from sktip._maths.cache import nearest_shots

        dtype = type_of(X)
        keys, _, _, weights = self._tensors(dtype)
        alpha, beta = self._alpha_beta()
        indices, votes = np.empty((len(X), n), np.int64), np.empty((len(X), n), dtype)
        for rows in row_blocks(len(X), max(X.shape[1], n), dtype):
            queries = torch.as_tensor(unit_rows(X, rows), device=keys.device)
            found = nearest_shots(queries, keys, weights, alpha=alpha, beta=beta, n=n)
            indices[rows], votes[rows] = (part.cpu().numpy() for part in found)
        return indices, votes

    def _tensors(self, dtype: np.dtype) -> tuple:
        """Keys, values, text and weights of the cache, in the type and on the device to use."""
        from sktip._maths.cache import Shots
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        keys, text, weights = (
            None if array is None else as_tensor(array, dtype, device)
            for array in (self.cache_keys_, self.text_features_, self.cache_weights_)
        )
        codes = as_tensor(self.cache_codes_, np.int64, device)
        return keys, Shots(codes, len(self.classes_), weights), text, weights

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cache_keys_")
