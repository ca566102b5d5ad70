"""CacheEvidenceDisplay: the parts of the logits of one prediction, and the most important shots."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.special import softmax
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from sktip._encoder import CLIPFeatureTransformer
from sktip._images.files import read_bytes
from sktip._images.inputs import as_image_list, describe
from sktip._images.rgb import to_rgb
from sktip._split_encoder import takes_images
from sktip.inspection._one_query import evidence, says_why
from sktip.inspection._plot import (
    BLUE,
    GREEN,
    LITERAL,
    ORANGE,
    PURPLE,
    check_matplotlib,
    drawable,
    last_step,
    new_axes,
)

#: Largest side of the stored pictures, in pixels.
PICTURE_SIZE = 320
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


class CacheEvidenceDisplay:
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

    prior_bars_, cache_bars_, means_bars_, correction_bars_, unlabeled_bars_ : matplotlib BarContainer
        Bars of each part, with the most probable class first. None without the part.

    See Also
    --------
    sktip.TipAdapterClassifier.nearest_shots : Return the shots of many queries as arrays.
    sktip.FewShotClassifier.explain : Return the parts of the logits of many queries as arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.inspection import CacheEvidenceDisplay
    >>> X = [[1, 0, 0.5], [0.9, 0, 0.1], [0, 1, 0.4], [0.1, 0.8, 0]]
    >>> clf = TipAdapterClassifier(text_features=np.eye(2, 3), logit_scale=5).fit(X, [0, 0, 1, 1])
    >>> display = CacheEvidenceDisplay.from_estimator(clf, [0.8, 0.3, 0.1], n_shots=3)
    >>> display.labels
    array([0, 0, 1])
    >>> display.ax_.get_title()
    'prediction: 0 (98 %)'
    """

    prior_bars_: Any
    cache_bars_: Any
    means_bars_: Any
    correction_bars_: Any
    unlabeled_bars_: Any

    def __init__(
        self,
        *,
        classes: ArrayLike,
        prior: ArrayLike | None,
        cache: ArrayLike | None = None,
        indices: ArrayLike,
        weights: ArrayLike,
        labels: ArrayLike,
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
        estimator: Any,
        query: Any,
        *,
        shots: Any = None,
        query_image: Any = None,
        n_shots: int = 5,
        n_classes: int = 5,
        ax: Any = None,
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

        n_shots : int, default=5
            Largest number of shots to show.

        n_classes : int, default=5
            Largest number of classes to show, the most probable ones.

        ax : matplotlib Axes, default=None
            Axes to draw on, which the pictures share. If None, a new figure is created.

        Returns
        -------
        display : CacheEvidenceDisplay
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
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_scalar(n_shots, "n_shots", Integral, min_val=1)
        check_is_fitted(estimator)
        estimator = getattr(estimator, "best_estimator_", estimator)
        classifier = last_step(estimator)
        if not says_why(classifier):
            raise TypeError(
                f"a {type(classifier).__name__} has neither nearest_shots nor explain; pass a fitted "
                "TipAdapterClassifier, TipAdapterClassifierCV, FewShotClassifier, GDAClassifier or "
                "ProKeRClassifier, a Pipeline that ends with one, or a search with refit=True over one."
            )
        shots = None if shots is None else as_image_list(shots)
        found = evidence(estimator, query)
        _check_shots(shots, found.pop("n_shots"))
        if query_image is None and takes_images(estimator):
            query_image = query
        for name in ("indices", "weights", "labels"):
            found[name] = found[name][:n_shots]
        max_pixels = (classifier.encoder or CLIPFeatureTransformer()).max_pixels
        display = cls(
            classes=classifier.classes_,
            **found,
            query_picture=None if query_image is None else _picture(query_image, 0, max_pixels),
            shot_pictures=None
            if shots is None
            else [_picture(shots[row], row, max_pixels) for row in found["indices"].tolist()],
        )
        return display.plot(ax, n_classes=n_classes)

    def plot(self, ax: Any = None, *, n_classes: int = 5) -> Self:
        """Draw the pictures and the bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, which the pictures share. If None, a new figure is created.

        n_classes : int, default=5
            Largest number of classes to show, the most probable ones.

        Returns
        -------
        display : CacheEvidenceDisplay
            This display.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        check_scalar(n_classes, "n_classes", Integral, min_val=1)
        classes = np.asarray(self.classes)
        parts = {name: np.asarray(getattr(self, name)) for name in self._known_parts()}
        logits = sum(parts.values(), np.zeros(len(classes)))
        likeliest = np.argsort(-logits, kind="stable")[:n_classes]
        pictures = len(self.shot_pictures or ()) + (self.query_picture is not None)
        height = BARS_HEIGHT + CLASS_HEIGHT * len(likeliest) + (PICTURES_HEIGHT if pictures else 0)
        self.ax_ = new_axes((7, height)) if ax is None else ax
        self.figure_ = self.ax_.figure
        winner = classes[likeliest[0]]
        self.image_axes_ = self._draw_pictures(pictures, winner, height) if pictures else []
        probabilities = softmax(logits)[likeliest]
        self._draw_bars({name: part[likeliest] for name, part in parts.items()}, probabilities)
        self.ax_.set_yticks(
            range(len(likeliest)), [_short(label, 24) for label in classes[likeliest]], **LITERAL
        )
        # The padding leaves room for the legend above the axes.
        self.ax_.set_title(
            f"prediction: {_short(winner, 40)} ({_percent(probabilities[0])})", pad=28, **LITERAL
        )
        return self

    def _draw_pictures(self, n_pictures: int, winner: Any, height: float) -> list:
        """Move the bars down within their grid cell, and draw the pictures above them."""
        place = self.ax_.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax is not part of a grid, which the pictures and the bars need to share; create it with "
                "pyplot.subplots() or figure.add_subplot()."
            )
        heights = (PICTURES_HEIGHT, height - PICTURES_HEIGHT)
        grid = place.subgridspec(2, n_pictures, height_ratios=heights)
        self.ax_.set_subplotspec(grid[1, :])
        axes = [self.figure_.add_subplot(grid[0, column]) for column in range(n_pictures)]
        remaining = iter(axes)
        if self.query_picture is not None:
            _draw_picture(next(remaining), self.query_picture, "query", color="black")
        labels, weights = np.asarray(self.labels), np.asarray(self.weights)
        for rank, picture in enumerate(self.shot_pictures or ()):
            ours = labels[rank] == winner
            _draw_picture(
                next(remaining),
                picture,
                f"{_short(labels[rank], 12)}\n{weights[rank]:+#.3g}",
                color=ORANGE if ours else "gray",
                linestyle="-" if ours else "--",
            )
        return axes

    def _known_parts(self) -> list[str]:
        return [name for name in PARTS if getattr(self, name) is not None]

    def _draw_bars(self, parts: dict[str, NDArray], probabilities: NDArray) -> None:
        rows, ends = np.arange(len(probabilities)), np.zeros(len(probabilities))
        for name, (label, color) in PARTS.items():
            bars = None
            if name in parts:
                # Votes start at 0.
                width = parts[name] - (0 if name == "cache" else parts[name].min())
                bars = self.ax_.barh(rows, width, left=ends, color=color, label=label)
                ends += width
            setattr(self, f"{name}_bars_", bars)
        for row, end, probability in zip(rows, ends, probabilities, strict=True):
            self.ax_.annotate(
                _percent(probability), (end, row), (4, 0), textcoords="offset points", va="center",
                **LITERAL,
            )  # fmt: skip
        self.ax_.set_xlim(0, 1.12 * max(ends.max(), 1e-9))
        self.ax_.invert_yaxis()
        self.ax_.spines[["top", "right"]].set_visible(False)
        above = {
            ("cache",): "logit",
            ("prior", "cache"): "logit, above the lowest text prior shown",
        }
        self.ax_.set_xlabel(above.get(tuple(parts), "logit, each part above its lowest shown"))
        self.ax_.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1), ncols=max(1, len(parts)), frameon=False
        )


def _check_shots(shots: list | None, n_shots: int | None) -> None:
    """Check that the number of images is that of the fitted shots."""
    if shots is None:
        return
    if n_shots is None:
        raise ValueError(
            "shots cannot be shown, because the classifier has not kept their features; fit GDAClassifier with "
            "alpha='auto' and a text prior, or do not pass shots."
        )
    if len(shots) != n_shots:
        raise ValueError(
            f"shots has {len(shots)} images, but the classifier has {n_shots} shots; pass the images of all "
            "of them, in the order given to fit and without shots of weight 0."
        )


def _picture(image: Any, index: int, max_pixels: int) -> Image.Image:
    """Read an image as the encoder does, and keep it small."""
    where = describe(image, index)
    picture = to_rgb(image, read_bytes(image, where, max_pixels), where, max_pixels).copy()
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    return picture


def _draw_picture(ax: Any, picture: Any, title: str, **frame: Any) -> None:
    ax.imshow(picture, cmap="gray")
    ax.set_title(title, fontsize="medium", **LITERAL)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set(linewidth=2.5, **frame)


def _short(label: Any, width: int) -> str:
    """Break a class name into at most two lines, at a space or an underscore."""
    name = drawable(" ".join(str(label).split()))
    if len(name) <= width:
        return name
    cut = max(name.rfind(" ", 0, width), name.rfind("_", 0, width)) + 1 or width
    rest = name[cut:]
    if len(rest) > width:
        rest = rest[: width - 4].rstrip() + " ..."
    return f"{name[:cut].rstrip()}\n{rest}"


def _percent(probability: float) -> str:
    if 0 < probability < 0.005:
        return "<1 %"
    if 0.995 <= probability < 1:
        return ">99 %"
    return f"{100 * probability:.0f} %"
