"""The recommended classifier: it uses text, shots and unlabelled images, and needs no tuning."""

# The annotations of nested functions would be evaluated anew in every call.
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sktip._base import NOTHING
from sktip._encoder import CLIPFeatureTransformer
from sktip._shots.kept import KeptSamplesClassifier
from sktip._utils.fitting import extends_fit, fits
from sktip._utils.labels import numbered
from sktip._utils.prediction import LinearPredictionMixin
from sktip._utils.progress import progress
from sktip._utils.text_prior_parts import TextPriorPartsMixin

#: Without text, the logit of a class with less than one shot is lowered by the logarithm of its count,
#: which counts as at least this.
RAREST = 1e-6


class FewShotClassifier(TextPriorPartsMixin, LinearPredictionMixin, KeptSamplesClassifier):
    r"""The classifier to start with: learns from class names, shots and unlabelled images.

    The mean image feature of a class is predicted from the text feature of its name, and updated with
    its shots. A query f gets the logits

    .. math::
        a s f W^\top + \alpha \, g(f) + c(f)

    where s is CLIP's logit scale, W the text features, g the linear discriminant of the class means,
    and c a correction: a logistic regression that learns, from held-out shots, what the first two
    terms miss. Unlabelled images, if there are any, improve the means and the covariance. `fit`
    chooses every weight on the shots. The result is linear: the cost of a prediction does not depend
    on the number of shots.

    Read more in the :ref:`User Guide <guide_few_shot>`.

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

    class_weight : dict, "balanced" or None, default=None
        Weight of each class, by label, which multiplies `sample_weight`. ``"balanced"`` gives all
        classes with shots the same total weight.

    logit_scale : float, default=None
        Scale s of CLIP's logits. If None, the model's own, or 100 without an encoder.

    n_views : int, default=1
        Random views of each training image, whose features are averaged. Images only. Queries and
        unlabelled images are never augmented.

    device : str, default=None
        Torch device of predictions; `fit` uses the CPU. If None, CUDA if available, else the CPU.
        The encoder has its own device.

    random_state : int, RandomState instance or None, default=None
        Seed of the views.

    verbose : int, default=0
        If positive, show a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    coef_ : ndarray of shape (C, d)
        Weights of the logits ``f @ coef_.T + intercept_``, including the text prior.

    intercept_ : ndarray of shape (C,)
        Intercepts of the logits.

    text_weight_ : float
        Factor a of the text logits.

    means_weight_ : float
        Factor :math:`\alpha` of the discriminants; 0 without shots.

    shrinkage_ : float
        Fraction of the covariance that is replaced by its mean variance.

    kappa_ : float
        Weight of the predicted mean of a class, in shots.

    class_means_ : ndarray of shape (C, d) or None
        Class means: predicted from the text, and updated with the shots and the unlabelled images.
        None if there is only text.

    predicted_means_ : ndarray of shape (C, d) or None
        Class means as predicted from the text; without text, one mean for all classes.

    correction_coef_ : ndarray of shape (C, d)
        Coefficients of the correction c, which is 0 at the centre of all classes.

    class_counts_ : ndarray of shape (C,)
        Number of samples of each class, or the sum of their weights.

    shots_ : ndarray of shape (m, d)
        Unit features of the shots, in the order given. Shots of weight 0 are dropped.

    shot_codes_ : ndarray of shape (m,), int, or None
        Class of each shot, as an index into `classes_`.

    shot_weights_ : ndarray of shape (m,) or None
        Weight of each shot. None if the shots are not weighted.

    shot_groups_ : ndarray of shape (m,) or None
        Group of each shot. None without groups.

    label_beliefs_ : ndarray of shape (m,)
        Probability that the label of each shot is right. It multiplies the weight of the shot. All
        are 1 if fewer than one label in a hundred seems wrong.

    unlabeled_ : ndarray of shape (n, d), float32, or None
        Unit features of the unlabelled images, kept for `partial_fit`.

    trust_ : float or None
        Weight of the unlabelled images, from 0, where they change nothing, to 1. None without
        unlabelled images.

    evidence_ : dict of ndarray, or None
        Arrays that `explain` uses to attribute logits to shots. None without shots.

    n_iter_ : int
        Rounds of expectation-maximisation over the unlabelled images.

    text_features_ : ndarray of shape (C, d) or None
        Unit-norm text features of the classes. None without a text prior.

    logit_scale_ : float
        Scale s of CLIP's logits.

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
    ZeroShotClassifier : The same without shots and unlabelled images.
    TipAdapterClassifier : The cache model of the paper.

    Notes
    -----
    A class without shots is predicted from its text and, if there are any, the unlabelled images.

    Probabilities are calibrated on held-out shots. If CLIP's text logits suggest that the shots are
    easier to classify than ordinary photos, as studio photos are, all logits are multiplied by a
    factor of at least 0.7.

    `X_unlabeled` cannot be routed as metadata. Scikit-learn slices metadata like samples whenever it
    has as many rows as X, so each fold would silently get only some of the images. Write the loop over
    the folds yourself.

    Examples
    --------
    Names alone, then unlabelled images, then a few shots:

    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> images, names = load_digit_images(return_X_y=True)
    >>> clip = CLIPFeatureTransformer("tiny")
    >>> X = clip.transform(images[:600])
    >>> clf = FewShotClassifier(
    ...     clip, input="features", class_names=sorted(set(names)), templates="the digit {}"
    ... )
    >>> text = clf.fit().score(X[300:], names[300:600])
    >>> pool = clf.fit(X_unlabeled=X[:300]).score(X[300:], names[300:600])
    >>> shots = clf.fit(X[:40], names[:40], X_unlabeled=X[:300]).score(X[300:], names[300:600])
    >>> text < pool < shots
    True
    """

    _parameter_constraints: dict = {
        **KeptSamplesClassifier._parameter_constraints,
        "device": [str, None],
        "verbose": ["verbose"],
    }

    _without_prior = "predictions come from the shots alone"

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: str = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
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
        self.class_weight = class_weight
        self.logit_scale = logit_scale
        self.n_views = n_views
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @fits
    def fit(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        *,
        X_unlabeled: Any = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn from class names, shots and unlabelled images; each is optional.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d), default=None
            The shots: images if there is an `encoder` and ``input="image"``, else features. Without
            shots, `class_names` or `text_features` define the classes.

        y : array-like of shape (m,), default=None
            Their labels. Classes may have any number of shots, including none.

        X_unlabeled : sequence of images of length n, or array-like of shape (n, d), default=None
            Images without labels, similar to those that will be predicted; features if X is features.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each shot: a weight of 2 is the shot given twice. A shot of
            weight 0 is no shot: it is neither encoded nor kept, and makes no class.

        groups : array-like of shape (m,), default=None
            Group of each shot, such as the video that it is a frame of: shots of a group are held
            out together.

        Returns
        -------
        self : FewShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If there are neither shots nor text, or the arguments are inconsistent. It is raised before
            any image is encoded. Messages about unlabelled images begin with ``X_unlabeled``.

        ImageReadError
            If an image cannot be read. The estimator stays as it was before the call.
        """
        self._take(X, y, X_unlabeled=X_unlabeled, sample_weight=sample_weight, groups=groups)
        self._solve()
        return self

    @extends_fit
    def partial_fit(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        *,
        X_unlabeled: Any = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Add shots, new classes and unlabelled images. The result equals `fit` with all of them.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d), default=None
            More shots.

        y : array-like of shape (m,), default=None
            Their labels, of known classes or new ones.

        classes : array-like of shape (n,), default=None
            Further classes, which may be missing from `y`.

        X_unlabeled : sequence of images of length n, or array-like of shape (n, d), default=None
            More images without labels.

        sample_weight : array-like of shape (m,), default=None
            Non-negative weight of each new shot; one of weight 0 is no shot.

        groups : array-like of shape (m,), default=None
            Group of each new shot, where the earlier ones have groups.

        Returns
        -------
        self : FewShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            As in `fit`, or if the labels have another type than the earlier ones.
        """
        given = {"X_unlabeled": X_unlabeled, "sample_weight": sample_weight, "groups": groups}
        self._take(X, y, classes=classes, **given)
        self._solve()
        return self

    def _solve(self) -> None:
        """Fit the model to all shots and unlabelled images that are kept."""
        from sktip._maths.text_prior import add_pool, fit_text_prior

        if self.text_features_ is None and not len(self.shot_codes_):
            raise ValueError(NOTHING)
        weights = self._total_weights()
        steps = 1 if self.unlabeled_ is None else 2
        with progress("Fitting", "step", steps, verbose=self.verbose) as on_step:
            model = fit_text_prior(
                self.shots_,
                self.shot_codes_,
                weights,
                groups=numbered(self.shot_groups_),
                text=self.text_features_,
                logit_scale=self.logit_scale_,
                n_classes=len(self.classes_),
            )
            if self.text_features_ is None:
                # Without text, a class with less than one shot must not win by its prior mean.
                rare = np.log(np.maximum(model.statistics.presence, RAREST))
                model = replace(model, means_intercept=model.means_intercept + rare)
            on_step(text=model.text_weight, means=model.means_weight, shrinkage=model.shrinkage)
            coef, intercept, scale = model.coef, model.intercept, 1.0
            means = model.means
            self.trust_, self.n_iter_ = None, 0
            if self.unlabeled_ is not None:
                pool = add_pool(model, self.unlabeled_, self.text_features_)
                coef, intercept, scale = pool.coef, pool.intercept, pool.scale
                self.trust_, self.n_iter_ = pool.trust, pool.n_iter
                means = pool.means or means
                on_step(trust=pool.trust)
        dtype = self.shots_.dtype
        self.label_beliefs_ = np.divide(
            model.weights, weights, out=np.ones(len(weights)), where=weights > 0
        )
        self.coef_, self.intercept_ = coef.astype(dtype), intercept.astype(dtype)
        self._keep_parts(model, model.weights, scale, means)

    def _logit_function(self, dtype: np.dtype) -> Callable[[NDArray[Any]], NDArray[Any]]:
        from sktip._maths.device import as_tensor, resolve_device

        device = resolve_device(self.device)
        if device.type == "cpu":
            return super()._logit_function(dtype)
        weights, intercept = (as_tensor(a, dtype, device) for a in (self.coef_, self.intercept_))

        def logits_of(features: NDArray[Any]) -> NDArray[Any]:
            rows = as_tensor(features, dtype, device)
            return (rows @ weights.T + intercept).cpu().numpy()

        return logits_of
