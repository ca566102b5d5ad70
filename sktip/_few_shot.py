"""The recommended classifier: it uses text, shots and unlabelled images, and needs no tuning."""

# The annotations of nested functions would be evaluated anew in every call.
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from sktip._base import (
    BaseCLIPClassifier,
    LinearPredictionMixin,
    Shots,
    Task,
)
from sktip._docs import with_shared_docs
from sktip._encoder import as_encoder
from sktip._encoding.session import EncoderSession
from sktip._explanation import ExplanationMixin
from sktip._input import GivenShots, reads_images
from sktip._maths.head import Head
from sktip._maths.unit import columns_of, row_batches, unit_norm
from sktip._utils.estimators import validated
from sktip._utils.labels import class_weighted
from sktip._utils.messages import progress, warn
from sktip._utils.threads import threads_for
from sktip.prompts import GENERAL_TEMPLATES

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from sktip._maths.pool import PoolAnswer

#: Gain in the expected accuracy from which `fit` recommends the shares of the unlabelled images as priors.
NOTABLE = 0.01


def _unit_blocks(rows: NDArray[Any], widths: Sequence[int]) -> NDArray[Any]:
    """Give each block of each row the length 1; without widths, all columns are one block."""
    if len(widths) < 2:
        return unit_norm(rows)
    return np.hstack([unit_norm(rows[:, columns]) for columns in columns_of(widths)])


def _one_or_each(numbers: list[float]) -> float | NDArray[Any]:
    return numbers[0] if len(numbers) == 1 else np.array(numbers)


def _note_uneven(answer: PoolAnswer, classes: NDArray[Any]) -> None:
    """Warn if `priors="unlabeled"` would improve answers for images like the unlabelled ones."""
    even, uneven = answer.right
    if uneven - even < NOTABLE:
        return
    most, least = classes[[answer.shares.argmax(), answer.shares.argmin()]].tolist()
    warn(
        f"X_unlabeled: {answer.shares.max():.0%} of the images seem to show {most!r}, and {answer.shares.min():.0%} "
        f"{least!r}. If the images to classify are like these, pass priors='unlabeled': about {uneven:.0%} of the "
        f"answers will be right, instead of {even:.0%}."
    )


