"""EvidenceDisplay: the parts of the logits of one prediction, and the most important shots."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sktip._encoding.session import open_encoder
from sktip._images.inputs import as_image_list
from sktip._split_encoder import split_encoder, takes_images
from sktip._utils.estimators import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip._utils.optional import import_optional
from sktip.inspection._evidence_map import evidence_map
from sktip.inspection._plot import (
    BLUE,
    GREEN,
    LITERAL,
    ORANGE,
    PURPLE,
    draw_picture,
    grid_within,
    last_step,
    new_axes,
    percent,
    short,
    small_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Heights in a new figure, in inches: the row of pictures, the space around the bars, and one bar.
PICTURES_HEIGHT, BARS_HEIGHT, CLASS_HEIGHT = 1.6, 1.3, 0.34

#: Names and colours of the parts of the logits. No classifier has both a cache and class means.
PARTS = {
    "prior": ("text prior", BLUE),
    "cache": ("cache: votes of all shots", ORANGE),
    "means": ("class means", ORANGE),
    "correction": ("correction", GREEN),
    "unlabeled": ("unlabelled images", PURPLE),
}


class EvidenceDisplay:
    """Plot why a query got its prediction: the parts of its logits, and the most important shots.

    The upper row shows the query and the shots that contribute most to the prediction, each with its
    class and its contribution to the logit: its vote in a cache, or its part in the class means and
    the correction. Shots of the predicted class have a solid frame. Below, the logit of each of the
    most probable classes is split into its parts, such as CLIP's text prior and the votes of the cache.
    The longest bar is that of the predicted class, and differences between bars are differences
    between logits. Each part except the votes starts at its smallest value among the classes shown,
    because what all classes have in common does not change the prediction.

    It is recommended to use `from_estimator` to create a display. All parameters are stored as
    attributes.

    Read more in the :ref:`User Guide <guide_evidence>`.

    Parameters
    ----------
    classes : array-like of shape (C,)
        All classes of the classifier.

    prior : array-like of shape (C,) or None
        Text prior of each class. None without a text prior.

    cache : array-like of shape (C,) or None
        Sum of the votes of the shots of each class. None without a cache.

    indices : array-like of shape (n_shots,), int
        Indices of the shots with the largest contributions, in descending order.

    weights : array-like of shape (n_shots,)
        Contributions of these shots to the logit of the predicted class; with a cache, their votes.

    labels : array-like of shape (n_shots,)
        Classes of these shots.

    query_picture : PIL image or array of shape (h, w) or (h, w, 3), default=None
        Picture of the query.

    shot_pictures : list of such pictures of length n_shots, default=None
        Pictures of the shots.

    means, correction, unlabeled : array-like of shape (C,), default=None
        Parts of each logit from `explain` of a classifier: of the class means, of the correction and of
        the unlabelled images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the bars.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    image_axes_ : list of matplotlib Axes
        Axes of the pictures: of the query and of the shots, if they are known.

    bars_ : dict of str to matplotlib BarContainer
        Bars of each part by its name, with the most probable class first.

    See Also
    --------
    evidence_map : Return which part of the query speaks for a class.
    sktip.TipAdapterClassifier.nearest_shots : Return the shots of many queries as arrays.
    sktip.FewShotClassifier.explain : Return the parts of the logits of many queries as arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.inspection import EvidenceDisplay
    >>> X = [[1, 0, 0.5], [0.9, 0, 0.1], [0, 1, 0.4], [0.1, 0.8, 0]]
    >>> clf = TipAdapterClassifier(text_features=np.eye(2, 3), logit_scale=5).fit(X, [0, 0, 1, 1])
    >>> display = EvidenceDisplay.from_estimator(clf, [0.8, 0.3, 0.1], n_shots=3)
    >>> display.labels
    array([0, 0, 1])
    >>> display.ax_.get_title()
    'prediction: 0 (98 %)'
    """

    def __init__(
        self,
        *,
        classes: ArrayLike,
        prior: ArrayLike | None,
        cache: ArrayLike | None = None,
        indices: Any,
        weights: Any,
        labels: Any,
        query_picture: Any = None,
        shot_pictures: list | None = None,
        means: ArrayLike | None = None,
        correction: ArrayLike | None = None,
        unlabeled: ArrayLike | None = None,
    ):
        self.classes = classes
        self.prior = prior
        self.cache = cache
        self.indices = indices
        self.weights = weights
        self.labels = labels
        self.query_picture = query_picture
        self.shot_pictures = shot_pictures
        self.means = means
        self.correction = correction
        self.unlabeled = unlabeled

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        query: Any,
        *,
        shots: Any = None,
        query_image: Any = None,
        where: bool = False,
        n_shots: int = 5,
        n_classes: int = 5,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot one prediction of a fitted classifier.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            A fitted TipAdapterClassifier, TipAdapterClassifierCV, FewShotClassifier, GDAClassifier or
            ProKeRClassifier, a Pipeline that ends with one of them, or a search over one of them.

        query : image, or array-like of shape (d,)
            A single image, or a single feature row if the estimator takes features.

        shots : sequence of images of length m, default=None
            Images of the shots, which the classifier does not keep: those given to `fit`, then those
            given to `partial_fit`, in the same order and without shots of weight 0. Only the images
            that are shown are read. If None, only the bars are drawn.

        query_image : image, default=None
            Picture of the query, if `query` is a feature row.

        where : bool, default=False
            Whether to show which part of the query speaks for the predicted class, see `evidence_map`. The estimator
            must have an encoder, and the picture of the query must be known.

        n_shots : int, default=5
            Largest number of shots to show.

        n_classes : int, default=5
            Largest number of classes to show, the most probable ones.

        ax : matplotlib Axes, default=None
            Axes to draw on, which the pictures share. If None, a new figure is created.

        Returns
        -------
        display : EvidenceDisplay
            The display, after drawing.

        Raises
        ------
        TypeError
            If the estimator has neither a cache nor `explain`.

        ValueError
            If `query` is not a single query, or if the number of `shots` is not that of the fitted
            shots. Also if the classifier has not kept its shots: `~sktip.GDAClassifier` keeps them
            only with ``alpha="auto"`` and a text prior.

        ImageReadError
            If an image to show cannot be read.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{cls.__name__}.from_estimator"
        )
        check_scalar(n_shots, "n_shots", Integral, min_val=1)
        check_is_fitted(estimator)
        estimator = getattr(estimator, "best_estimator_", estimator)
        classifier = last_step(estimator)
        if not hasattr(classifier, "nearest_shots") and not hasattr(classifier, "explain"):
            raise TypeError(
                f"a {type(classifier).__name__} has neither nearest_shots nor explain; pass a fitted "
                "classifier that has one, such as FewShotClassifier, a Pipeline that ends with it, or a search "
                "with refit=True over it."
            )
        classes, pictures = classifier.classes_, None
        encoder = split_encoder(estimator, optional=True)[0]
        if query_image is None and takes_images(estimator):
            query_image = query
        picture = None if query_image is None else small_picture(query_image, 0, encoder)
        if where and picture is None:
            raise ValueError("where=True needs the picture of the query; pass it as query_image.")
        found = _evidence(estimator, query)
        if where:
            logits = sum(np.asarray(found[name]) for name in PARTS if found.get(name) is not None)
            target = classes[np.argmax(logits)]
            picture = evidence_map(estimator, query_image, target).picture
        n_kept = found.pop("n_kept")
        for name in ("indices", "weights", "labels"):
            found[name] = found[name][:n_shots]
        if shots is not None:
            shots = as_image_list(shots)
            if len(shots) != n_kept:
                raise ValueError(
                    f"shots has {len(shots)} images, but the classifier has kept {n_kept} shots; pass the images "
                    "of all of them, in the order given to fit and without shots of weight 0. GDAClassifier "
                    "keeps shots only with alpha='auto' and a text prior."
                )
            pictures = [small_picture(shots[row], row, encoder) for row in found["indices"]]
        display = cls(classes=classes, **found, query_picture=picture, shot_pictures=pictures)
        return display.plot(ax, n_classes=n_classes)

    def plot(self, ax: "Axes | None" = None, *, n_classes: int = 5) -> Self:
        """Draw the pictures and the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which the pictures share. If None, a new figure is created.

        n_classes : int, default=5
            Largest number of classes to show, the most probable ones.

        Returns
        -------
        display : EvidenceDisplay
            This display.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{type(self).__name__}.plot"
        )
        check_scalar(n_classes, "n_classes", Integral, min_val=1)
        classes = np.asarray(self.classes)
        parts = {
            name: np.asarray(part) for name in PARTS if (part := getattr(self, name)) is not None
        }
        logits = sum(parts.values(), np.zeros(len(classes)))
        shown = np.argsort(-logits, kind="stable")[:n_classes]
        rows, winner = range(len(shown)), classes[shown[0]]
        probabilities = [percent(p) for p in softmax(logits)[shown]]
        pictures = self._pictures(winner)
        bars_height = BARS_HEIGHT + CLASS_HEIGHT * len(shown)
        if ax is None:
            ax = new_axes((7, bars_height + PICTURES_HEIGHT * bool(pictures)))
        self.ax_, self.figure_, self.image_axes_, self.bars_ = ax, ax.figure, [], {}
        if pictures:
            heights = (PICTURES_HEIGHT, bars_height)
            grid = grid_within(ax, 2, len(pictures), height_ratios=heights)
            ax.set_subplotspec(grid[1, :])
            for column, (picture, title, frame) in enumerate(pictures):
                self.image_axes_.append(self.figure_.add_subplot(grid[0, column]))
                draw_picture(self.image_axes_[-1], picture, title, **frame)
        ends = np.zeros(len(shown))
        for name, part in parts.items():
            label, color = PARTS[name]
            # Votes start at 0.
            widths = part[shown] - (0 if name == "cache" else part[shown].min())
            bars = ax.barh(rows, widths, left=ends, color=color, label=label)
            self.bars_[name], ends = bars, ends + widths
        ax.bar_label(bars, probabilities, padding=4, **LITERAL)
        ax.margins(x=0.12)
        ax.invert_yaxis()
        ax.set_yticks(rows, [short(label, 24) for label in classes[shown]], **LITERAL)
        ax.set_xlabel("logit, up to what all classes have in common")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(parts), frameon=False)
        # The padding leaves room for the legend.
        title = f"prediction: {short(winner, 40)} ({probabilities[0]})"
        ax.set_title(title, pad=28, **LITERAL)
        return self

    def _pictures(self, winner: Any) -> list[tuple[Any, str, dict[str, Any]]]:
        """Pictures of the query and the shots that are known, with their titles and frames."""
        found: list[tuple[Any, str, dict[str, Any]]] = []
        if self.query_picture is not None:
            found.append((self.query_picture, "query", {"color": "black"}))
        for rank, picture in enumerate(self.shot_pictures or []):
            label, weight = self.labels[rank], self.weights[rank]
            frame = {"color": ORANGE} if label == winner else {"color": "gray", "linestyle": "--"}
            found.append((picture, f"{short(label, 12)}\n{weight:+#.3g}", frame))
        return found


