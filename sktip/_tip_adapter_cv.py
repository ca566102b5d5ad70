"""Tip-Adapter that chooses alpha and beta on held-out shots."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import StrOptions

from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.folds import Split, class_balanced_weights, held_out_folds
from sktip._maths.paper import PAPER_ALPHA, PAPER_BETA, default_betas, distance_to_paper
from sktip._maths.unit import unit_norm
from sktip._shots.cache import BaseCacheClassifier
from sktip._utils.cross_validation import (
    score_of_logits,
    search_values,
    splits_of,
    without_rows,
)
from sktip._utils.fitting import fits
from sktip._utils.labels import check_groups
from sktip._utils.warn import warn

#: Standard deviation of the logarithms of alpha and beta around the paper's values: for untrained keys, and
#: for keys that were trained at those values. Measured on Cars and ImageNet.
SPREAD, SPREAD_LEARNED = 1.5, 0.5
#: Number of folds for trained keys, which are trained again for each fold.
LEARNED_FOLDS = 4


class TipAdapterClassifierCV(BaseCacheClassifier):
    r"""Tip-Adapter with alpha and beta chosen on held-out shots, without a validation set.

    A shot that is held out of the cache is a query that the cache has not seen. The affinities of the
    shots are computed once and masked for each fold. For each beta, all values of alpha are scored in
    one pass, because the logits are linear in alpha.

    Read more in the :ref:`User Guide <guide_alpha_beta>`.

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
        of the rows, and copies of a shot share a fold. Of more than 8,000 shots, as many are held out as
        makes 67 million pairs with the cached shots. ``LeaveOneOut()`` holds out single shots without
        scaling, which pushes alpha towards 0 with few shots. Other values are split as in
        scikit-learn, for example a held-out set by ``PredefinedSplit``, and scored as in
        `GridSearchCV`.

    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label, which multiplies `sample_weight`. ``"balanced"`` gives all
        classes with shots the same total weight.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Number of random views of each training image. Their features are averaged into its cache
        key. The paper uses 10. Only for images; queries are never augmented.

    fine_tune : bool, default=False
        Whether to train the cache keys on the shots (Tip-Adapter-F), at alpha 1 and beta 5.5.
        alpha and beta are then chosen for trained keys: the keys are trained again for each of at
        most 4 folds, without its held-out shots. `fit` takes about four times as long.

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
    >>> import numpy as np
    >>> from sktip import TipAdapterClassifierCV
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(40) % 4
    >>> X = np.eye(4, 8)[y] + 0.4 * rng.normal(size=(40, 8))
    >>> clf = TipAdapterClassifierCV(text_features=np.eye(4, 8), logit_scale=5).fit(X, y)
    >>> clf.alphas_.shape == clf.betas_.shape
    True
    >>> clf.predict(np.eye(4, 8))
    array([0, 1, 2, 3])
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
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        alphas: ArrayLike | None = None,
        betas: ArrayLike | None = None,
        scoring: Any = None,
        cv: Any = None,
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

    @fits
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
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Labels of the shots. Classes may have different numbers of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot in the cache. A weight of 2 counts a shot twice. Shots of
            weight 0 are ignored: they are not encoded, and add no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, for example the video that a frame is from. Shots of a group are
            held out together. The groups are also passed to `cv`, such as ``GroupKFold()``.

        Returns
        -------
        self : TipAdapterClassifierCV
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y or a parameter is not valid. Nothing has been encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        alphas, betas = search_values(self.alphas, "alphas"), search_values(self.betas, "betas")
        X, labels = self._start_fit(X, y, self.n_views)
        groups = check_groups(groups, len(X))
        # A splitter numbers all rows, including those of weight 0.
        splits = None if self.cv is None else splits_of(self.cv, X, labels, groups)
        n_given = len(labels)
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        if rows is not None:
            groups = None if groups is None else groups[rows]
            splits = None if splits is None else without_rows(splits, rows, n_given)
        self._learn_classes(np.unique(labels))
        views = self._shot_features(X, self.n_views, rows)
        queries = views[:, 0] if self.n_views == 1 else self._encode_images(X, 1, None, rows)[:, 0]
        self._fill_cache(views, labels, weights)
        views, queries = unit_norm(views), unit_norm(queries)
        self.betas_ = default_betas() if betas is None else betas
        self._choose(queries, views, weights, alphas=alphas, splits=splits, groups=groups)
        if self.fine_tune:
            self._fine_tune(views, PAPER_ALPHA, PAPER_BETA)
        return self

    def _choose(
        self,
        queries: NDArray,
        views: NDArray,
        weights: NDArray | None,
        *,
        alphas: NDArray | None,
        splits: list[Split] | None,
        groups: NDArray | None,
    ) -> None:
        """Set the values with the smallest cost, or the best score, on held-out shots."""
        import torch

        from sktip._maths import alpha_beta

        codes, balanced = self.cache_codes_, splits is None
        folds, numbers = held_out_folds(
            queries,
            codes,
            weights,
            groups,
            max_folds=LEARNED_FOLDS if self.fine_tune else None,
            enough=alpha_beta.KEPT_ELEMENTS / len(codes),
        )
        if balanced and folds.max() < 0:
            self._take_papers_values(alphas)
            return
        # One split in which each shot is hidden from itself is the mean over all ways to pair the shots of
        # the classes; folds are one way.
        alone = balanced and self.scoring is None and not self.fine_tune and groups is None
        if alone:
            splits = [Split(np.arange(len(codes)), np.flatnonzero(folds >= 0))]
        elif splits is None:
            splits = [
                Split(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold))
                for fold in range(folds.max() + 1)
            ]
        held_out = np.concatenate([split.held_out for split in splits])
        n_shots = len(np.unique(numbers[held_out]))
        own_weights = None if weights is None else weights[held_out]
        sizes = [len(split.held_out) for split in splits]
        if self.scoring is None:
            shares = class_balanced_weights(codes[held_out], own_weights)
        elif balanced:
            shares = np.ones(len(held_out)) if own_weights is None else own_weights
            sizes = [len(held_out)]
        else:
            # The mean over the splits, as in GridSearchCV.
            shares = np.concatenate([np.full(size, 1 / size) for size in sizes])
        keys, shots, text, key_weights = self._tensors(queries.dtype)
        votes = alpha_beta.HeldOutVotes(
            splits,
            torch.as_tensor(queries, device=keys.device),
            [self._trained_keys(keys, views, split) for split in splits]
            if self.fine_tune
            else keys,
            shots.codes,
            text=text,
            shares=shares / shares.sum(),
            logit_scale=self.logit_scale_,
            n_classes=len(self.classes_),
            balanced=balanced,
            weights=key_weights,
            numbers=torch.as_tensor(numbers, device=keys.device) if alone else None,
        )
        tried: dict = {"alphas": alphas, "betas": self.betas_, "n_shots": n_shots}
        if self.scoring is None:
            spread = SPREAD_LEARNED if self.fine_tune else SPREAD
            chosen = alpha_beta.most_probable_values(votes, spread=spread, **tried)
        else:
            scoring = self.scoring
            if scoring not in ("accuracy", "neg_log_loss"):
                scoring = score_of_logits(scoring, self.classes_, codes[held_out], sizes)
            chosen = alpha_beta.best_values(votes, scoring, **tried)
        self.alpha_, self.beta_, self.best_score_ = chosen.alpha, chosen.beta, chosen.score
        self.alphas_, self.scores_ = chosen.alphas, chosen.scores

    def _take_papers_values(self, alphas: NDArray | None) -> None:
        """Set the paper's values, or the nearest values to try, because no shot can be held out."""
        tried = np.array([PAPER_ALPHA]) if alphas is None else alphas
        shape = self.betas_.shape if alphas is None else (len(alphas), len(self.betas_))
        self.alpha_ = float(tried[distance_to_paper(tried, PAPER_BETA).argmin()])
        self.beta_ = float(self.betas_[distance_to_paper(PAPER_ALPHA, self.betas_).argmin()])
        self.alphas_ = np.full(shape, PAPER_ALPHA) if alphas is None else alphas
        self.scores_, self.best_score_ = np.full(shape, np.nan), np.nan
        warn(
            "every class has one shot (copies count once), so no shot can be held out to choose alpha and beta. "
            f"alpha={self.alpha_:g} and beta={self.beta_:g} are used: the paper's values, or the nearest values "
            "to try. Add a second shot to some class, or pass a held-out set with cv=PredefinedSplit(...).",
        )

    def _trained_keys(self, keys: Any, views: NDArray, split: Split) -> Any:
        """Keys of the cached shots of a split, trained without the held-out shots."""
        # A larger alpha compensates for the smaller cache, so that training starts at similar logits.
        learned, _ = self._learned_keys(
            views,
            PAPER_ALPHA * len(keys) / len(split.cached),
            PAPER_BETA,
            split.cached,
            np.setdiff1d(split.cached, split.held_out),
        )
        return keys.new_tensor(learned)

    def _alpha_beta(self) -> tuple[float, float]:
        return self.alpha_, self.beta_