@with_shared_docs
class FewShotClassifier(ExplanationMixin, LinearPredictionMixin, BaseCLIPClassifier):
    r"""Learns from a few labelled photos per class: the classifier to start with.

    It guesses from the name of a class how its photos look, and corrects the guess with yours. Photos
    without labels, if there are any, improve it further, and tell how many of each class there are.
    There is nothing to tune: `fit` chooses every weight on held-out photos. The result is linear, so that
    the cost of a prediction does not depend on the number of labelled photos, the shots.

    Read more in the :ref:`User Guide <guide_few_shot>`.

    Parameters
    ----------
    {encoder}

    {general_names}

    {features}

    blocks : sequence of int, default=None
        Features of several encoders side by side: the number of columns of each, such as ``[512, 768]``, the
        better encoder first. Each block gets unit norm, and its own class means and covariance; text belongs
        to the first block of its width. None means the blocks of a `JointEncoder`, else a single one.

    {class_weight}

    priors : {"uniform", "unlabeled"} or array-like of shape (C,), default="uniform"
        How often queries belong to each class: equally often; as often as the images of `X_unlabeled`,
        which the queries resemble; or these shares, in the order of the classes. `fit` warns if
        "unlabeled" would clearly help with queries like the unlabelled images.

    keep_unlabeled : bool, default=False
        Whether to keep the features of `X_unlabeled`, which `partial_fit` and `responsibilities` need. A saved
        classifier has 4 bytes for each number of them.

    {logit_scale}

    {verbose}

    Attributes
    ----------
    {classes_}

    {linear_}

    text_weight_ : float
        Factor of the text logits.

    means_weight_ : float, or ndarray of shape (n_blocks,)
        Factor of the discriminants of the class means; 0 without shots. One per block, if there are several.

    shrinkage_ : float, or ndarray of shape (n_blocks,)
        Fraction of the covariance that is replaced by its mean variance.

    class_means_ : ndarray of shape (C, d) or None
        Class means: predicted from the text, and updated with the shots and the unlabelled images.
        None if there is only text.

    predicted_means_ : ndarray of shape (C, d) or None
        Class means as predicted from the text; without text, one mean for all classes.

    label_beliefs_ : ndarray of shape (m,)
        Probability that the label of each shot is right. It multiplies the weight of the shot. All
        are 1 if fewer than one label in a hundred seems wrong.

    class_shares_ : ndarray of shape (C,) or None
        Estimated share of each class among the unlabelled images that show one of the classes. None without
        unlabelled images.

    class_share_errors_ : ndarray of shape (C,) or None
        Standard errors of these shares. About 95 % of the true shares are within 1.96 of them; 88 % if half of the
        images show other things that look like the classes.

    unknown_share_ : float or None
        Estimated share of the unlabelled images that show none of the classes.

    {shots_}

    unlabeled_features_ : ndarray of shape (n, d), float32, or None
        Unit features of the unlabelled images, with ``keep_unlabeled=True``.

    evidence_ : dict
        What `explain` takes the logits apart by, beside the shots: the weights of the discriminants and their
        covariance, block by block, the class means, the correction, and its residuals.

    {text_}

    {fitted_}

    See Also
    --------
    ZeroShotClassifier : The same without shots and unlabelled images.
    TipAdapterClassifier : The cache model of the paper.

    Notes
    -----
    A class without shots is predicted from its text and, if there are any, the unlabelled images.

    Copies of a shot, near copies and the shots of a group count as one photo. `sample_weight` says how the photos of
    one class compare, so that giving all of them twice changes nothing. `class_weight` multiplies the number of
    photos of a class.

    Probabilities are calibrated on held-out shots. Where these are few, they are less exact: with two to six classes of
    two to eight hard photos without class names they differ from the accuracy by 0.11 on average, and by up to 0.3.
    Texts that hardly differ between the classes, or tell the shots no better than chance, count as no text.

    `X_unlabeled` cannot be routed as metadata. Scikit-learn slices metadata like samples whenever it
    has as many rows as X, so each fold would silently get only some of the images. Write the loop over
    the folds yourself.

    Examples
    --------
    >>> from sktip import FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> photos, labels = load_digit_images(return_X_y=True)
    >>> clf = FewShotClassifier("tiny", templates="the digit {}").fit(photos[:60], labels[:60])
    >>> clf.predict(photos[60:63]).tolist() == labels[60:63].tolist()
    True

    Photos without labels, or without any labels at all:

    >>> clf = clf.fit(photos[:60], labels[:60], X_unlabeled=photos[60:300])
    >>> names = sorted(set(labels))
    >>> clf = clf.set_params(class_names=names).fit(X_unlabeled=photos[:300])
    """

    _parameter_constraints: dict = {
        **BaseCLIPClassifier._parameter_constraints,
        "blocks": ["array-like", None],
        "class_weight": [Mapping, StrOptions({"balanced"}), None],
        "priors": [StrOptions({"uniform", "unlabeled"}), "array-like"],
        "keep_unlabeled": ["boolean"],
        "verbose": ["verbose"],
    }

    predicted_means_: Any
    shot_features_: NDArray[Any]
    shot_codes_: NDArray[np.intp]
    class_shares_: Any
    unlabeled_features_: Any
    evidence_: dict[str, Any]

    _needs_shots = False
    _norm_per_block = True
    _without_prior = "predictions come from the shots alone"

    def __init__(
        self,
        encoder: BaseEstimator | str | None = None,
        *,
        class_names: Mapping | Sequence[str] | None = None,
        templates: str | Sequence[str] | Mapping = GENERAL_TEMPLATES,
        input: Literal["image", "features"] = "image",
        text_features: ArrayLike | None = None,
        blocks: Sequence[int] | None = None,
        class_weight: Mapping | Literal["balanced"] | None = None,
        priors: str | ArrayLike = "uniform",
        keep_unlabeled: bool = False,
        logit_scale: float | None = None,
        verbose: int = 0,
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.blocks = blocks
        self.class_weight = class_weight
        self.priors = priors
        self.keep_unlabeled = keep_unlabeled
        self.logit_scale = logit_scale
        self.verbose = verbose

    @validated
    def fit(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_unlabeled: Any = None,
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

        {sample_weight}

        X_unlabeled : sequence of images of length n, or array-like of shape (n, d), default=None
            Images without labels; features if X is features. Some may show none of the classes. A folder
            means all images in it and in the folders below it. Images that cannot be read are skipped,
            with one warning.

        {groups}

        Returns
        -------
        self : FewShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If there are neither shots nor text, or the arguments are inconsistent. It is raised before
            any image is encoded, but for `priors` that do not fit the classes. Messages about unlabelled images begin
            with ``X_unlabeled``.

        ImageReadError
            If a labelled image cannot be read, or none of the unlabelled. The estimator stays as it was before the
            call.
        """
        return self._fit(X, y, sample_weight, groups, X_unlabeled=X_unlabeled)

    @validated
    def partial_fit(
        self,
        X: Any = None,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        X_unlabeled: Any = None,
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

        {new_weight}

        X_unlabeled : sequence of images of length n, or array-like of shape (n, d), default=None
            More images without labels.

        groups : array-like of shape (m,), default=None
            Group of each new shot, where the earlier ones have groups.

        Returns
        -------
        self : FewShotClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            As in `fit`, if the labels have another type than the earlier ones, or if `fit` had unlabelled images
            and did not keep them: see `keep_unlabeled`.
        """
        reset = not self.__sklearn_is_fitted__()
        return self._fit(
            X, y, sample_weight, groups, X_unlabeled=X_unlabeled, classes=classes, reset=reset
        )

    def _check_method(
        self, given: Any, classes: NDArray, unlabeled: GivenShots | None, *, reset: bool
    ) -> dict[str, Any]:
        had_unlabeled = not reset and self.class_shares_ is not None
        if had_unlabeled and self.unlabeled_features_ is None:
            raise ValueError(
                "partial_fit needs the unlabelled images of fit, which were not kept: set keep_unlabeled=True before "
                "fit, or call fit with all shots and images."
            )
        has_unlabeled = had_unlabeled or unlabeled is not None
        return {"priors": self._prior_offsets(len(classes), has_unlabeled=has_unlabeled)}

    def _learn(
        self,
        shots: Shots,
        task: Task,
        *,
        priors: NDArray[Any] | None,
        unlabeled: NDArray[Any] | None = None,
    ) -> dict[str, Any]:
        from sktip._maths.folds import photo_weights
        from sktip._maths.pool import add_pool
        from sktip._maths.text_prior import fit_text_prior

        kept = shots._replace(features=_unit_blocks(shots.features[:, 0], task.widths))
        if unlabeled is not None:
            unlabeled = _unit_blocks(unlabeled, task.widths).astype(np.float32, copy=False)
        if task.places is not None:
            kept = kept.after(Shots.kept_by(self), task.places)
            parts = [part for part in (self.unlabeled_features_, unlabeled) if part is not None]
            unlabeled = np.concatenate(parts) if parts else None
        n_classes = len(task.classes)
        # Copies and frames of a video are one photo, however many there are.
        photos = photo_weights(kept.features, kept.codes, kept.weights, kept.groups)
        weights = np.asarray(class_weighted(self.class_weight, kept.codes, photos, task.classes))

        with progress(
            "Fitting", "step", 1 if unlabeled is None else 2, verbose=self.verbose
        ) as on_step:
            with threads_for(kept.features.size * n_classes):
                model = fit_text_prior(
                    kept.features,
                    kept.codes,
                    weights,
                    groups=kept.groups,
                    text=task.text_features,
                    logit_scale=task.logit_scale,
                    n_classes=n_classes,
                    widths=task.widths,
                )
            means_weight = _one_or_each(model.means_weights)
            shrinkage = _one_or_each(model.shrinkages)
            on_step(text=model.text_weight, means=means_weight, shrinkage=shrinkage)
            coef, intercept, means = model.coef, model.intercept, model.means
            shares = errors = unknown = None
            if unlabeled is not None:
                answer = add_pool(
                    coef,
                    intercept,
                    model.statistics,
                    unlabeled,
                    task.text_features,
                    weights_of_blocks=model.relative_weights,
                )
                coef, intercept = answer.coef, answer.intercept
                means = means if answer.means is None else answer.means
                shares, errors, unknown = answer.shares, answer.errors, answer.unknown
                if isinstance(self.priors, str) and self.priors == "uniform":
                    _note_uneven(answer, task.classes)
                priors = answer.prior_offsets if priors is None else priors
                on_step(unknown=unknown)

        dtype = kept.features.dtype
        return {
            "coef_": coef.astype(dtype),
            "intercept_": (intercept + priors).astype(dtype),
            "text_weight_": model.text_weight,
            "means_weight_": means_weight,
            "shrinkage_": shrinkage,
            "class_means_": means,
            "predicted_means_": model.prior,
            "label_beliefs_": np.divide(
                model.weights, weights, out=np.ones(len(weights)), where=weights > 0
            ),
            "class_shares_": shares,
            "class_share_errors_": errors,
            "unknown_share_": unknown,
            **kept.attributes(),
            "unlabeled_features_": unlabeled if self.keep_unlabeled else None,
            "_widths": task.widths,
            "evidence_": {
                **model.evidence,
                "means": model.means,
                "means_intercept": model.means_part[1],
                "correction": model.correction_part[0],
                "weights": model.weights,
            },
        }

    def _block_widths(self, X: Any, open_once: Callable[[], EncoderSession]) -> tuple[int, ...]:
        if self.blocks is None:
            joint = hasattr(as_encoder(self.encoder), "encoders")
            widths = open_once().widths if joint else ()
        else:
            widths = tuple(np.asarray(self.blocks).tolist())
            if not widths or not all(type(n) is int and n > 0 for n in widths):
                raise ValueError(
                    f"blocks={self.blocks!r} must be a sequence of positive integers: the number of columns of "
                    "each block, such as [512, 768]."
                )
        width = X.shape[1] if isinstance(X, np.ndarray) else None
        if width is None and widths and reads_images(self):
            width = open_once().width
        if widths and width is not None and sum(widths) != width:
            raise ValueError(
                f"the blocks {list(widths)} have {sum(widths)} columns, but X has {width} features; blocks needs the "
                "width of each encoder's features, in the order of the columns."
            )
        return widths if len(widths) > 1 else ()

    def _prior_offsets(self, n_classes: int, *, has_unlabeled: bool) -> NDArray[Any] | None:
        """Offsets of the logits for the given `priors`; None if the unlabelled images give them."""
        if isinstance(self.priors, str):
            if self.priors == "uniform":
                return np.zeros(n_classes)
            if not has_unlabeled:
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
            One row per unlabelled image, in the order given to `fit` and `partial_fit`. Columns follow `classes_`.

        Raises
        ------
        ValueError
            If there are no unlabelled images, or they were not kept.

        See Also
        --------
        FewShotClassifier.predict_proba : Predict the probabilities of any images, as a dense array.
        """
        from scipy.sparse import csr_array, vstack

        from sktip._maths.pool import probabilities

        check_is_fitted(self)
        images = self.unlabeled_features_
        if images is None:
            raise ValueError(
                "there are no unlabelled images: pass X_unlabeled to fit, and set keep_unlabeled=True."
            )
        blocks = []
        for rows in row_batches(len(images), len(self.classes_), images.dtype):
            p = probabilities(images[rows], self.coef_, self.intercept_)
            blocks.append(csr_array(np.where(p >= smallest, p, 0)))
        return vstack(blocks, format="csr")

    def __sktip_head__(self) -> Head:
        head = super().__sktip_head__()
        return replace(head, numbers={"widths": self._widths}) if self._widths else head

    def _parts(self, queries: NDArray[Any], logits: NDArray[Any]) -> dict[str, NDArray[Any]]:
        queries = _unit_blocks(queries, self._widths) if self._widths else queries
        scale, e = self.text_weight_ * self.logit_scale_, self.evidence_
        parts = {"text": self._text_part(queries, scale)}
        if len(self.shot_codes_):
            parts["means"] = e["means_intercept"] + np.zeros_like(logits)
            parts["correction"] = np.zeros_like(logits)
            widths = [len(block["centre"]) for block in e["blocks"]]
            for columns, block in zip(columns_of(widths), e["blocks"], strict=True):
                coef = (
                    block["weight"]
                    * (e["means"][:, columns] - block["centre"])
                    @ block["precision"]
                )
                parts["means"] += queries[:, columns] @ coef.T
                parts["correction"] += (queries[:, columns] - block["centre"]) @ e["correction"][
                    :, columns
                ].T
        # What the unlabelled images and `priors` have changed. Without them, the rest is rounding.
        plain = self.class_shares_ is None and isinstance(self.priors, str)
        last = "text" if plain else "unlabeled"
        rest = logits - sum(parts.values())
        return {**parts, last: parts.get(last, 0) + rest}

    def _shots_part(
        self, queries: NDArray[Any], targets: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        from sktip._maths.contributions import shot_contributions

        shots = Shots.kept_by(self)
        queries = _unit_blocks(queries, self._widths) if self._widths else queries
        contributions = np.zeros((len(queries), len(shots.codes)))
        if len(shots.codes):
            rows = self.evidence_["rows"]
            contributions[:, rows] = shot_contributions(
                self.evidence_,
                queries,
                targets,
                shots=shots.features[rows],
                codes=shots.codes[rows],
                weights=self.evidence_["weights"][rows],
                prior=self.predicted_means_,
                means=self.evidence_["means"],
            )
        return contributions, shots.codes
