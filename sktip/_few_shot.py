"""The recommended classifier: it uses text, shots and unlabelled images, and needs no tuning."""

# The annotations of nested functions would be evaluated anew in every call.
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from sktip._base import NOTHING, BaseCLIPClassifier, reads_images
from sktip._encoder import CLIPFeatureTransformer
from sktip._images.pictures import as_image_list
from sktip._maths.unit import unit_norm
from sktip._shots.kept import KeptShotsMixin
from sktip._utils.explanation import ExplanationMixin
from sktip._utils.fitting import extends_fit, fits
from sktip._utils.labels import check_groups, codes_of
from sktip._utils.prediction import LinearPredictionMixin, row_blocks
from sktip._utils.progress import progress
from sktip.exceptions import ImageReadError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Numbers of the shots, times classes, below which threads only wait for each other.
LARGE = 2**30


class FewShotClassifier(
    ExplanationMixin, LinearPredictionMixin, KeptShotsMixin, BaseCLIPClassifier
):
    r"""The classifier to start with: learns from class names, shots and unlabelled images.

    It guesses from the name of a class how its images look, and corrects the guess with the shots: the
    labelled images. Images without labels, if there are any, improve it further, and tell how many of each
    class there are. There is nothing to tune: `fit` chooses every weight on held-out shots. The result is
    linear, so that the cost of a prediction does not depend on the number of shots.

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

    priors : {"uniform", "unlabeled"} or array-like of shape (C,), default="uniform"
        How often queries belong to each class: equally often; as often as the images of `X_unlabeled`,
        which the queries resemble; or these shares, in the order of the classes.

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
        Factor of the text logits.

    means_weight_ : float
        Factor of the discriminants of the class means; 0 without shots.

    shrinkage_ : float
        Fraction of the covariance that is replaced by its mean variance.

    class_means_ : ndarray of shape (C, d) or None
        Class means: predicted from the text, and updated with the shots and the unlabelled images.
        None if there is only text.

    predicted_means_ : ndarray of shape (C, d) or None
        Class means as predicted from the text; without text, one mean for all classes.

    correction_coef_ : ndarray of shape (C, d)
        Coefficients of the correction, a logistic regression on what text and class means miss.

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

    class_shares_ : ndarray of shape (C,) or None
        Estimated share of each class among the unlabelled images that show one of the classes. None without
        unlabelled images.

    class_share_errors_ : ndarray of shape (C,) or None
        Standard errors of these shares.

    unknown_share_ : float or None
        Estimated share of the unlabelled images that show none of the classes.

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

    Probabilities are calibrated on held-out shots. Copies and near copies of a shot are held out together.

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
        **BaseCLIPClassifier._parameter_constraints,
        "priors": [StrOptions({"uniform", "unlabeled"}), "array-like"],
        "n_views": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "device": [str, None],
        "verbose": ["verbose"],
    }

    _without_prior = "predictions come from the shots alone"

    unlabeled_: NDArray[Any] | None
    predicted_means_: Any
    _evidence: dict[str, Any]

    def __init__(
        self,
        encoder: CLIPFeatureTransformer | None = None,
        *,
        input: str = "image",
        text_features: ArrayLike | None = None,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = "a photo of a {}.",
        class_weight: Mapping | str | None = None,
        priors: str | ArrayLike = "uniform",
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
        self.priors = priors
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
            Images without labels; features if X is features. Some may show none of the classes.

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
            any image is encoded, but for `priors` that do not fit the classes. Messages about unlabelled images begin with ``X_unlabeled``.

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
        from sktip._maths.pool import add_pool
        from sktip._maths.text_prior import fit_text_prior

        if self.text_features_ is None and not len(self.shot_codes_):
            raise ValueError(NOTHING)
        n_classes = len(self.classes_)
        priors = self._given_priors()
        weights = (
            np.ones(len(self.shot_codes_)) if self.shot_weights_ is None else self.shot_weights_
        )
        if (weighted := self._class_weighted(self.shot_codes_, weights)) is not None:
            weights = weighted
        steps = 1 if self.unlabeled_ is None else 2
        with progress("Fitting", "step", steps, verbose=self.verbose) as on_step:
            size = self.shots_.size * n_classes
            with threadpool_limits(1 if size < LARGE else None, user_api="blas"):
                model = fit_text_prior(
                    self.shots_,
                    self.shot_codes_,
                    weights,
                    groups=self.shot_groups_,
                    text=self.text_features_,
                    logit_scale=self.logit_scale_,
                    n_classes=n_classes,
                )
            on_step(text=model.text_weight, means=model.means_weight, shrinkage=model.shrinkage)
            coef, intercept, means = model.coef, model.intercept, model.means
            shares = errors = unknown = None
            if self.unlabeled_ is not None:
                pool = add_pool(
                    coef, intercept, model.statistics, self.unlabeled_, self.text_features_
                )
                coef, intercept = pool.coef, pool.intercept
                means = means if pool.means is None else pool.means
                shares, errors, unknown = pool.shares, pool.errors, pool.unknown
                if priors is None:
                    priors = pool.prior_offsets
                on_step(unknown=unknown)
        dtype = self.shots_.dtype
        self.coef_, self.intercept_ = coef.astype(dtype), (intercept + priors).astype(dtype)
        self.text_weight_, self.means_weight_ = model.text_weight, model.means_weight
        self.shrinkage_ = model.shrinkage
        self.class_means_, self.predicted_means_ = means, model.prior
        self.correction_coef_ = model.correction_part[0]
        self.class_counts_ = model.statistics.counts
        self.label_beliefs_ = np.divide(
            model.weights, weights, out=np.ones(len(weights)), where=weights > 0
        )
        self.class_shares_, self.class_share_errors_ = shares, errors
        self.unknown_share_ = unknown
        # What `explain` needs.
        self._evidence = {
            **model.evidence,
            "means": model.means,
            "means_intercept": model.means_part[1],
            "weights": model.weights,
        }

    def _given_priors(self) -> NDArray[Any] | None:
        """Offsets of the logits for the given `priors`; None if the unlabelled images give them."""
        n_classes = len(self.classes_)
        if isinstance(self.priors, str):
            if self.priors == "uniform":
                return np.zeros(n_classes)
            if self.unlabeled_ is None:
                raise ValueError("priors='unlabeled' needs unlabelled images: pass X_unlabeled.")
            return None
        shares = np.asarray(self.priors, np.float64)
        if shares.shape != (n_classes,) or not (shares >= 0).all() or not 0 < shares.sum() < np.inf:
            raise ValueError(
                f"priors needs one share per class, {n_classes} numbers of at least 0 and a positive sum, in "
                f"the order of classes_; got {self.priors!r}."
            )
        # Logits stay finite, also of a class with a share of 0.
        return np.log(np.maximum(shares / shares.sum() * n_classes, 1e-30))

    def responsibilities(self, *, smallest: float = 1e-3) -> csr_array:
        """Return the class probabilities of each unlabelled image that was given to `fit`.

        Parameters
        ----------
        smallest : float, default=1e-3
            Smaller probabilities are omitted, so that the result needs little memory.

        Returns
        -------
        responsibilities : sparse array of shape (n, C), float32
            One row per row of `unlabeled_`. Columns follow `classes_`.

        Raises
        ------
        ValueError
            If there are no unlabelled images.

        See Also
        --------
        FewShotClassifier.predict_proba : Predict the probabilities of any images, as a dense array.
        """
        from scipy.sparse import csr_array, vstack

        from sktip._maths.pool import probabilities

        check_is_fitted(self)
        if self.unlabeled_ is None:
            raise ValueError("there are no unlabelled images; pass them to fit as X_unlabeled.")
        blocks = []
        for rows in row_blocks(len(self.unlabeled_), len(self.classes_), self.unlabeled_.dtype):
            p = probabilities(self.unlabeled_[rows], self.coef_, self.intercept_)
            blocks.append(csr_array(np.where(p >= smallest, p, 0)))
        return vstack(blocks, format="csr")

    def _parts(self, queries: NDArray[Any], logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
        parts = {"text": self._text_part(queries, self.text_weight_ * self.logit_scale_)}
        if self.means_weight_:
            e = self._evidence
            centred = queries - e["centre"]
            coef = self.means_weight_ * (e["means"] - e["centre"]) @ e["precision"]
            parts["means"] = queries @ coef.T + e["means_intercept"]
            parts["correction"] = centred @ self.correction_coef_.T
        # What the unlabelled images and `priors` have changed. Without them, the rest is rounding.
        plain = self.unlabeled_ is None and isinstance(self.priors, str)
        last = "text" if plain else "unlabeled"
        rest = logits - sum(parts.values())
        return {**parts, last: parts.get(last, 0) + rest}

    def _shots_part(
        self, queries: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        from sktip._maths.text_prior import shot_contributions

        moved = np.zeros((len(queries), len(self.shot_codes_)))
        if len(self.shot_codes_):
            rows = self._evidence["rows"]
            moved[:, rows] = shot_contributions(
                self._evidence,
                queries,
                targets,
                shots=self.shots_[rows],
                codes=self.shot_codes_[rows],
                weights=self._evidence["weights"][rows],
                prior=self.predicted_means_,
                means=self._evidence["means"],
                means_weight=self.means_weight_,
            )
        return moved, self.shot_codes_

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

    def _take(
        self,
        X: Any,
        y: ArrayLike | None,
        *,
        classes: ArrayLike | None = None,
        X_unlabeled: Any,
        sample_weight: ArrayLike | None,
        groups: ArrayLike | None,
    ) -> None:
        """Encode shots and unlabelled images, and append them to the kept ones."""
        first = not hasattr(self, "classes_")
        labels = np.array([])
        has_shots = not (_is_empty(X) and _is_empty(y))
        # Everything is checked before anything is encoded.
        if X is None and has_shots:
            raise ValueError("y was passed without X; pass the shots as X.")
        if has_shots:
            X, labels = self._start_fit(X, y, self.n_views, reset=first)
            shot_groups = check_groups(groups, len(X))
            counting = self._shots_that_count(X, labels, sample_weight)
            labels = counting[1]
        elif not _is_empty(sample_weight):
            raise ValueError("sample_weight was passed without shots; pass X and y.")
        elif not _is_empty(groups):
            raise ValueError("groups were passed without shots; pass X and y.")
        unlabeled = None
        if not _is_empty(X_unlabeled):
            with _about_unlabeled():
                unlabeled = self._start_unlabeled(X_unlabeled, reset=first and not has_shots)
        if has_shots or not _is_empty(classes):
            moved = self._learn_more_classes(labels, classes)
            if not first:
                self.shot_codes_ = moved[self.shot_codes_]
        elif first:
            self._learn_classes(None)
        if first:
            self._start_empty(has_features=has_shots or unlabeled is not None)
        if has_shots:
            self._add_shots(counting, shot_groups)
        if unlabeled is not None:
            with _about_unlabeled():
                self._add_unlabeled(unlabeled)

    def _start_unlabeled(self, X_unlabeled: Any, *, reset: bool) -> Any:
        """Check unlabelled images or features."""
        if reads_images(self):
            return as_image_list(X_unlabeled)
        return self._validate_features(X_unlabeled, reset=reset)

    def _start_empty(self, *, has_features: bool) -> None:
        """Set the state without shots and unlabelled images."""
        self.shot_codes_ = np.empty(0, np.intp)
        self.shot_weights_ = self.shot_groups_ = None
        self.unlabeled_ = None
        if self.text_features_ is not None:
            self.shots_ = self.text_features_[:0]
            if not has_features and not reads_images(self):
                self.n_features_in_ = self.text_features_.shape[1]

    def _add_shots(self, counting: tuple, groups: NDArray[Any] | None) -> None:
        X, labels, weights, rows = counting
        shots = unit_norm(self._shot_features(X, self.n_views, rows).mean(axis=1))
        groups = groups if groups is None or rows is None else groups[rows]
        self._append_shots(shots, codes_of(labels, self.classes_), weights, groups)

    def _add_unlabeled(self, X_unlabeled: Any) -> None:
        new = unit_norm(self._shot_features(X_unlabeled)[:, 0]).astype(np.float32, copy=False)
        old = self.unlabeled_
        self.unlabeled_ = new if old is None else np.concatenate([old, new])


def _is_empty(given: Any) -> bool:
    """Whether an argument is None or has no rows."""
    if given is None:
        return True
    shape = getattr(given, "shape", None)
    return (shape[0] if shape else len(given) if hasattr(given, "__len__") else 1) == 0


@contextmanager
def _about_unlabeled() -> Iterator[None]:
    """Begin error messages with "X_unlabeled"."""
    try:
        yield
    except (TypeError, ValueError, ImageReadError) as error:
        raise type(error)(f"X_unlabeled: {error}") from error
