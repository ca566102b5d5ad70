"""AlphaBetaDisplay: the scores of alpha and beta in a search, and the chosen values."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sktip._maths.paper import PAPER_ALPHA, PAPER_BETA
from sktip._tip_adapter_cv import TipAdapterClassifierCV
from sktip._utils.optional import import_optional
from sktip.inspection._plot import VERMILION, last_step, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


class AlphaBetaDisplay:
    """Plot the scores of a search over alpha and beta, to check which values were chosen.

    The chosen values and the paper's defaults are marked. A grid of both is drawn as a surface with a
    cell for each pair, on logarithmic axes. Scattered pairs, as from `RandomizedSearchCV`, are drawn as
    points coloured by their scores. If only the best alpha of each beta is known, as from
    ``TipAdapterClassifierCV(alphas=None)``, the points are connected by a line.

    It is recommended to use `from_estimator` to create a display. All parameters are stored as
    attributes.

    Read more in the :ref:`User Guide <guide_alpha_beta>`.

    Parameters
    ----------
    alphas : array-like of shape (n_alphas,) or (n_betas,)
        Residual ratios, ascending; or the best one of each beta.

    betas : array-like of shape (n_betas,)
        Values of the sharpness, ascending.

    scores : array-like of shape (n_alphas, n_betas) or (n_betas,)
        Score of each pair, NaN for pairs without a score; or of each beta with its best alpha.

    alpha : float
        Chosen residual ratio.

    beta : float
        Chosen sharpness.

    score_name : str, default="Score"
        Name of the score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes, with beta on the x-axis and alpha on the y-axis.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    surface_ : matplotlib QuadMesh or PathCollection
        The drawn scores.

    colorbar_ : matplotlib Colorbar
        Colour bar of the scores.

    chosen_, default_ : matplotlib Line2D
        Markers of the chosen values, and of the paper's defaults (alpha 1, beta 5.5).

    See Also
    --------
    sktip.TipAdapterClassifierCV : Tip-Adapter with alpha and beta chosen on held-out shots.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sktip import TipAdapterClassifier
    >>> from sktip.inspection import AlphaBetaDisplay
    >>> y = np.arange(40) % 4
    >>> X = np.eye(4, 8)[y] + 0.4 * np.random.default_rng(0).normal(size=(40, 8))
    >>> clf = TipAdapterClassifier(text_features=np.eye(4, 8), logit_scale=5)
    >>> search = GridSearchCV(clf, {"alpha": [0.3, 1, 3, 10], "beta": [1, 5.5, 30]}).fit(X, y)
    >>> AlphaBetaDisplay.from_estimator(search).scores.shape
    (4, 3)
    """

    def __init__(
        self,
        *,
        alphas: ArrayLike,
        betas: ArrayLike,
        scores: ArrayLike,
        alpha: float,
        beta: float,
        score_name: str = "Score",
    ):
        self.alphas = alphas
        self.betas = betas
        self.scores = scores
        self.alpha = alpha
        self.beta = beta
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        cmap: "str | Colormap" = "cividis",
        ax: "Axes | None" = None,
    ) -> Self:
        """Plot the scores of a fitted search.

        Parameters
        ----------
        estimator : search, TipAdapterClassifierCV or Pipeline
            A fitted `GridSearchCV`, or another search with `cv_results_`, over ``alpha`` and ``beta``
            of the estimator or of one of its steps (``tipadapterclassifier__alpha``). Or a fitted
            `TipAdapterClassifierCV`, or a Pipeline that ends with one. If the search has varied
            other parameters too, the best score over these is shown for each pair. With several
            metrics, the one named by `refit` is shown.

        cmap : str or matplotlib Colormap, default="cividis"
            Colormap of the scores.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : AlphaBetaDisplay
            The display, after drawing.

        Raises
        ------
        TypeError
            If the estimator is not a search.

        ValueError
            If the search has not varied both alpha and beta, or if it has no scores.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{cls.__name__}.from_estimator"
        )
        check_is_fitted(estimator)
        searching = last_step(estimator)
        if isinstance(searching, TipAdapterClassifierCV):
            names = ("alphas", "betas", "scores", "alpha", "beta")
            found = {name: getattr(searching, f"{name}_") for name in names}
            name = searching.scoring or "neg_log_loss"
        elif hasattr(searching, "cv_results_"):
            found, name = _grid_of(searching)
        else:
            raise TypeError(
                f"a {type(searching).__name__} is not a search over alpha and beta; pass a fitted "
                "GridSearchCV or TipAdapterClassifierCV."
            )
        name = (
            name.replace("neg_", "negative_").replace("_", " ")
            if isinstance(name, str)
            else "score"
        )
        return cls(**found, score_name=name.capitalize()).plot(ax, cmap=cmap)

    def plot(self, ax: "Axes | None" = None, *, cmap: "str | Colormap" = "cividis") -> Self:
        """Draw the scores, the chosen values and the paper's defaults.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        cmap : str or matplotlib Colormap, default="cividis"
            Colormap of the scores.

        Returns
        -------
        display : AlphaBetaDisplay
            This display.

        Raises
        ------
        ValueError
            If there are no scores, for example because no class had a second shot to hold out.
        """
        import_optional(
            "matplotlib.pyplot", extra="sktip[plot]", caller=f"{type(self).__name__}.plot"
        )
        alphas = np.asarray(self.alphas, float)
        betas = np.asarray(self.betas, float)
        scores = np.asarray(self.scores, float)
        known = np.isfinite(scores)
        if not known.any():
            raise ValueError(
                "the search has no scores: every fit failed, or no class had a second shot to hold out."
            )
        self.ax_ = ax = new_axes((7, 4.4)) if ax is None else ax
        self.figure_ = ax.figure
        x, y = _scale(ax, "x", betas), _scale(ax, "y", alphas)
        ax.minorticks_off()
        if scores.ndim == 2 and known.mean() > 0.5:
            self.surface_ = ax.pcolormesh(_edges(x, betas), _edges(y, alphas), scores, cmap=cmap)
        else:
            where = np.nonzero(known)
            if scores.ndim == 1:
                ax.plot(betas, alphas, color="gray", zorder=1)
            self.surface_ = ax.scatter(
                betas[where[-1]], alphas[where[0]], c=scores[known],
                cmap=cmap, edgecolors="gray", s=45, zorder=2,
            )  # fmt: skip
        point = {"linestyle": "none", "markeredgecolor": "black", "clip_on": False, "zorder": 3}
        (self.default_,) = ax.plot(
            PAPER_BETA, PAPER_ALPHA, "o", color="white", markersize=14,
            label="the paper's default", **point,
        )  # fmt: skip
        (self.chosen_,) = ax.plot(
            self.beta, self.alpha, "*", color=VERMILION, markersize=12,
            label=f"chosen: alpha {self.alpha:.3g}, beta {self.beta:.3g}", **point,
        )  # fmt: skip
        self.colorbar_ = self.figure_.colorbar(self.surface_, ax=ax, label=self.score_name)
        ax.set(xlabel="beta: sharpness", ylabel="alpha: weight of the cache")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        return self


