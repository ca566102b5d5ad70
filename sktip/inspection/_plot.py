"""What the displays share: finding matplotlib, colours, names."""

from typing import Any

from sklearn.pipeline import Pipeline

# Colours that the colour-blind tell apart (M. Okabe and K. Ito, "Color universal design", 2008).
BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072b2", "#d55e00", "#009e73"
PURPLE, ORANGE, SKY = "#cc79a7", "#e69f00", "#56b4e9"


def check_matplotlib(caller: str) -> None:
    """Raise an error that says how to get matplotlib, before anything is computed."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} requires matplotlib. Run: pip install "sktip[plot]"'
        ) from error


def new_axes(figsize: tuple[float, float]) -> Any:
    """Axes of a new figure that makes room for its labels."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def last_step(estimator: Any) -> Any:
    """Return the classifier at the end of a Pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def readable_score(scoring: Any, default: str) -> str:
    """Return what a `scoring` parameter is called on an axis."""
    if scoring is None:
        return default
    if not isinstance(scoring, str):
        return "Score"
    name = scoring.removeprefix("neg_").replace("_", " ")
    return f"Negative {name}" if scoring.startswith("neg_") else name.capitalize()
