"""AlphaBetaDisplay: the scores of alpha and beta in a search, and the chosen values."""

from collections.abc import Callable
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from sktip._maths.paper import PAPER_ALPHA, PAPER_BETA
from sktip._tip_adapter_cv import TipAdapterClassifierCV
from sktip.inspection._plot import (
    LITERAL,
    VERMILION,
    apart,
    check_matplotlib,
    drawable,
    last_step,
    new_axes,
    readable_score,
)

#: Largest number of values that are all labelled on an axis.
MAX_TICKS = 8


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
    def from_estimator(cls, estimator: Any, *, cmap: Any = "cividis", ax: Any = None) -> Self:
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
        check_matplotlib(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        searching = last_step(estimator)
        if isinstance(searching, TipAdapterClassifierCV):
            found = cls(
                alphas=searching.alphas_,
                betas=searching.betas_,
                scores=searching.scores_,
                alpha=searching.alpha_,
                beta=searching.beta_,
                score_name=readable_score(searching.scoring, default="Negative log loss"),
            )
        elif hasattr(searching, "cv_results_"):
            found = cls(**_grid_of(searching))
        else:
            raise TypeError(
                f"a {type(searching).__name__} is not a search over alpha and beta; pass a fitted "
                "GridSearchCV or TipAdapterClassifierCV."
            )
        return found.plot(ax, cmap=cmap)

    def plot(self, ax: Any = None, *, cmap: Any = "cividis") -> Self:
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
        check_matplotlib(f"{type(self).__name__}.plot")
        alphas, betas, scores = (
            np.asarray(values, float) for values in (self.alphas, self.betas, self.scores)
        )
        if np.isnan(scores).all():
            raise ValueError(
                "the search has no scores: every fit failed, or no class had a second shot to hold out."
            )
        self.ax_ = new_axes((7, 4.4)) if ax is None else ax
        self.figure_ = self.ax_.figure
        known = np.isfinite(scores)
        if scores.ndim == 2 and known.mean() > 0.5:
            self.surface_ = self.ax_.pcolormesh(_edges(betas), _edges(alphas), scores, cmap=cmap)
        else:
            where = np.nonzero(known)
            if scores.ndim == 1:
                self.ax_.plot(betas, alphas, color="gray", zorder=1)
            self.surface_ = self.ax_.scatter(
                betas[where[-1]], alphas[where[0]], c=scores[known],
                cmap=cmap, edgecolors="gray", s=45, zorder=2,
            )  # fmt: skip
        _stretch(self.ax_.set_xscale, self.ax_.xaxis, betas, PAPER_BETA)
        _stretch(self.ax_.set_yscale, self.ax_.yaxis, alphas, PAPER_ALPHA)
        self.ax_.minorticks_off()
        point = {"linestyle": "none", "markeredgecolor": "black", "clip_on": False, "zorder": 3}
        (self.default_,) = self.ax_.plot(
            PAPER_BETA, PAPER_ALPHA, "o", color="white", markersize=14,
            label="the paper's default", **point,
        )  # fmt: skip
        (self.chosen_,) = self.ax_.plot(
            self.beta, self.alpha, "*", color=VERMILION, markersize=12,
            label=f"chosen: alpha {self.alpha:.3g}, beta {self.beta:.3g}", **point,
        )  # fmt: skip
        self.colorbar_ = self.figure_.colorbar(self.surface_, ax=self.ax_)
        self.colorbar_.set_label(drawable(self.score_name), **LITERAL)
        self.ax_.set_xlabel("beta: sharpness")
        self.ax_.set_ylabel("alpha: weight of the cache")
        self.ax_.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        return self


def _grid_of(search: Any) -> dict[str, Any]:
    """Parameters of the display for a search with `cv_results_`."""
    results = search.cv_results_
    varied = {key.removeprefix("param_") for key in results if key.startswith("param_")}
    owners = [
        name.removesuffix("alpha")
        for name in sorted(varied)
        if name.split("__")[-1] == "alpha" and name.removesuffix("alpha") + "beta" in varied
    ]
    if len(owners) != 1:
        raise ValueError(
            f"the search has varied {sorted(varied)}, but the display needs alpha and beta of one estimator."
        )
    several = getattr(search, "multimetric_", False)
    metric = search.refit if several else "score"
    if not isinstance(metric, str):
        raise ValueError(
            f"the search has several metrics and refit={search.refit!r}; set refit to the metric to show."
        )
    fixed = search.estimator.get_params()
    tried = [
        tuple({**fixed, **params}.get(owners[0] + name) for name in ("alpha", "beta"))
        for params in [search.best_params_, *results["params"]]
    ]
    # A list of grids may hold other estimators, without these parameters.
    ours = [all(isinstance(value, Real) for value in pair) for pair in tried[1:]]
    alphas, betas = np.array([pair for pair, kept in zip(tried[1:], ours, strict=True) if kept]).T
    alphas, rows = np.unique(alphas, return_inverse=True)
    betas, columns = np.unique(betas, return_inverse=True)
    scores = np.full((len(alphas), len(betas)), np.nan)
    np.fmax.at(scores, (rows, columns), results[f"mean_test_{metric}"][ours])
    return {
        "alphas": alphas,
        "betas": betas,
        "scores": scores,
        "alpha": tried[0][0],
        "beta": tried[0][1],
        "score_name": readable_score(metric if several else search.scoring, default="Accuracy"),
    }


def _edges(values: NDArray) -> NDArray:
    """Edges of the cells of ascending values, halfway between their logarithms."""
    positive = values[values > 0]
    if len(positive) == 0:
        return np.array([0.0, 1.0])
    logs = np.log(positive)
    middles = (logs[1:] + logs[:-1]) / 2
    first, last = (logs[1] - logs[0], logs[-1] - logs[-2]) if len(logs) > 1 else (1.0, 1.0)
    edges = np.exp([logs[0] - first / 2, *middles, logs[-1] + last / 2])
    return edges if values[0] > 0 else np.array([0, *edges])


def _stretch(set_scale: Callable, axis: Any, values: NDArray, default: float) -> None:
    """Make an axis logarithmic, with ticks at round numbers. It includes 0 if that is a value."""
    values = np.unique(values)
    positive = values[values > 0]
    if len(positive) == len(values):
        set_scale("log")
    elif len(positive):
        set_scale("symlog", linthresh=positive[0], linscale=0.5)
    if len(values) > MAX_TICKS and len(positive):
        low, high = min(positive[0], default), max(positive[-1], default)
        powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        powers = powers[apart(np.log10(powers), MAX_TICKS)]
        rounds = np.outer(powers, [1, 2, 5] if len(powers) <= 4 else [1]).ravel()
        values = np.append(
            values[values == 0],
            rounds[(rounds >= low * (1 - 1e-9)) & (rounds <= high * (1 + 1e-9))],
        )
    axis.set_ticks(values, [f"{value:.3g}" for value in values])
