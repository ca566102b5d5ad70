"""The evidence of one prediction: text prior, cache, and the shots that voted."""

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
from sktip._images.pictures import as_image_list, describe, to_rgb
from sktip.inspection._one_query import evidence, says_why, takes_images
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

#: Pictures are kept at most this large, in pixels a side.
PICTURE_SIZE = 320
#: Inches of a new figure: for the row of pictures, around the bars, and for the bar of a class.
PICTURES_HEIGHT, BARS_HEIGHT, CLASS_HEIGHT = 1.6, 1.3, 0.34

#: How the parts of the logits are called, and their colours; no classifier has cache and means.
PARTS = {
    "prior": ("text prior", BLUE),
    "cache": ("cache: votes of all shots", ORANGE),
    "means": ("class means", ORANGE),
    "correction": ("correction", GREEN),
    "unlabeled": ("unlabelled images", PURPLE),
}


class CacheEvidenceDisplay:
    """Why a query got its answer: what its logits are made of, and the shots that spoke for it.

    The upper row shows the query beside the shots that say most for the answer, each with its class
    and how far it moved the logit: its vote in a cache, or its part in the class means and the
    correction. A shot of the predicted class has a solid frame. Below, the logit of each of the
    likeliest classes is split into its parts, such as CLIP's text prior and the votes of the cache.
    The longest bar is the predicted class, and bars differ as much as their logits: all parts but
    the votes begin at the lowest of the classes shown, since what all have in common changes no
    answer.

    It is recommended to use `from_estimator` to create one. All parameters are stored as
    attributes.

    Read more in the :ref:`User Guide <guide_evidence>`.

    Parameters
    ----------
    classes : array-like of shape (C,)
        All classes of the classifier.

    prior : array-like of shape (C,) or None
        Part of each logit that is the text prior's; None without one.

    cache : array-like of shape (C,) or None
        Part of each logit that is the cache's: the votes of all shots, added up. None without one.

    indices : array-like of shape (n_shots,), int
        The shots that say most for the answer, the first first: their places among all shots.

    weights : array-like of shape (n_shots,)
        How far they moved the logit of the answer; with a cache, their votes.

    labels : array-like of shape (n_shots,)
        Their classes.

    query_picture : PIL image or array of shape (h, w) or (h, w, 3), default=None
        The query.

    shot_pictures : list of such pictures of length n_shots, default=None
        The shots of `indices`.

    means, correction, unlabeled : array-like of shape (C,), default=None
        Parts of each logit that `explain` of a classifier tells: those of the class means, of the
        correction and of the unlabelled images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the bars.

    figure_ : matplotlib Figure
        The figure.

    image_axes_ : list of matplotlib Axes
        Axes of the query, if its picture is known, and of the shots, if theirs are.

    prior_bars_, cache_bars_, means_bars_, correction_bars_, unlabeled_bars_ : matplotlib BarContainer
        Bars of each part, None without it; the likeliest class first.

    See Also
    --------
    sktip.TipAdapterClassifier.nearest_shots : The same shots as arrays, for any number of queries.
    sktip.FewShotClassifier.explain : The same parts as arrays, for any number of queries.

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
        """Look at one prediction of a fitted classifier, and draw it.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            Fitted; a classifier with `nearest_shots` or `explain`: TipAdapterClassifier,
            TipAdapterClassifierCV, FewShotClassifier, GDAClassifier or ProKeRClassifier. A Pipeline
            ends in one of them, and a search has found one.

        query : image, or array-like of shape (d,)
            A single image, or a single feature row where the estimator takes features.

        shots : sequence of images of length m, default=None
            Images of the shots, in the order given: those of `fit`, then those of `partial_fit`,
            without shots of weight 0. The classifier keeps their features only. Only those that
            are shown are read. None draws the bars alone.

        query_image : image, default=None
            Picture of a query that is a feature row.

        n_shots : int, default=5
            Shots to show; all that say something, if there are fewer.

        n_classes : int, default=5
            Classes to show, the likeliest ones; all of them, if there are fewer.

        ax : matplotlib Axes, default=None
            Axes to draw on; pictures take a part of their place. None makes a new figure.

        Returns
        -------
        display : CacheEvidenceDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator has neither a cache nor `explain`.

        ValueError
            If the query is not a single one, or `shots` are not as many as the classifier has
            learned from, or these are not known: `~sktip.GDAClassifier` keeps them with
            ``alpha="auto"`` and a text prior.

        ImageReadError
            If an image to be shown cannot be read.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_scalar(n_shots, "n_shots", Integral, min_val=1)
        check_is_fitted(estimator)
        estimator = getattr(estimator, "best_estimator_", estimator)
        classifier = last_step(estimator)
        if not says_why(classifier):
            raise TypeError(
                f"a {type(classifier).__name__} has neither a cache of shots nor explain; pass a fitted "
                "TipAdapterClassifier, TipAdapterClassifierCV, FewShotClassifier, GDAClassifier or "
                "ProKeRClassifier, a Pipeline that ends in one, or a search that has refitted one."
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
            Axes to draw on; pictures take a part of their place. None makes a new figure.

        n_classes : int, default=5
            Classes to show, the likeliest ones.

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
        # Points above the axes for the legend, which would hide bars inside.
        self.ax_.set_title(
            f"prediction: {_short(winner, 40)} ({_percent(probabilities[0])})", pad=28, **LITERAL
        )
        return self

    def _draw_pictures(self, n_pictures: int, winner: Any, height: float) -> list:
        """Move the bars down within their place, and draw the pictures above."""
        place = self.ax_.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax has no place in a grid, which the pictures share with the bars; make it by "
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
                # Votes are counted from 0.
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
    """Check that the images of shots are as many as the shots that are known."""
    if shots is None:
        return
    if n_shots is None:
        raise ValueError(
            "shots cannot be shown, since the classifier has not kept them; fit a GDAClassifier with "
            "alpha='auto' and a text prior, or leave shots out."
        )
    if len(shots) != n_shots:
        raise ValueError(
            f"shots has {len(shots)} images, but the classifier has {n_shots} shots; give the images "
            "of all of them, in the order given, without those of weight 0."
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
    """Break a class name into at most two lines, where it has a space or an underscore."""
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
