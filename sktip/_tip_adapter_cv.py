"""Tip-Adapter that chooses alpha and beta on held-out shots."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import BaseCrossValidator, check_cv
from sklearn.utils._param_validation import StrOptions

from sktip._base import BaseCLIPClassifier, Shots, Task
from sktip._docs import with_shared_docs
from sktip._input import GivenShots
from sktip._maths.folds import ENOUGH_SHOTS, Split, class_balanced_weights, held_out_folds
from sktip._maths.paper import PAPER_ALPHA, PAPER_BETA, default_betas
from sktip._maths.unit import unit_norm
from sktip._tip_adapter import BaseCacheClassifier, Cache
from sktip._utils.estimators import validated
from sktip._utils.messages import warn

#: Number of folds for trained keys, which are trained again for each fold.
LEARNED_FOLDS = 4

ONE_SHOT = (
    "every class has one shot (copies count once), so no shot can be held out to choose alpha and beta. "
    "alpha={alpha:g} and beta={beta:g} are used: the paper's values, or the nearest values to try. Add a second "
    "shot to some class, or pass a held-out set with cv=PredefinedSplit(...)."
)


@with_shared_docs
class TipAdapterClassifierCV(BaseCacheClassifier):
    r"""Tip-Adapter with alpha and beta chosen on held-out shots, without a validation set.

    A shot that is held out of the cache is a query that the cache has not seen. The affinities of the
    shots are computed once and masked for each fold. For each beta, all values of alpha are scored in
    one pass, because the logits are linear in alpha.

    Read more in the :ref:`User Guide <guide_alpha_beta>`.

    Parameters
    ----------
    {encoder}

    {names}

    {features}

    alphas : array-like of shape (n_alphas,), default=None
        Residual ratios to try, not negative. If None, all alpha >= 0 are considered.

    betas : array-like of shape (n_betas,), default=None
        Values of the sharpness to try, not negative. If None, 31 values from 0.5 to 50: the paper's
        5.5, and values evenly spaced in the logarithm on either side of it.

    scoring : {"accuracy", "neg_log_loss"}, other scorer name, callable or None, default=None
        Score to maximise. If None, the default rule, see Notes. ``"accuracy"`` and
        ``"neg_log_loss"`` are exact and fast. Other scikit-learn scorers are computed at each point
        of a grid, with 21 values of alpha from 0.1 to 30 if `alphas` is None.

    cv : int, cross-validation generator, iterable or None, default=None
        Which shots are held out together. None is balanced: holding out a shot does not put its
        class at a disadvantage. With a `scoring`, one shot of every class is held out at a time,
        and the votes of a class are scaled up to its full number of shots. The default rule
        averages this over all ways to pair the shots, see Notes. The folds do not depend on the order
        of the rows, and copies of a shot share a fold. Other values are split as in scikit-learn,
        for example a held-out set by ``PredefinedSplit``, and scored as in `GridSearchCV`.
        ``LeaveOneOut()`` holds out single shots without scaling, which pushes alpha towards 0 with
        few shots. With None and with a number of folds, at most 512 shots are scored, or one of each
        class if that is more: all of them choose no better values.

    {class_weight}

    {logit_scale}

    n_views : int, default=1
        Number of random views of each training image. Their features are averaged into its cache
        key. The paper uses 10. Only for images; queries are never augmented.

    fine_tune : bool, default=False
        Whether to train the cache keys on the shots (Tip-Adapter-F), at alpha 1 and beta 5.5.
        alpha and beta are then chosen for trained keys: the keys are trained again for each of at
        most 4 folds, without its held-out shots. `fit` takes about four times as long.

    {fine_tuning}

    {device}

    random_state : int, RandomState instance or None, default=None
        Seed of the random views, and of the order of the shots in fine-tuning.

    {verbose}

    Attributes
    ----------
    alpha_ : float
        Chosen residual ratio.

    beta_ : float
        Chosen sharpness.

    best_score_ : float
        Score of `alpha_` and `beta_` on the held-out shots.

    betas_ : ndarray of shape (n_betas,)
        Values of the sharpness that were tried, ascending.

    alphas_ : ndarray of shape (n_betas,) or (n_alphas,)
        With ``alphas=None``, the best residual ratio for each beta; else the values that were
        tried, ascending.

    scores_ : ndarray of shape (n_betas,) or (n_alphas, n_betas)
        Scores of these values. With ``scoring=None``, the negative mean log-loss.

    {classes_}

    {cache_}

    {text_}

    {fine_tuned_}

    {fitted_}

    See Also
    --------
    TipAdapterClassifier : Tip-Adapter with given alpha and beta, and with `partial_fit`.

    Notes
    -----
    The default rule (``scoring=None``) chooses the most probable alpha and beta. They minimise

    .. math:: N \, \ell(\alpha, \beta) + \frac{\ln^2 \alpha + \ln^2 (\beta / 5.5)}{2 \cdot 1.5^2}

    where :math:`\ell` is the mean log-loss of the N held-out shots, with equal weight for every
    class. The second term is a prior belief in the paper's values, with a standard deviation of a
    factor :math:`e^{1.5}`. A handful of shots hardly changes them; hundreds of shots do. In detail:

    - With ``cv=None``, each shot is masked in its own cache, and the votes of its class are scaled by
      n / (n - 1). This is the mean, over all ways to pair the shots, of holding out one shot of
      every class. Copies of a shot are masked with it. The only shot of a class is not held out.
    - The logits are divided by a temperature before the log-loss. It is 1, unless the zero-shot
      classifier, which has not seen the shots, is over- or underconfident on them by more than a
      factor of 2.
    - Without a text prior, alpha changes no prediction. beta is then the value nearest to 5.5 among
      those whose accuracy on the held-out shots is within two standard errors of the best.
    - With ``fine_tune=True``, the prior belief is narrower, a factor of :math:`e^{0.5}`, since the
      keys were trained at the paper's values.

    With a `scoring`, ties go to the values nearest to alpha 1 and beta 5.5 in the logarithm. Two
    values of beta are tied in accuracy if they differ by one shot. If the accuracy is the same over an
    interval of alpha, the point nearest to 1 is chosen, but not at the very ends of the interval.

    If no class has a second shot, none can be held out: the paper's values are used, with a warning.

    References
    ----------
    .. [1] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930.

    .. [2] F. J. Och, "Minimum error rate training in statistical machine translation",
       ACL 2003.

    Examples
    --------
    >>> from sktip import TipAdapterClassifierCV
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = TipAdapterClassifierCV("tiny", templates="the digit {}")
    >>> clf.fit(photos[:60], labels[:60]).predict(photos[62:65]).tolist()
    ['three', 'three', 'four']
    """

    _parameter_constraints: dict = {
        **BaseCacheClassifier._parameter_constraints,
        "alphas": ["array-like", None],
        "betas": ["array-like", None],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "cv": ["cv_object"],
    }

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        alphas: ArrayLike | None = None,
        betas: ArrayLike | None = None,
        scoring: str | Callable | None = None,
        cv: int | BaseCrossValidator | Iterable | None = None,
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
        self.alphas = alphas
        self.betas = betas
        self.scoring = scoring
        self.cv = cv
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
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Build the cache, choose alpha and beta on held-out shots, and optionally fine-tune.

        Parameters
        ----------
        {shots}

        {sample_weight}

        {groups}
            The groups are also passed to `cv`, such as ``GroupKFold()``.

        Returns
        -------
        self : TipAdapterClassifierCV
            The fitted classifier.

        Raises
        ------
        {fit_raises}
        """
        return self._fit(X, y, sample_weight, groups)

    def _check_method(
        self, given: Any, classes: NDArray, unlabeled: GivenShots | None, *, reset: bool
    ) -> dict[str, Any]:
        betas = search_values(self.betas, "betas")
        return {
            "alphas": search_values(self.alphas, "alphas"),
            "betas": default_betas() if betas is None else betas,
            "splits": None if self.cv is None else check_splits(self.cv, given),
            "images": given.of_weight() if self.n_views > 1 else None,
        }

    def _learn(
        self,
        shots: Shots,
        task: Task,
        *,
        alphas: NDArray | None,
        betas: NDArray,
        splits: list[Split] | None,
        images: GivenShots | None,
    ) -> dict[str, Any]:
        views, cache = unit_norm(shots.features), self._make_cache(shots, task)
        queries = views[:, 0]
        if images is not None:
            # Queries are never augmented.
            plain = task.open_encoder().view_features(images.X, rows=images.rows)
            queries = unit_norm(plain[:, 0])
        chosen = self._choose(
            cache, views, queries, task, shots, splits=splits, alphas=alphas, betas=betas
        )
        losses = None
        if self.fine_tune:
            keys, losses = self._train_keys(cache, views, task, alpha=PAPER_ALPHA, beta=PAPER_BETA)
            cache = cache._replace(keys=keys)
        return {
            **cache.attributes(losses),
            "alpha_": chosen.alpha,
            "beta_": chosen.beta,
            "best_score_": chosen.score,
            "alphas_": chosen.alphas,
            "betas_": betas,
            "scores_": chosen.scores,
        }

    def _choose(
        self,
        cache: Cache,
        views: NDArray,
        queries: NDArray,
        task: Task,
        shots: Shots,
        *,
        splits: list[Split] | None,
        alphas: NDArray | None,
        betas: NDArray,
    ) -> Any:
        """Values with the smallest cost, or the best score, on held-out shots."""
        import torch

        from sktip._maths import alpha_beta

        codes, balanced = cache.codes, splits is None
        folds, numbers = held_out_folds(
            queries,
            codes,
            shots.weights,
            shots.groups,
            max_folds=LEARNED_FOLDS if self.fine_tune else None,
        )
        if balanced and folds.max() < 0:
            chosen = alpha_beta.nearest_values(alphas, betas)
            warn(ONE_SHOT.format(alpha=chosen.alpha, beta=chosen.beta))
            return chosen
        # One split in which each shot is hidden from itself is the mean over all ways to pair the shots of
        # the classes; folds are one way.
        alone = balanced and self.scoring is None and not self.fine_tune and shots.groups is None
        if alone:
            splits = [Split(np.arange(len(codes)), np.flatnonzero(folds >= 0))]
        elif splits is None:
            splits = [
                Split(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
                for fold in range(folds.max() + 1)
            ]
        elif isinstance(self.cv, Integral) and len(codes) > ENOUGH_SHOTS:
            scored = [split.held_out[folds[split.held_out] >= 0] for split in splits]
            splits = [
                Split(split.cached, rows if len(rows) else split.held_out)
                for split, rows in zip(splits, scored, strict=True)
            ]
        held_out = np.concatenate([split.held_out for split in splits])
        sizes = [len(split.held_out) for split in splits]
        weights = np.ones(len(held_out)) if shots.weights is None else shots.weights[held_out]
        if self.scoring is None:
            weights = class_balanced_weights(codes[held_out], weights)
        elif balanced:
            sizes = [len(held_out)]
        else:
            # The mean over the splits, as in GridSearchCV.
            weights = 1 / np.repeat(sizes, sizes)
        keys, values, text, _ = self._tensors(
            cache, task.text_features, len(task.classes), queries.dtype
        )
        if self.fine_tune:
            split_keys = [
                keys.new_tensor(self._keys_without(split, cache, views, task)) for split in splits
            ]
        else:
            split_keys = [keys[split.cached] for split in splits]
        text_logits = None
        if text is not None:
            text_logits = task.logit_scale * queries[held_out] @ text.cpu().numpy().T
        tried = alpha_beta.HeldOutShots(
            splits,
            torch.as_tensor(queries, device=keys.device),
            split_keys,
            values,
            text_logits=text_logits,
            shares=weights / weights.sum(),
            n_shots=len(np.unique(numbers[held_out])),
            balanced=balanced,
            numbers=torch.as_tensor(numbers, device=keys.device) if alone else None,
        )
        if self.scoring is None:
            deviation = (
                alpha_beta.PRIOR_DEVIATION_LEARNED if self.fine_tune else alpha_beta.PRIOR_DEVIATION
            )
            return alpha_beta.most_probable_values(
                tried, alphas=alphas, betas=betas, deviation=deviation
            )
        scoring = self.scoring
        if scoring not in ("accuracy", "neg_log_loss"):
            scoring = score_of_logits(scoring, task.classes, codes[held_out], sizes)
        return alpha_beta.best_values(tried, scoring, alphas=alphas, betas=betas)

    def _keys_without(self, split: Split, cache: Cache, views: NDArray, task: Task) -> NDArray:
        """Keys of the cached shots of a split, (v, d), trained without its held-out shots."""
        return self._train_keys(
            cache,
            views,
            task,
            # A larger alpha compensates for the smaller cache, so that training starts at similar logits.
            alpha=PAPER_ALPHA * len(cache.keys) / len(split.cached),
            beta=PAPER_BETA,
            cached=split.cached,
            examples=np.setdiff1d(split.cached, split.held_out),
        )[0]

    def _alpha_beta(self) -> tuple[float, float]:
        return self.alpha_, self.beta_


def check_splits(cv: Any, given: GivenShots) -> list[Split]:
    """Return the splits of a scikit-learn splitter, without shots of weight 0, which have no number."""
    # A splitter numbers all shots.
    n_rows = len(given.targets)
    kept = np.arange(n_rows) if given.weights is None else np.flatnonzero(given.weights)
    places = np.full(n_rows, -1)
    places[kept] = np.arange(len(kept))
    splitter = check_cv(cv, given.targets, classifier=True)
    splits = []
    for i, split in enumerate(splitter.split(given.X, given.targets, given.groups)):
        parts = []
        for part, name in zip(map(np.asarray, split), ("train", "test"), strict=True):
            try:
                rows = places[part if part.size else []]
            except IndexError as error:
                raise ValueError(
                    f"cv: the {name} part of split {i} does not index {n_rows} shots ({error}). Pass indices, or a "
                    "boolean mask of that length."
                ) from error
            if not (rows >= 0).any():
                raise ValueError(
                    f"cv: the {name} part of split {i} is empty, not counting shots of weight 0; every split needs "
                    "training shots and held-out shots."
                )
            parts.append(rows[rows >= 0])
        splits.append(Split(*parts))
    if not splits:
        raise ValueError("cv has no splits; it must hold out some shots.")
    return splits


def score_of_logits(
    scoring: Any, classes: NDArray[Any], codes: NDArray[Any], sizes: Sequence[int]
) -> Callable[[NDArray[Any]], float]:
    """Convert a scorer to a function of logits, (q, C): the mean of its scores over parts of these sizes."""
    scorer, ends = get_scorer(scoring), np.cumsum(sizes)[:-1]
    labels = np.split(classes[codes], ends)

    def score(logits: NDArray[Any]) -> float:
        parts = zip(np.split(logits.astype(np.float64), ends), labels, strict=True)
        return float(np.mean([scorer(KnownLogits(z, classes), z, codes) for z, codes in parts]))

    return score


class KnownLogits(BaseCLIPClassifier):
    """A classifier with known logits, to pass to scikit-learn scorers."""

    encoder: BaseEstimator | str | None = None

    def __init__(self, logits: NDArray[Any], classes: NDArray[Any]):
        self.logits = logits
        self.classes = classes
        self.classes_ = classes

    def _of_logits(self, X: Any, answer: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
        return answer(self.logits)


def search_values(values: ArrayLike | None, name: str) -> NDArray[Any] | None:
    """Check the alphas or betas to try, and sort them."""
    if values is None:
        return None
    grid = np.asarray(values, dtype=float)
    if grid.ndim != 1 or len(grid) == 0:
        raise ValueError(f"{name} has the shape {grid.shape}; pass a list of at least one number.")
    wrong = grid[~((grid >= 0) & (grid <= 1e6))]
    if len(wrong):
        raise ValueError(f"{name} holds {wrong.tolist()[0]!r}; values must be from 0 to 1e6.")
    return np.unique(grid)
