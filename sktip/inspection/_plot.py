"""Shared by the displays: matplotlib, colours, pictures and class names."""

import textwrap
from typing import TYPE_CHECKING, Any

from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import describe
from sktip._images.rgb import open_rgb

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that colour-blind people can distinguish (M. Okabe and K. Ito, "Color universal design", 2008).
BLUE, VERMILION, GREEN, PURPLE, ORANGE = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"
#: Properties of class names, which are not parsed by mathtext or LaTeX.
LITERAL = {"parse_math": False, "usetex": False}
#: Largest side of the stored pictures, in pixels.
PICTURE_SIZE = 320


def new_axes(figsize: tuple[float, float]) -> "Axes":
    """Axes of a new figure with a constrained layout."""
    from matplotlib import pyplot

    return pyplot.subplots(figsize=figsize, layout="constrained")[1]


def grid_within(ax: "Axes", *shape: int, **ratios: Any) -> Any:
    """Grid in the place of axes that are part of a grid themselves."""
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            "pictures can only be drawn on an ax that is part of a grid; create it with pyplot.subplots() or "
            "figure.add_subplot()."
        )
    return place.subgridspec(*shape, **ratios)


def small_picture(
    image: Any, index: int, encoder: BaseEstimator | str | None = None
) -> Image.Image:
    """Read an image as the encoder does, and keep it small."""
    max_pixels = getattr(encoder, "max_pixels", MAX_PIXELS)
    picture = open_rgb(image, describe(image, index), max_pixels, PICTURE_SIZE).copy()
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    return picture


def draw_picture(ax: "Axes", picture: Any, title: str, **frame: Any) -> None:
    """Draw a picture with a title and a frame."""
    ax.imshow(picture, cmap="gray")
    ax.set_title(title, fontsize="medium", **LITERAL)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(linewidth=2.5, **frame)


def short(name: Any, width: int) -> str:
    """Break a name into at most two lines, at a space or after an underscore."""
    # Names of folders may have surrogates, which cannot be drawn.
    text = str(name).encode("utf-8", "backslashreplace").decode().replace("_", "_ ")
    return textwrap.fill(text, width, max_lines=2, placeholder=" ...").replace("_ ", "_")


def percent(probability: float) -> str:
    """Write a probability; none is rounded to 0 % or 100 %."""
    if probability < 0.005:
        return "<1 %"
    return f"{100 * probability:.0f} %" if probability < 0.995 else ">99 %"


def last_step(estimator: BaseEstimator) -> BaseEstimator:
    """Return the classifier at the end of a Pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator
