"""ShotsCurveDisplay: scores against the number of shots per class."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import check_cv, learning_curve

from sktip.inspection._plot import (
    BLACK,
    BLUE,
    GREEN,
    LITERAL,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    apart,
    check_matplotlib,
    draw_legend,
    drawable,
    last_step,
    new_axes,
    readable_score,
)
from sktip.model_selection import FewShotSplit

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = "os^DvPX*"
#: Number of lines after which the combinations of colour and marker repeat.
ALIKE = len(COLORS) * len(MARKERS)
#: Largest number of ticks, with markers and error bars.
MAX_TICKS = 16
#: Largest number of lines in a legend inside the axes, and in one column of a legend beside them.
MAX_INSIDE, COLUMN = 12, 25


class ShotsCurveDisplay:
    """Plot scores against the number of shots per class, to compare methods.

    Each method is a line through its mean scores, with its own colour and marker. Error bars are the
    standard deviation over draws of shots. With more than seven methods, colours repeat with dotted
    lines. With many numbers of shots, only some have error bars; with many lines, the legend is beside
    the axes. Published scores are dashed lines with hollow markers, in the colour of the method with
    the same name.

    Create a display with `from_estimator`, or from known scores. All parameters are stored as
    attributes.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    shots : array-like of shape (n_shots,), int
        Numbers of shots per class, ascending.

    scores : mapping of str to array-like of shape (n_shots, n_draws)
        Scores of each method, with a row for each number of shots and a column for each draw. Points
        with NaN are not drawn.

    published : mapping of str to array-like of shape (n_shots,), or float, default=None
        Published scores to compare with, in the unit of `scores`. Points with NaN are not drawn. A
        single number is a horizontal line.

    score_name : str, default="Accuracy"
        Name of the score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the curves.

    figure_ : matplotlib Figure
        Figure that contains the axes.

    errorbar_ : list of matplotlib ErrorbarContainer
        One for each method.

    published_lines_ : list of matplotlib Line2D
        One for each published line.

    See Also
    --------
    sktip.model_selection.FewShotSplit : Draw shots of each class.
    sklearn.model_selection.LearningCurveDisplay : Plot scores against the number of samples.

    Examples
    --------
    >>> from sktip.inspection import ShotsCurveDisplay
    >>> scores = {"Tip-Adapter": [[60.1, 61.0], [60.9, 61.1], [61.5, 61.4]]}
    >>> published = {"Tip-Adapter": [60.70, 60.96, 60.98], "zero-shot": 60.33}
    >>> ShotsCurveDisplay([1, 2, 4], scores, published=published).plot().ax_.get_ylabel()
    'Accuracy'

    Draw shots, and fit a classifier on them:

    >>> import numpy as np
    >>> from sktip import TipAdapterClassifier
    >>> y = np.arange(60) % 3
    >>> X = np.eye(3, 8)[y] + 0.5 * np.random.default_rng(0).normal(size=(60, 8))
    >>> clf = TipAdapterClassifier(text_features=np.eye(3, 8), logit_scale=1)
    >>> display = ShotsCurveDisplay.from_estimator(clf, X, y, shots=[1, 4], random_state=0)
    >>> display.scores["TipAdapterClassifier"].shape
    (2, 3)
    """

    def __init__(
        self,
        shots: ArrayLike,
        scores: Mapping[str, ArrayLike],
        *,
        published: Mapping[str, ArrayLike] | None = None,
        score_name: str = "Accuracy",
    ):
        self.shots = shots
        self.scores = scores
        self.published = published
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        shots: ArrayLike = (1, 2, 4, 8, 16),
        cv: Any = 3,
        scoring: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        published: Mapping[str, ArrayLike] | None = None,
        ax: Any = None,
    ) -> Self:
        """Fit classifiers on increasing numbers of shots, and plot their scores.

        All methods get the same draws of shots. Within a draw, a smaller number of shots is the first
        part of a larger one.

        Parameters
        ----------
        estimator : classifier, or mapping of str to classifier
            Classifier to clone and fit for each number of shots and each draw. Several classifiers are
            passed as a mapping from name to classifier; a single one is named after its class.

        X : sequence of images, or array-like of shape (n, d)
            Images or features, as the classifiers take them. Features are faster: images are encoded
            again in each fit.

        y : array-like of shape (n,)
            Labels of X.

        shots : array-like of shape (n_shots,), int, default=(1, 2, 4, 8, 16)
            Numbers of shots per class.

        cv : int, cross-validation generator or iterable, default=3
            Draws of shots. An int is the number of draws by
            :class:`~sktip.model_selection.FewShotSplit`, tested on the other samples. Other splits must
            have training indices that begin, for each k in `shots`, with k samples of every class, as
            those of that splitter do.

        scoring : str or callable, default=None
            Score to compute, as in `learning_curve`. None is accuracy.

        n_jobs : int, default=None
            Number of fits to run in parallel.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws if `cv` is an int.

        published : mapping of str to array-like of shape (n_shots,), or float, default=None
            Published scores to compare with. Accuracies must be given from 0 to 1, not in percent.

        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : ShotsCurveDisplay
            The display, after drawing.

        Raises
        ------
        ValueError
            If training indices do not begin with the same number of shots of every class.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        if not isinstance(estimator, Mapping):
            estimator = {type(last_step(estimator)).__name__: estimator}
        shots = np.unique(shots)
        if shots.dtype.kind not in "iu" or shots.min(initial=1) < 1 or not len(shots):
            raise ValueError(f"shots={shots.tolist()!r} must be integers of at least 1.")
        if isinstance(cv, Integral):
            cv = FewShotSplit(int(shots[-1]), int(cv), random_state=random_state)
        # The splits are drawn once, so that all methods get the same shots.
        splits = list(check_cv(cv).split(X, y))
        classes, codes = np.unique(y, return_inverse=True)
        for number, (train, _) in enumerate(splits):
            for k in shots:
                counts = np.bincount(codes[train[: k * len(classes)]], minlength=len(classes))
                if (counts != k).any():
                    raise ValueError(
                        f"the training indices of split {number} do not begin with {k} shots of every class; "
                        f"use cv=FewShotSplit({shots[-1]}), or the number of draws."
                    )
        scores = {
            name: learning_curve(
                method,
                X,
                y,
                train_sizes=shots * len(classes),
                cv=splits,
                scoring=scoring,
                n_jobs=n_jobs,
                error_score="raise",
            )[2]
            for name, method in estimator.items()
        }
        name = readable_score(scoring, default="Accuracy")
        return cls(shots, scores, published=published, score_name=name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.

        Returns
        -------
        display : ShotsCurveDisplay
            This display.

        Raises
        ------
        ValueError
            If `scores` or `published` do not match the numbers of shots.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.transforms import ScaledTranslation

        shots = np.asarray(self.shots)
        scores = {name: np.asarray(values, float) for name, values in self.scores.items()}
        for name, values in scores.items():
            if values.ndim != 2 or len(values) != len(shots):
                raise ValueError(
                    f"the scores of {name!r} have the shape {values.shape}; with {len(shots)} numbers of shots, "
                    f"it must be ({len(shots)}, n_draws)."
                )
        published = {
            name: self._published_line(name, values, len(shots))
            for name, values in (self.published or {}).items()
        }
        styles = {
            name: {
                "color": COLORS[i % len(COLORS)],
                "marker": MARKERS[i % len(MARKERS)],
                "linestyle": "-" if i < len(COLORS) else ":" if i < ALIKE else "-.",
            }
            for i, name in enumerate(dict.fromkeys([*scores, *published]))
        }
        n_lines = len(scores) + len(published)
        many = n_lines > MAX_INSIDE
        columns = -(-n_lines // COLUMN) if many else 0
        if ax is None:
            ax = new_axes((7 + 2.2 * columns, 5.2 if many else 4.4))
        self.ax_, self.figure_ = ax, ax.figure
        thickness = {"linewidth": 1, "markersize": 3} if many else {"linewidth": 2}
        # On the axis, 0 shots are as far from 1 as 2 shots are.
        shown = apart(np.log2(np.maximum(shots, 0.5)), MAX_TICKS)
        self.errorbar_ = []
        for i, (name, values) in enumerate(scores.items()):
            bars = self.ax_.errorbar(
                shots,
                values.mean(axis=1),
                values.std(axis=1),
                label=name,
                capsize=0 if many else 3,
                elinewidth=0.5 if many else None,
                errorevery=shown,
                markevery=shown,
                **thickness,
                **styles[name],
            )
            # Shifted by a few points, so that the error bars of methods do not hide each other.
            aside = min(3, 36 / len(scores)) * (i - (len(scores) - 1) / 2) / 72
            shift = ScaledTranslation(aside, 0, self.figure_.dpi_scale_trans)
            for artist in bars.get_children():
                artist.set_transform(self.ax_.transData + shift)
            self.errorbar_.append(bars)
        self.published_lines_ = [
            self.ax_.plot(
                shots,
                values,
                label=f"{name}, published",
                markevery=shown,
                **(styles[name] | {"linestyle": "--", "markerfacecolor": "white"}),
            )[0]
            for name, values in published.items()
        ]
        if np.min(shots) == 0:
            self.ax_.set_xscale("symlog", base=2, linthresh=1, linscale=0.5)
        else:
            self.ax_.set_xscale("log", base=2)
        self.ax_.set_xticks(shots[shown], [str(n) for n in shots[shown]])
        self.ax_.minorticks_off()
        self.ax_.set_xlabel("shots: labelled images per class")
        self.ax_.set_ylabel(drawable(self.score_name), **LITERAL)
        self.ax_.grid(alpha=0.3)
        beside = {
            "loc": "upper left",
            "bbox_to_anchor": (1.01, 1.01),
            "ncols": columns,
            "fontsize": "small",
            "frameon": False,
        }
        lines = [*self.errorbar_, *self.published_lines_]
        draw_legend(self.ax_, lines, **(beside if many else {}))
        return self

    @staticmethod
    def _published_line(name: str, values: ArrayLike, n: int) -> Any:
        line = np.asarray(values, float)
        if line.shape not in ((), (n,)):
            raise ValueError(
                f"the published scores of {name!r} have the shape {line.shape}; pass one for each of the {n} "
                "numbers of shots, or a single number."
            )
        return np.broadcast_to(line, n)
