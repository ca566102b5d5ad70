"""Shared by the displays: the check for matplotlib, colours, names."""

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

# Colours that colour-blind people can distinguish (M. Okabe and K. Ito, "Color universal design", 2008).
BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#cc79a7", "#e69f00", "#56b4e9"

#: Properties of text that is drawn literally, not parsed by mathtext or LaTeX.
LITERAL = {"parse_math": False, "usetex": False}


def check_matplotlib(caller: str) -> None:
    """Raise an error that says how to get matplotlib, before anything is computed."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} requires matplotlib. Run: pip install "sktip[plot]"'
        ) from error


def new_axes(figsize: tuple[float, float]) -> Any:
    """Axes of a new figure with a constrained layout."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def drawable(name: Any) -> str:
    """Return a name as text, with control characters and lone surrogates escaped."""
    return "".join(
        char.encode("unicode_escape").decode()
        if char != "\n" and unicodedata.category(char) in ("Cc", "Cs")
        else char
        for char in str(name)
    )


def apart(places: NDArray[Any], n: int) -> NDArray[Any]:
    """Mask of ascending places that are far enough apart for about n labels, with both ends."""
    kept = np.ones(len(places), bool)
    if len(places) <= n:
        return kept
    least = (places[-1] - places[0]) / n
    last = places[0]
    for i in range(1, len(places) - 1):
        kept[i] = places[i] - last >= least and places[-1] - places[i] >= least
        last = places[i] if kept[i] else last
    return kept


def draw_legend(ax: Any, artists: list[Any], **options: Any) -> None:
    """Draw a legend with the labels of artists as literal text."""
    # Replaced below: matplotlib before 3.10 omits labels that begin with an underscore.
    legend = ax.legend(artists, list(map(str, range(len(artists)))), **options)
    for text, artist in zip(legend.get_texts(), artists, strict=True):
        text.set(text=drawable(artist.get_label()), **LITERAL)


def last_step(estimator: Any) -> Any:
    """Return the classifier at the end of a Pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def readable_score(scoring: Any, default: str) -> str:
    """Return the name of a `scoring` parameter for an axis."""
    if scoring is None:
        return default
    if not isinstance(scoring, str):
        return "Score"
    name = scoring.removeprefix("neg_").replace("_", " ")
    return f"Negative {name}" if scoring.startswith("neg_") else name.capitalize()
