"""PredictionsDisplay: images with their predictions."""

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_scalar, column_or_1d
from sklearn.utils.validation import check_is_fitted

from sktip._images.inputs import as_image_list, looks_like_images
from sktip._predict_images import predict_images
from sktip._split_encoder import split_encoder, takes_images
from sktip._utils.optional import import_optional
from sktip.inspection._plot import (
    GREEN,
    LITERAL,
    VERMILION,
    draw_picture,
    grid_within,
    new_axes,
    percent,
    short,
    small_picture,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ORDERS = (None, "least_certain", "most_certain")


class PredictionsDisplay:
    """Plot images with their predictions, to see what a classifier gets right and wrong.

    The title of each image is its prediction, with the probability if that is known. If the labels are
    known, correct predictions have a solid green frame. Wrong predictions have a dashed red frame, and the
    label is below the image.

    It is recommended to use `from_estimator` or `from_predictions` to create a display. All parameters
    are stored as attributes.

    Read more in the :ref:`User Guide <guide_evidence>`.

    Parameters
    ----------
    pictures : list of PIL images, or of arrays of shape (h, w) or (h, w, 3), of length n
        Pictures to show.

    y_pred : array-like of shape (n,)
        Predictions of the pictures.

    y_true : array-like of shape (n,), default=None
        Labels of the pictures.

    proba : array-like of shape (n,), default=None
        Probability of each prediction. NaN is not shown.

    indices : array-like of shape (n,), int, default=None
        Rows of the pictures among the images that they were chosen from.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n,)
        Axes of the pictures.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    EvidenceDisplay : Plot why a query got its prediction.
    sktip.predict_images : Predict a folder of images.
    sklearn.metrics.ConfusionMatrixDisplay : Plot which classes are confused.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, FewShotClassifier
    >>> from sktip.inspection import PredictionsDisplay
    >>> images = np.zeros((6, 32, 32, 3), np.uint8)
    >>> images[3:] = 255
    >>> labels = ["black"] * 3 + ["white"] * 3
    >>> clf = FewShotClassifier(CLIPFeatureTransformer("tiny")).fit(images, labels)
    >>> display = PredictionsDisplay.from_estimator(clf, images, labels)
    >>> display.y_pred.tolist()
    ['black', 'black', 'black', 'white', 'white', 'white']
    """

    def __init__(
        self,
        *,
        pictures: list,
        y_pred: Any,
        y_true: Any = None,
        proba: Any = None,
        indices: Any = None,
    ):
        self.pictures = pictures
        self.y_pred = y_pred
        self.y_true = y_true
        self.proba = proba
        self.indices = indices

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: Any = None,
        *,
        images: Any = None,
        order: str | None = None,
        n_images: int = 12,
        n_columns: int = 6,
        ax: "Axes | None" = None,
    ) -> Self:
        """Predict images, and plot them.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            A fitted classifier.

        X : sequence of images of length n, or array-like of shape (n, d)
            Images, or their features if the estimator takes features.

        y : array-like of shape (n,), default=None
            Labels of the images.

        images : sequence of images of length n, default=None
            Images to show, if X is features.

        order : {"least_certain", "most_certain"}, default=None
            Order of the images, by the probability of their predictions. None keeps the order of X.

        n_images : int, default=12
            Largest number of images to show.

        n_columns : int, default=6
            Largest number of images in a row.

        ax : matplotlib Axes, default=None
            Axes whose place the pictures fill. If None, a new figure is created.

        Returns
        -------
        display : PredictionsDisplay
            The display, after drawing.

        Raises
        ------
        ValueError
            If X is features and `images` are missing, or if the estimator has no `predict_proba` for
            `order`.

        ImageReadError
            If an image cannot be read.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{cls.__name__}.from_estimator"
        )
        check_is_fitted(estimator)
        estimator = getattr(estimator, "best_estimator_", estimator)
        if images is None and not (takes_images(estimator) or looks_like_images(X)):
            raise ValueError("X is features; pass the images that they are from too, as images=...")
        images = as_image_list(X if images is None else images)
        check_consistent_length(images, y)
        if order is None:
            images, X, y = (part if part is None else part[:n_images] for part in (images, X, y))
        proba = None
        if takes_images(estimator):
            answers = predict_images(estimator, images, verbose=0)
            y_pred, proba = answers.prediction, answers.probability
        else:
            y_pred = estimator.predict(X)
            if hasattr(estimator, "predict_proba"):
                proba = estimator.predict_proba(X).max(axis=1)
        if proba is not None:
            # The probability of an image of no class is that of the most similar class.
            proba = np.where(np.isin(y_pred, estimator.classes_), proba, np.nan)
        encoder = split_encoder(estimator, optional=True)[0]
        shown = _shown(images, order, n_images, encoder, y_pred=y_pred, y_true=y, proba=proba)
        return cls(**shown).plot(ax, n_columns=n_columns)

    @classmethod
    def from_predictions(
        cls,
        images: Any,
        y_pred: ArrayLike,
        y_true: ArrayLike | None = None,
        proba: ArrayLike | None = None,
        *,
        order: str | None = None,
        n_images: int = 12,
        n_columns: int = 6,
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot images with known predictions.

        Parameters
        ----------
        images : sequence of images of length n
            Images. Only those that are shown are read.

        y_pred : array-like of shape (n,)
            Predictions of the images.

        y_true : array-like of shape (n,), default=None
            Labels of the images.

        proba : array-like of shape (n,), default=None
            Probability of each prediction, such as ``clf.predict_proba(X).max(axis=1)``. NaN is not
            shown, and is last in any order.

        order : {"least_certain", "most_certain"}, default=None
            Order of the images, by `proba`. None keeps the order of `images`.

        n_images : int, default=12
            Largest number of images to show.

        n_columns : int, default=6
            Largest number of images in a row.

        ax : matplotlib Axes, default=None
            Axes whose place the pictures fill. If None, a new figure is created.

        Returns
        -------
        display : PredictionsDisplay
            The display, after drawing.

        Raises
        ------
        ValueError
            If `images`, predictions, labels or probabilities have different lengths, or if there is an
            `order` without `proba`.

        ImageReadError
            If an image to show cannot be read.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{cls.__name__}.from_predictions"
        )
        shown = _shown(images, order, n_images, None, y_pred=y_pred, y_true=y_true, proba=proba)
        return cls(**shown).plot(ax, n_columns=n_columns)

    def plot(self, ax: "Axes | None" = None, *, n_columns: int = 6) -> Self:
        """Draw the pictures.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes whose place the pictures fill. If None, a new figure is created.

        n_columns : int, default=6
            Largest number of images in a row.

        Returns
        -------
        display : PredictionsDisplay
            This display.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{type(self).__name__}.plot"
        )
        check_scalar(n_columns, "n_columns", Integral, min_val=1)
        n_columns = min(n_columns, len(self.pictures))
        n_rows = -(-len(self.pictures) // n_columns)
        if ax is None:
            height = 1.9 if self.y_true is None else 2.1
            ax = new_axes((1.5 * n_columns, height * n_rows))
        grid = grid_within(ax, n_rows, n_columns)
        ax.set_axis_off()
        ax.set_in_layout(False)
        self.figure_, axes = ax.figure, []
        for row, (picture, answer) in enumerate(zip(self.pictures, self.y_pred, strict=True)):
            axes.append(self.figure_.add_subplot(grid[divmod(row, n_columns)]))
            title = short(answer, 16)
            frame: dict[str, Any] = {"visible": False}
            if self.proba is not None and not np.isnan(self.proba[row]):
                title += f"\n{percent(self.proba[row])}"
            if self.y_true is not None:
                is_right = self.y_true[row] == answer
                frame = {"color": GREEN} if is_right else {"color": VERMILION, "linestyle": "--"}
                if not is_right:
                    axes[-1].set_xlabel(f"label: {short(self.y_true[row], 16)}", **LITERAL)
            draw_picture(axes[-1], picture, title, **frame)
        self.axes_ = np.array(axes)
        return self


def _shown(
    images: Any, order: str | None, n_images: int, encoder: BaseEstimator, **known: Any
) -> dict[str, Any]:
    """Parameters of the display: the images to show, and what is known of them."""
    check_scalar(n_images, "n_images", Integral, min_val=1)
    if order not in ORDERS:
        raise ValueError(f"order={order!r} must be one of {ORDERS}.")
    known = {name: column_or_1d(column) for name, column in known.items() if column is not None}
    images = as_image_list(images)
    check_consistent_length(images, *known.values())
    indices = np.arange(len(images))
    if order is not None:
        if "proba" not in known:
            raise ValueError(f"order={order!r} needs the probabilities of the predictions.")
        sign = 1 if order == "least_certain" else -1
        indices = np.argsort(sign * known["proba"], kind="stable")
    indices = indices[:n_images]
    pictures = [small_picture(images[row], row, encoder) for row in indices.tolist()]
    shown = {name: column[indices] for name, column in known.items()}
    return {"pictures": pictures, "indices": indices, **shown}
