"""ForecastDisplay: accuracy over shots, measured and forecast."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from sktip._utils.optional import import_optional
from sktip.inspection._plot import BLUE, VERMILION, new_axes
from sktip.model_selection import forecast_accuracy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ForecastDisplay:
    """Plot how accurate a classifier is, and becomes with more shots.

    The accuracies on held-out shots are dots, and the forecasts a line with their intervals.

    Read more in the :ref:`User Guide <guide_forecast>`.

    Parameters
    ----------
    forecast : Bunch
        Result of `~sktip.model_selection.forecast_accuracy`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the plot.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    See Also
    --------
    sktip.model_selection.forecast_accuracy : Forecast without a plot.
    sklearn.model_selection.LearningCurveDisplay : Plot measured accuracies only.

    Examples
    --------
    >>> from sktip import FewShotClassifier
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.inspection import ForecastDisplay
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clf = FewShotClassifier("tiny", templates="the digit {}")
    >>> display = ForecastDisplay.from_estimator(clf, images[:40], labels[:40])
    >>> display.ax_.get_xlabel()
    'photos per class'
    """

    def __init__(self, forecast: Mapping):
        self.forecast = forecast

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: Any,
        y: ArrayLike,
        n_shots: Sequence[int] | None = None,
        *,
        groups: ArrayLike | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Forecast the accuracy, and plot it.

        Parameters
        ----------
        estimator : classifier
            Classifier, or a Pipeline that begins with an encoder.

        X : sequence of images of length m, or array-like of shape (m, d)
            The shots.

        y : array-like of shape (m,)
            Their labels.

        n_shots : sequence of int, default=None
            Numbers of shots per class to forecast. If None, twice and four times the present one.

        groups : array-like of shape (m,), default=None
            Group of each shot.

        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : ForecastDisplay
            The display, after drawing.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{cls.__name__}.from_estimator"
        )
        return cls(forecast_accuracy(estimator, X, y, n_shots, groups=groups)).plot(ax)

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the forecast.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to plot on. If None, a new figure is created.

        Returns
        -------
        display : ForecastDisplay
            This display.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{type(self).__name__}.plot"
        )
        ax = new_axes((6, 3.6)) if ax is None else ax
        known = self.forecast
        x = [known["shots_now"], *known["n_shots"]]
        now, lower, upper = known["now"]
        middle = [100 * now, *(100 * known["accuracy"])]
        low = [100 * lower, *(100 * known["lower"])]
        high = [100 * upper, *(100 * known["upper"])]
        ax.fill_between(x, low, high, color=VERMILION, alpha=0.2, lw=0, label="80 % interval")
        ax.plot(x, middle, "--", color=VERMILION, marker="o", mfc="white", label="forecast")
        measured = 100 * known["measured_accuracy"]
        ax.plot(known["measured_shots"], measured, "o", color=BLUE, label="held-out photos")
        for place, value in zip(x, middle, strict=True):
            text = f"now {value:.0f} %" if place == x[0] else f"{value:.0f} %"
            ax.annotate(text, (place, value), (0, -16), textcoords="offset points", ha="center")
        # The curve is nearly straight over log(1 + shots).
        ax.set_xscale("function", functions=(np.log1p, np.expm1))
        ticks = sorted({*x, *known["measured_shots"]})
        ax.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
        ax.set(xlabel="photos per class", ylabel="accuracy (%)")
        ax.legend(loc="lower right", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