def _evidence(estimator: BaseEstimator, query: Any) -> dict[str, Any]:
    """Parts of the logits of a query, and the shots with a contribution, the largest first.

    ``n_kept`` is the number of shots that the classifier has kept.
    """
    classifier = estimator
    if takes_images(estimator):
        encoder, classifier = split_encoder(estimator, optional=True)
        session = open_encoder(encoder)
        check_same_model(classifier, session)
        X = session.features([query])
    elif np.ndim(query) == 1:
        X = np.asarray(query)[np.newaxis]
    else:
        raise ValueError(
            f"query has the shape {np.shape(query)}; the estimator takes features, so pass a single row of "
            "shape (d,), such as X[0]."
        )
    X = with_feature_names(X, classifier)
    if isinstance(classifier, Pipeline):
        X = classifier[:-1].transform(X) if len(classifier) > 1 else X
        classifier = classifier[-1]
    text = classifier.text_features_
    if hasattr(classifier, "nearest_shots"):
        n_kept = len(classifier.cache_keys_)
        indices, votes, labels = (found[0] for found in classifier.nearest_shots(X, n_kept))
        codes = classifier.cache_codes_[indices]
        feature = normalize(np.asarray(X))[0]
        return {
            "prior": None if text is None else classifier.logit_scale_ * text @ feature,
            "cache": np.bincount(codes, votes, minlength=len(classifier.classes_)),
            "indices": indices,
            "weights": votes,
            "labels": labels,
            "n_kept": n_kept,
        }
    why = classifier.explain(X)
    parts = {
        name: why[name][0] if why[name].any() else None
        for name in ("means", "correction", "unlabeled")
    }
    weights, labels = (np.zeros(0),) * 2 if why.shots is None else (why.shots[0], why.shot_labels)
    order = np.argsort(-weights, kind="stable")
    # Shots of other classes may have no contribution.
    indices = order[weights[order] != 0]
    return {
        "prior": None if text is None else why.text[0],
        **parts,
        "indices": indices,
        "weights": weights[indices],
        "labels": labels[indices],
        "n_kept": len(weights),
    }