def _grid_of(search: Any) -> tuple[dict[str, Any], Any]:
    """Parameters of the display for a search with `cv_results_`, and the name of its metric."""
    results = search.cv_results_
    varied = sorted(key.removeprefix("param_") for key in results if key.startswith("param_"))
    owners = [
        name.removesuffix("alpha")
        for name in varied
        if name.split("__")[-1] == "alpha" and name.removesuffix("alpha") + "beta" in varied
    ]
    if len(owners) != 1:
        raise ValueError(
            f"the search has varied {varied}, but the display needs alpha and beta of one estimator."
        )
    several = getattr(search, "multimetric_", False)
    metric = search.refit if several else "score"
    if not isinstance(metric, str):
        raise ValueError(
            f"the search has several metrics and refit={metric!r}; set refit to the metric to show."
        )
    tried_alphas, tried_betas = (results[f"param_{owners[0]}{name}"] for name in ("alpha", "beta"))
    # A list of grids may have one without these parameters, in which they are masked.
    both = ~(np.ma.getmaskarray(tried_alphas) | np.ma.getmaskarray(tried_betas))
    alphas, rows = np.unique(tried_alphas[both].astype(float), return_inverse=True)
    betas, columns = np.unique(tried_betas[both].astype(float), return_inverse=True)
    scores = np.full((len(alphas), len(betas)), np.nan)
    np.fmax.at(scores, (rows, columns), results[f"mean_test_{metric}"][both])
    chosen = {**search.estimator.get_params(), **search.best_params_}
    found = {
        "alphas": alphas,
        "betas": betas,
        "scores": scores,
        "alpha": chosen[f"{owners[0]}alpha"],
        "beta": chosen[f"{owners[0]}beta"],
    }
    return found, metric if several else search.scoring or "accuracy"


def _scale(ax: "Axes", name: str, values: NDArray) -> Any:
    """Make the axis x or y logarithmic, with 0 on it if that is a value. Returns the axis."""
    axis, set_scale = getattr(ax, f"{name}axis"), getattr(ax, f"set_{name}scale")
    values = np.unique(values)
    positive = values[values > 0]
    if len(positive) == len(values):
        set_scale("log")
    elif len(positive):
        set_scale("symlog", linthresh=positive[0], linscale=0.5)
    if len(values) <= 8:
        axis.set_ticks(values, [f"{value:.3g}" for value in values])
    else:
        if positive[-1] < 1e4 * positive[0]:
            axis.get_major_locator().set_params(subs=(1, 2, 5))
        axis.set_major_formatter("{x:.3g}")
    return axis


def _edges(axis: Any, values: NDArray) -> NDArray:
    """Edges of the cells of ascending values, halfway between them on the axis."""
    scale = axis.get_transform()
    places = scale.transform(values)
    steps = np.diff(places) if len(places) > 1 else np.ones(1)
    first, last = places[0] - steps[0] / 2, places[-1] + steps[-1] / 2
    return scale.inverted().transform([first, *(places[1:] + places[:-1]) / 2, last])
