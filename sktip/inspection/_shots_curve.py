"""Accuracy against shots."""

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
#: From this line on, colour and marker come again together.
ALIKE = len(COLORS) * len(MARKERS)
#: Numbers of shots that are written out, and have markers and bars; of more, those that are apart.
MAX_TICKS = 16
#: Lines of a legend within the axes; of more, and beside the axes, lines in a column.
MAX_INSIDE, COLUMN = 12, 25


class ShotsCurveDisplay:
    """Scores against the number of shots per class: compare methods, and see what more shots gain.

    Each method is a line through its mean scores, in a colour and with a marker of its own. Bars are
    the standard deviation over draws of shots. Beyond seven methods, colours come again with dotted
    lines. With many numbers of shots only some have bars, and with many lines the legend is beside
    the axes. Published figures are dashed lines with hollow markers, in the colour
    of the method of the same name.

    Create one by `from_estimator`, or from scores that are known already. All parameters are
    stored as attributes.

    Read more in the :ref:`User Guide <guide_family>`.

    Parameters
    ----------
    shots : array-like of shape (n_shots,), int
        Numbers of shots per class, ascending.

    scores : mapping of str to array-like of shape (n_shots, n_draws)
        Scores of each method: a row for each number of shots, a column for each draw of them.
        NaN leaves a point out.

    published : mapping of str to array-like of shape (n_shots,), or float, default=None
        Figures to compare with, in the unit of the scores. NaN leaves a point out; a number is a
        horizontal line.

    score_name : str, default="Accuracy"
        What the scores are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.

    figure_ : matplotlib Figure
        The figure.

    errorbar_ : list of matplotlib ErrorbarContainer
        One for each method.

    published_lines_ : list of matplotlib Line2D
        One for each published line.

    See Also
    --------
    sktip.model_selection.FewShotSplit : The draws of shots.
    sklearn.model_selection.LearningCurveDisplay : The same against the number of all samples.

    Examples
    --------
    >>> from sktip.inspection import ShotsCurveDisplay
    >>> scores = {"Tip-Adapter": [[60.1, 61.0], [60.9, 61.1], [61.5, 61.4]]}
    >>> published = {"Tip-Adapter": [60.70, 60.96, 60.98], "zero-shot": 60.33}
    >>> ShotsCurveDisplay([1, 2, 4], scores, published=published).plot().ax_.get_ylabel()
    'Accuracy'

    With the shots drawn and the methods fitted here:

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
        """Fit classifiers on more and more shots, score them, and draw the curves.

        All methods get the same draws of shots, and of each draw the first shots are those of the
        smaller numbers.

        Parameters
        ----------
        estimator : classifier, or mapping of str to classifier
            What to fit, a clone for each number of shots and draw. Several are given by name;
            a single one goes by that of its class.

        X : sequence of images, or array-like of shape (n, d)
            What the classifiers take. Features that were encoded once save encoding images for each
            fit.

        y : array-like of shape (n,)
            Labels.

        shots : array-like of shape (n_shots,), int, default=(1, 2, 4, 8, 16)
            Numbers of shots per class.

        cv : int, cross-validation generator or iterable, default=3
            Draws of shots. An int is so many draws by :class:`~sktip.model_selection.FewShotSplit`,
            tested on the rest of the samples. Otherwise, train and test indices whose train part
            begins, for each k of `shots`, with k samples of every class, as that splitter
            gives them.

        scoring : str or callable, default=None
            What to score, as in `learning_curve`. None is accuracy.

        n_jobs : int, default=None
            Fits at the same time.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws if `cv` is an int.

        published : mapping of str to array-like of shape (n_shots,), or float, default=None
            Figures to compare with. Accuracies computed here are shares, from 0 to 1, not percent.

        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ShotsCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a train part does not begin with as many shots of every class as `shots` asks for.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        if not isinstance(estimator, Mapping):
            estimator = {type(last_step(estimator)).__name__: estimator}
        shots = np.unique(shots)
        if shots.dtype.kind not in "iu" or shots.min(initial=1) < 1 or not len(shots):
            raise ValueError(f"shots={shots.tolist()!r}; they are integers of at least 1.")
        if isinstance(cv, Integral):
            cv = FewShotSplit(int(shots[-1]), int(cv), random_state=random_state)
        # Drawn once, so that all methods see the same shots.
        splits = list(check_cv(cv).split(X, y))
        classes, codes = np.unique(y, return_inverse=True)
        for number, (train, _) in enumerate(splits):
            for k in shots:
                counts = np.bincount(codes[train[: k * len(classes)]], minlength=len(classes))
                if (counts != k).any():
                    raise ValueError(
                        f"the train indices of split {number} do not begin with {k} shots of every class; "
                        f"use cv=FewShotSplit({shots[-1]}), or an int for so many draws."
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
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : ShotsCurveDisplay
            This display.

        Raises
        ------
        ValueError
            If scores or published figures do not fit the numbers of shots.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.transforms import ScaledTranslation

        shots = np.asarray(self.shots)
        scores = {name: np.asarray(values, float) for name, values in self.scores.items()}
        for name, values in scores.items():
            if values.ndim != 2 or len(values) != len(shots):
                raise ValueError(
                    f"the scores of {name!r} have the shape {values.shape}; {len(shots)} numbers of shots "
                    f"need ({len(shots)}, n_draws)."
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
        # No shots at all stand as far to the left of one as two do to the right.
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
            # Drawn a few points aside, so that the bars of one method do not hide those of another.
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
                f"the published figures of {name!r} have the shape {line.shape}; give one for each of the "
                f"{n} numbers of shots, or a single number."
            )
        return np.broadcast_to(line, n)
