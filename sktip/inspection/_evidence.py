"""The evidence of one prediction: text prior, cache, and the shots that voted."""

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.special import softmax
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar, get_tags
from sklearn.utils.validation import check_is_fitted

from sktip._base import on_features
from sktip._encoder import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder
from sktip._images.files import read_bytes
from sktip._images.pictures import as_image_list, describe, to_rgb
from sktip._shots.cache import BaseCacheClassifier
from sktip._utils.feature_names import with_feature_names
from sktip._utils.prediction import unit_rows
from sktip.exceptions import ImageReadError
from sktip.inspection._plot import (
    BLUE,
    LITERAL,
    ORANGE,
    check_matplotlib,
    drawable,
    last_step,
    new_axes,
)

#: Pictures are kept at most this large, in pixels a side.
PICTURE_SIZE = 320
#: Inches of a new figure: for the row of pictures, around the bars, and for the bar of a class.
PICTURES_HEIGHT, BARS_HEIGHT, CLASS_HEIGHT = 1.6, 1.3, 0.34


class CacheEvidenceDisplay:
    """Why a query got its answer: the shots that voted for it, and the part of the class names.

    The upper row shows the query beside the cached shots with the largest votes, each with its
    class and vote; a shot of the predicted class has a solid frame. Below, the logit of each of
    the likeliest classes is split into CLIP's text prior and the votes of the cache. The longest
    bar is the predicted class, and bars differ as much as their logits: the bars of the prior
    begin at the lowest of the classes shown, since what all have in common changes no answer.

    It is recommended to use `from_estimator` to create one. All parameters are stored as
    attributes.

    Read more in the :ref:`User Guide <guide_evidence>`.

    Parameters
    ----------
    classes : array-like of shape (C,)
        All classes of the classifier.

    prior : array-like of shape (C,) or None
        Part of each logit that is the text prior's; None without one.

    cache : array-like of shape (C,)
        Part of each logit that is the cache's: the votes of all shots, added up.

    indices : array-like of shape (n_shots,), int
        Rows of the cache with the largest votes, the largest first.

    weights : array-like of shape (n_shots,)
        Their votes.

    labels : array-like of shape (n_shots,)
        Their classes.

    query_picture : PIL image or array of shape (h, w) or (h, w, 3), default=None
        The query.

    shot_pictures : list of such pictures of length n_shots, default=None
        The shots of `indices`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the bars.

    figure_ : matplotlib Figure
        The figure.

    image_axes_ : list of matplotlib Axes
        Axes of the query, if its picture is known, and of the shots, if theirs are.

    prior_bars_, cache_bars_ : matplotlib BarContainer
        Bars of the text prior, None without one, and of the cache; the likeliest class first.

    See Also
    --------
    sktip.TipAdapterClassifier.nearest_shots : The same shots as arrays, for any number of queries.

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

    def __init__(
        self,
        *,
        classes: ArrayLike,
        prior: ArrayLike | None,
        cache: ArrayLike,
        indices: ArrayLike,
        weights: ArrayLike,
        labels: ArrayLike,
        query_picture: Any = None,
        shot_pictures: list | None = None,
    ):
        self.classes = classes
        self.prior = prior
        self.cache = cache
        self.indices = indices
        self.weights = weights
        self.labels = labels
        self.query_picture = query_picture
        self.shot_pictures = shot_pictures

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
        estimator : TipAdapterClassifier, TipAdapterClassifierCV, Pipeline or search
            Fitted; a Pipeline ends in one of them, and a search has found one.

        query : image, or array-like of shape (d,)
            A single image, or a single feature row where the estimator takes features.

        shots : sequence of images of length m, default=None
            Images of the cached shots, in the order of `cache_keys_`: those given to `fit`, then
            those given to `partial_fit`, without shots of weight 0. The classifier keeps their
            features only. Only those with the largest votes are read. None draws the bars alone.

        query_image : image, default=None
            Picture of a query that is a feature row.

        n_shots : int, default=5
            Shots to show; all of them, if there are fewer.

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
            If the estimator has no cache.

        ValueError
            If the query is not a single one, or `shots` are not as many as the cache has.

        ImageReadError
            If an image to be shown cannot be read.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_scalar(n_shots, "n_shots", Integral, min_val=1)
        check_is_fitted(estimator)
        estimator = getattr(estimator, "best_estimator_", estimator)
        classifier = last_step(estimator)
        if not isinstance(classifier, BaseCacheClassifier):
            raise TypeError(
                f"a {type(classifier).__name__} has no cache of shots to show; pass a fitted "
                "TipAdapterClassifier or TipAdapterClassifierCV, a Pipeline that ends in one, or a search "
                "that has refitted one."
            )
        n_cached = len(classifier.cache_keys_)
        if shots is not None:
            shots = as_image_list(shots)
            if len(shots) != n_cached:
                raise ValueError(
                    f"shots has {len(shots)} images, but the cache has {n_cached} shots; give the images "
                    "of all of them, in the order of cache_keys_."
                )
        takes_images = not get_tags(_first_step(estimator)).input_tags.two_d_array
        if takes_images and query_image is None:
            query_image = query
        if takes_images:
            X: Any = [query]
        else:
            X = with_feature_names(_one_row(query), _first_step(estimator))
        classifier, X = _as_features(estimator, X)
        indices, votes = (found[0] for found in classifier.nearest_shots(X, n_cached)[:2])
        feature = unit_rows(np.asarray(X))[0]
        codes, text = classifier.cache_codes_[indices], classifier.text_features_
        cache = np.bincount(codes, votes, minlength=len(classifier.classes_))
        indices = indices[:n_shots]
        max_pixels = (classifier.encoder or CLIPFeatureTransformer()).max_pixels
        display = cls(
            classes=classifier.classes_,
            prior=None if text is None else classifier.logit_scale_ * text @ feature,
            cache=cache,
            indices=indices,
            weights=votes[:n_shots],
            labels=classifier.classes_[codes[:n_shots]],
            query_picture=None if query_image is None else _picture(query_image, 0, max_pixels),
            shot_pictures=None
            if shots is None
            else [_picture(shots[row], row, max_pixels) for row in indices.tolist()],
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
        classes, cache = np.asarray(self.classes), np.asarray(self.cache)
        prior = np.zeros_like(cache) if self.prior is None else np.asarray(self.prior)
        likeliest = np.argsort(-(prior + cache), kind="stable")[:n_classes]
        pictures = len(self.shot_pictures or ()) + (self.query_picture is not None)
        height = BARS_HEIGHT + CLASS_HEIGHT * len(likeliest) + (PICTURES_HEIGHT if pictures else 0)
        self.ax_ = new_axes((7, height)) if ax is None else ax
        self.figure_ = self.ax_.figure
        winner = classes[likeliest[0]]
        self.image_axes_ = self._draw_pictures(pictures, winner, height) if pictures else []
        probabilities = softmax(prior + cache)[likeliest]
        self._draw_bars(prior[likeliest], cache[likeliest], probabilities)
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

    def _draw_bars(self, prior: NDArray, cache: NDArray, probabilities: NDArray) -> None:
        rows = np.arange(len(cache))
        start = prior - prior.min()
        self.prior_bars_ = None
        if self.prior is not None:
            self.prior_bars_ = self.ax_.barh(rows, start, color=BLUE, label="text prior")
        self.cache_bars_ = self.ax_.barh(
            rows, cache, left=start, color=ORANGE, label="cache: votes of all shots"
        )
        for row, end, probability in zip(rows, start + cache, probabilities, strict=True):
            self.ax_.annotate(
                _percent(probability), (end, row), (4, 0), textcoords="offset points", va="center",
                **LITERAL,
            )  # fmt: skip
        self.ax_.set_xlim(0, 1.12 * max((start + cache).max(), 1e-9))
        self.ax_.invert_yaxis()
        self.ax_.spines[["top", "right"]].set_visible(False)
        self.ax_.set_xlabel(
            "logit" if self.prior is None else "logit, above the lowest text prior shown"
        )
        self.ax_.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)


def _first_step(estimator: Any) -> Any:
    return estimator[0] if isinstance(estimator, Pipeline) else estimator


def _as_features(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the last step as a classifier of features, and the features of queries that it is given."""
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    classifier = last_step(estimator)
    if get_tags(classifier).input_tags.two_d_array:
        return classifier, X
    encoder = open_encoder(classifier.encoder)
    features = np.concatenate(list(encoder.views(as_image_list(X), on_failure=_fail)))
    return on_features(classifier, encoder), features


def _fail(index: int, error: ImageReadError) -> None:
    raise error


def _one_row(query: Any) -> NDArray:
    row = np.asarray(query)
    if row.ndim != 1:
        raise ValueError(
            f"query has shape {row.shape}; the estimator takes features, and a single query is a row "
            "of shape (d,), such as X[0]."
        )
    return row[np.newaxis]


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
