"""Crop: a part of a photo, wherever an image is expected."""

import math
import os
from dataclasses import dataclass
from typing import Any

from PIL import Image

from sktip.exceptions import ImageReadError

#: Boxes that end at most here, to the right and below, are fractions of the photo; of pixels there would be
#: nothing to see.
LARGEST_FRACTION = 2


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a photo, such as the box of a detector, wherever sktip takes an image.

    The photo is read when the crop is encoded. Of a photo with several crops in a row, it is read and decoded once.

    Read more in the :ref:`User Guide <guide_crops>`.

    Parameters
    ----------
    image : str, path, bytes, PIL image or array
        The photo.

    box : tuple of 4 floats
        Left, top, right and bottom of the part, in the upright photo: its EXIF orientation is applied first. Pixels,
        or fractions of width and height if right and bottom are at most 2. What lies outside of the photo
        is cut off.

    margin : float, default=0.0
        How much to add on each side, as a fraction of the box's width and height.

    square : bool, default=False
        Whether to extend the shorter side to the length of the longer one, as far as the photo goes. CLIP models
        see the middle square of an image, which cuts off the ends of a long box, but then shows less around it.

    Raises
    ------
    ValueError
        If the box has no area, or is not four finite numbers, or if `margin` is negative.

    ImageReadError
        When the crop is encoded, if the photo cannot be read, or if the box is outside of it.

    See Also
    --------
    sktip.datasets.read_detections : Crops from the file of a detector.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer, Crop
    >>> photo = np.zeros((60, 80, 3), np.uint8)
    >>> crops = [Crop(photo, (0.5, 0.5, 1, 1)), Crop(photo, (10, 20, 30, 40))]
    >>> CLIPFeatureTransformer("tiny").transform(crops).shape
    (2, 128)
    """

    image: Any
    box: tuple[float, float, float, float]
    margin: float = 0.0
    square: bool = False

    def __post_init__(self) -> None:
        problem = problem_of(self.box)
        if problem:
            raise ValueError(f"Crop of {name_of(self.image)}: the box {self.box!r} {problem}.")
        if not 0 <= self.margin < math.inf:
            raise ValueError(
                f"margin={self.margin!r} must be 0 or more: a fraction of the box's width and height."
            )

    @property
    def key(self) -> bytes:
        """What a feature depends on besides the photo."""
        return repr((*map(float, self.box), float(self.margin), bool(self.square))).encode()

    def cut(self, photo: Image.Image, where: str) -> Image.Image:
        """Cut the part out of its photo.

        Parameters
        ----------
        photo : PIL.Image.Image
            The photo, upright and decoded in full.

        where : str
            Its index and path, for messages.

        Returns
        -------
        part : PIL.Image.Image
            What is in the box.

        Raises
        ------
        ImageReadError
            If the box is outside of the photo.
        """
        box = self.box_in(*photo.size)
        if box is None:
            raise ImageReadError(
                where,
                f"the box is outside of the photo of {photo.width} x {photo.height} pixels. It is left, top, "
                "right and bottom, in pixels or fractions.",
            )
        return photo.crop(box)

    def box_in(self, width: int, height: int) -> tuple[int, int, int, int] | None:
        """Compute the box in a photo of this size, with the margin.

        Parameters
        ----------
        width, height : int
            Size of the photo in pixels.

        Returns
        -------
        box : tuple of (int, int, int, int) or None
            Left, top, right and bottom in pixels. None if the box is outside of the photo.
        """
        in_fractions = max(self.box[2:]) <= LARGEST_FRACTION
        spans = []
        for start, end, size in zip(self.box[:2], self.box[2:], (width, height), strict=True):
            unit = size if in_fractions else 1
            spans.append((max(0.0, start * unit), min(float(size), end * unit), size))
        if any(start >= end for start, end, _ in spans):
            return None
        lengths = [(end - start) * (1 + 2 * self.margin) for start, end, _ in spans]
        if self.square:
            lengths = [max(lengths)] * 2
        (left, right), (top, bottom) = map(_extended, spans, lengths)
        return left, top, right, bottom


def _extended(span: tuple[float, float, int], length: float) -> tuple[int, int]:
    """Extend a span around its middle to a length, within the photo, to whole pixels."""
    start, end, size = span
    first = min(max(0.0, (start + end - length) / 2), max(0.0, size - length))
    pixel = min(math.floor(first + 1e-6), size - 1)
    return pixel, max(pixel + 1, math.ceil(min(size, first + length) - 1e-6))


def problem_of(box: Any) -> str | None:
    """Say why four numbers are no box; None if they are one."""
    try:
        left, top, right, bottom = map(float, box)
    except (TypeError, ValueError):
        return "is not four numbers: left, top, right and bottom"
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return "has a number that is not finite"
    if right <= left or bottom <= top:
        return "has no area: it is left, top, right and bottom"
    return None


def name_of(image: Any) -> str:
    """Name a photo in a message."""
    return (
        repr(os.fsdecode(image))
        if isinstance(image, str | os.PathLike)
        else f"a {type(image).__name__}"
    )
