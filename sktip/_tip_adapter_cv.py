"""Tip-Adapter that chooses alpha and beta on held-out shots."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import StrOptions

from sktip._encoder import CLIPFeatureTransformer
from sktip._maths.selection import beliefs
from sktip._maths.unit import unit_norm
from sktip._shots.chosen import ChosenCacheClassifier
from sktip._utils.cross_validation import folds_of, moved_folds, search_values
from sktip._utils.fitting import fits
from sktip._utils.labels import check_groups, numbered


class TipAdapterClassifierCV(ChosenCacheClassifier):
    r"""Tip-Adapter that chooses alpha and beta on held-out shots.

    No validation set is needed: a shot that is held out of the cache is a query that the cache
    has not seen. The similarities of the shots are computed once and masked; for each beta all
    alphas are scored in one pass, since the logits are linear in alpha.

    Read more in the :ref:`User Guide <guide_alpha_beta>`.

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

    alphas : array-like of shape (n_alphas,), default=None
        Residual ratios to try, none of them negative. None considers all alpha >= 0.

    betas : array-like of shape (n_betas,), default=None
        Sharpnesses to try, none of them negative. None is 31 values from 0.5 to 50, evenly spaced
        in the logarithm on either side of the paper's 5.5, which is one of them.

    scoring : {"accuracy", "neg_log_loss"}, other scorer name, callable or None, default=None
        What to maximise. None is the default rule, see Notes. ``"accuracy"`` and
        ``"neg_log_loss"`` are exact and fast. Any other scikit-learn scorer works too, one point
        of a grid at a time (21 values of alpha from 0.1 to 30 if `alphas` is None).

    cv : int, cross-validation generator, iterable or None, default=None
        Which shots are held out together. None is balanced: no class is a shot short of the
        others. With a `scoring`, one shot of every class is held out at a time and the votes of
        a class are scaled up to its full number of shots; the default rule averages that over all
        ways to pair the shots, see Notes. ``LeaveOneOut()`` holds out single shots without
        scaling, which drives alpha towards 0 at few shots. Anything else is split as scikit-learn
        splits it, a held-out set by ``PredefinedSplit`` for example, and scored as
        `GridSearchCV` scores it.

    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by label, which multiply `sample_weight`. ``"balanced"`` makes
        all classes with shots count the same.

    logit_scale : float, default=None
        Scale s of CLIP's logits. None is the model's own, or 100 without an encoder.

    n_views : int, default=1
        Random views of each training image that are averaged to its cache key; the paper uses
        10. Images only. Queries are never augmented.

    fine_tune : bool, default=False
        Whether the cache keys learn from the shots (Tip-Adapter-F), at alpha 1 and beta 5.5.
        alpha and beta are then chosen for learned keys: the keys learn once more for each of
        at most 4 folds, without the shots that are held out. That makes `fit` about four times
        as long.

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
    alpha_ : float
        The residual ratio chosen.

    beta_ : float
        The sharpness chosen.

    best_score_ : float
        Its score on the held-out shots.

    betas_ : ndarray of shape (n_betas,)
        The sharpnesses tried, ascending.

    alphas_ : ndarray of shape (n_betas,) or (n_alphas,)
        With ``alphas=None``, the best residual ratio of each beta; else those tried, ascending.

    scores_ : ndarray of shape (n_betas,) or (n_alphas, n_betas)
        Scores of them: mean log-loss, negated, for ``scoring=None``.

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
    TipAdapterClassifier : The same with alpha and beta given, and `partial_fit`.

    Notes
    -----
    The default rule (``scoring=None``) takes the most probable alpha and beta, those of least

    .. math:: N \, \ell(\alpha, \beta) + \frac{\ln^2 \alpha + \ln^2 (\beta / 5.5)}{2 \cdot 1.5^2}

    where :math:`\ell` is the mean log-loss of the N held-out shots, every class counting the same.
    The second term is a belief in the paper's values, within a factor of :math:`e^{1.5}`: a
    handful of shots hardly moves them, hundreds do. In detail:

    - With ``cv=None`` each shot is hidden from itself, and the votes of its own class are scaled
      by n / (n - 1). That is the mean, over all ways to pair the shots, of holding out one shot of
      every class, so that it does not depend on the order of the rows. A class with one shot has
      nothing to scale: its shot gets the geometric mean of what a shot of the other classes gets
      from one of its own.
    - The log-loss is that of logits times a factor, 1 unless the zero-shot classifier, which has
      not seen the shots, is over- or underconfident on them by more than a factor of 2.
    - Without a text prior alpha changes no prediction; beta is then the one nearest to 5.5 among
      those whose accuracy on the held-out shots is within two standard errors of the best.
    - With ``fine_tune=True`` the belief is narrower, a factor of :math:`e^{0.5}`, since the keys
      were trained at the paper's values.

    With a `scoring`, scores that are equal are told apart by the distance to alpha 1 and beta 5.5
    in the logarithm; accuracies count as equal between betas if one shot decides. Where accuracy is
    the same over an interval of alphas, its point nearest to 1 is taken, a little off the ends.

    Where no class has a second shot, none can be held out: the paper's values are used, and
    a warning says so.

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
        **ChosenCacheClassifier._parameter_constraints,
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
        """Build the cache, choose alpha and beta on held-out shots, and fine-tune if asked to.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots: images if there is an `encoder` and ``input="image"``, else features.

        y : array-like of shape (m,)
            Their labels. Classes may have any number of shots.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot's vote: a weight of 2 is the shot given twice. The
            default rule without fine-tuning holds a shot that is given twice out as one, unless a
            `cv` parts its copies; with a `scoring` they may be on both sides. A shot of weight 0 is no shot: it is neither
            encoded nor cached, and makes no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, such as the video that it is a frame of: shots of a group are held
            out together. A `cv` gets them too, and may be a ``GroupKFold()``.

        Returns
        -------
        self : TipAdapterClassifierCV
            The fitted classifier.

        Raises
        ------
        ValueError
            If X, y and the parameters do not fit together; nothing is encoded then.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        alphas, betas = search_values(self.alphas, "alphas"), search_values(self.betas, "betas")
        X, labels = self._start_fit(X, y, self.n_views)
        group_codes = numbered(check_groups(groups, len(X)))
        # A splitter speaks of all rows, those of weight 0 included.
        folds = None if self.cv is None else folds_of(self.cv, X, labels, group_codes)
        n_given = len(labels)
        X, labels, weights, rows = self._shots_that_count(X, labels, sample_weight)
        if group_codes is not None and rows is not None:
            group_codes = group_codes[rows]
        if folds is not None and rows is not None:
            places = np.full(n_given, -1)
            places[rows] = np.arange(len(rows))
            folds = moved_folds(folds, places)
        self._learn_classes(np.unique(labels))
        views = self._shot_features(X, self.n_views, rows)
        queries = views[:, 0] if self.n_views == 1 else self._encode_images(X, 1, None, rows)[:, 0]
        self._fill_cache(views, labels, weights)
        views, queries = unit_norm(views), unit_norm(queries)
        self.betas_ = beliefs.default_betas() if betas is None else betas
        chosen = self._choose(alphas, queries, views, folds, group_codes)
        self.alpha_, self.beta_, self.best_score_ = chosen.alpha, chosen.beta, chosen.score
        self.alphas_, self.scores_ = chosen.alphas, chosen.scores
        if self.fine_tune:
            self._fine_tune(views, beliefs.PAPER_ALPHA, beliefs.PAPER_BETA)
        return self

    def _alpha_beta(self) -> tuple[float, float]:
        return self.alpha_, self.beta_
