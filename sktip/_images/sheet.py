"""A contact sheet: many photos in one picture."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import describe
from sktip._images.rgb import open_rgb
from sktip._utils.messages import printable

#: Number of photos in a row.
COLUMNS = 5
#: Largest side of a photo, height of its title and space around it, in pixels.
SIDE = 240
TITLE = 22
SPACE = 8


def contact_sheet(images: Sequence[Any], titles: Sequence[str]) -> Image.Image:
    """Draw photos row by row, each above its title."""
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    step = SIDE + SPACE, SIDE + TITLE + SPACE
    sheet = Image.new("RGB", (columns * step[0] + SPACE, rows * step[1] + SPACE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(number, columns)
        left, top = SPACE + column * step[0], SPACE + row * step[1]
        picture = open_rgb(image, describe(image, number), MAX_PIXELS, SIDE).copy()
        picture.thumbnail((SIDE, SIDE))
        sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + SIDE - picture.height))
        draw.text((left, top + SIDE + 2), _fitting(printable(title), font), "black", font)
    return sheet


def _fitting(text: str, font: Any) -> str:
    """Shorten a text in its middle, so that it fits below a photo."""
    shown, n = text, len(text)
    while font.getlength(shown) > SIDE:
        n -= 1
        shown = f"{text[: n // 2]}...{text[len(text) - n // 2 :]}"
    return shown
