"""Draw digits and letters: from matplotlib's fonts, and digits as freehand strokes.

    python glyphs.py DATA

writes ``DATA/glyphs.npy``, ink masks of shape (n, 80, 80), and ``DATA/glyphs.json``: the
character and the phrases of each. The strokes are written here by hand as a few points a
digit; nothing is taken from a data set of handwriting.
"""

import argparse
import json
import string
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter, map_coordinates

SIZE = 80
CANVAS = 160
DIGITS = "zero one two three four five six seven eight nine".split()
#: Letters that look like a digit at 8 x 8 pixels are excluded.
LETTERS = [c for c in string.ascii_letters if c not in "oOIlsSzZgqbB"]
TEXT_FONTS = ("DejaVu", "cmr10", "cmss10", "cmtt10", "cmb10", "cmmi10", "STIXGeneral")

#: Strokes of each digit as points (x, y), with y downwards, for several ways of writing it. A stroke is a
#: curve through its points, or a polygonal line if it is marked "line".
STROKES = {
    0: [
        [("curve", [(.5, .03), (.2, .2), (.12, .5), (.22, .85), (.5, .97), (.8, .83), (.88, .5), (.78, .17), (.5, .03)])],
        [("curve", [(.62, .06), (.3, .15), (.15, .5), (.28, .88), (.55, .95), (.82, .75), (.85, .4), (.68, .1), (.45, .08)])],
    ],
    1: [
        [("line", [(.5, .03), (.5, .97)])],
        [("line", [(.3, .25), (.55, .03), (.55, .97)])],
        [("line", [(.3, .22), (.52, .03), (.52, .97)]), ("line", [(.25, .97), (.8, .97)])],
        [("line", [(.62, .03), (.42, .97)])],
    ],
    2: [
        [("curve", [(.15, .25), (.3, .06), (.6, .04), (.82, .22), (.72, .48), (.4, .75), (.12, .96)]), ("line", [(.12, .96), (.9, .95)])],
        [("curve", [(.2, .2), (.45, .03), (.78, .15), (.75, .42), (.45, .75), (.2, .9), (.22, .75), (.4, .82), (.65, .97), (.92, .88)])],
    ],
    3: [
        [("curve", [(.15, .15), (.45, .03), (.78, .15), (.75, .38), (.42, .48)]), ("curve", [(.42, .48), (.8, .58), (.85, .82), (.5, .97), (.12, .85)])],
        [("line", [(.15, .05), (.82, .05), (.45, .42)]), ("curve", [(.45, .42), (.82, .52), (.84, .82), (.5, .97), (.12, .86)])],
    ],
    4: [
        [("line", [(.62, .03), (.1, .65), (.92, .65)]), ("line", [(.68, .35), (.66, .97)])],
        [("line", [(.22, .03), (.15, .52), (.85, .52)]), ("line", [(.78, .05), (.74, .97)])],
        [("curve", [(.25, .05), (.15, .4), (.3, .55), (.6, .5), (.8, .4)]), ("line", [(.82, .1), (.7, .97)])],
    ],
    5: [
        [("line", [(.85, .05), (.25, .05), (.2, .45)]), ("curve", [(.2, .45), (.5, .36), (.82, .5), (.82, .8), (.5, .97), (.12, .88)])],
        [("line", [(.3, .05), (.26, .42)]), ("curve", [(.26, .42), (.55, .4), (.8, .58), (.72, .88), (.4, .97), (.12, .9)]), ("line", [(.3, .05), (.9, .04)])],
    ],
    6: [
        [("curve", [(.68, .03), (.35, .25), (.15, .6), (.25, .9), (.55, .97), (.82, .82), (.75, .58), (.48, .52), (.2, .68)])],
        [("curve", [(.55, .03), (.25, .4), (.18, .75), (.4, .96), (.7, .9), (.75, .66), (.5, .56), (.22, .72)])],
    ],
    7: [
        [("line", [(.1, .05), (.88, .05), (.4, .97)])],
        [("line", [(.1, .06), (.85, .05), (.42, .97)]), ("line", [(.3, .5), (.82, .48)])],
        [("line", [(.12, .2), (.14, .05), (.86, .06)]), ("curve", [(.86, .06), (.6, .45), (.48, .97)])],
    ],
    8: [
        [("curve", [(.78, .15), (.48, .03), (.2, .2), (.35, .42), (.65, .56), (.82, .8), (.5, .97), (.18, .8), (.35, .56), (.65, .4), (.8, .2)])],
        [("curve", [(.5, .48), (.24, .34), (.28, .1), (.5, .03), (.74, .12), (.76, .34), (.5, .48), (.2, .66), (.24, .9), (.5, .97), (.78, .88), (.8, .64), (.5, .48)])],
    ],
    9: [
        [("curve", [(.78, .2), (.5, .03), (.2, .2), (.25, .45), (.55, .5), (.78, .28)]), ("curve", [(.78, .22), (.78, .55), (.68, .97)])],
        [("curve", [(.8, .15), (.45, .04), (.18, .25), (.32, .48), (.65, .42), (.8, .18), (.82, .55), (.65, .88), (.3, .96)])],
    ],
}  # fmt: skip


def phrases_of(character):
    if character.isdigit():
        return [DIGITS[int(character)], "digit", "number"]
    return [f"letter {character.lower()}", "letter"]


def drawn_from_font(character, path, rng):
    font = ImageFont.truetype(str(path), 110)
    image = Image.new("L", (CANVAS, CANVAS))
    stroke = int(rng.integers(0, 7)) if rng.random() < 0.5 else 0
    ImageDraw.Draw(image).text(
        (CANVAS / 2, CANVAS / 2), character, 255, font, anchor="mm", stroke_width=stroke
    )
    return image


def drawn_by_hand(digit, rng):
    image = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    width = rng.integers(8, 24)
    variants = STROKES[digit]
    for kind, points in variants[rng.integers(len(variants))]:
        path = np.array(points) + rng.normal(0, 0.035, (len(points), 2))
        if kind == "curve":
            curve = CubicSpline(np.arange(len(path)), path)
            path = curve(np.linspace(0, len(path) - 1, 12 * len(path)))
        corners = [tuple(corner) for corner in 30 + path * (CANVAS - 60)]
        draw.line(corners, 255, int(width))
        for x, y in corners:
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], 255)
    return image


def distorted(image, rng):
    """Affine and elastic distortion, then a tight crop with a random aspect ratio."""
    angle, shear = rng.normal(0, 0.12), rng.normal(0, 0.2)
    scale = np.exp(rng.normal(0, 0.15, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.array([[1, shear], [0, 1]]) @ np.diag(scale)
    centre = CANVAS / 2 * np.ones(2)
    offset = centre - matrix @ centre
    image = image.transform(
        image.size,
        Image.Transform.AFFINE,
        [*matrix[0], offset[0], *matrix[1], offset[1]],
        Image.Resampling.BILINEAR,
    )
    pixels = np.asarray(image, dtype=np.float32)
    strength = rng.uniform(0, 5)
    field = gaussian_filter(rng.normal(0, 1, (2, CANVAS, CANVAS)), (0, 14, 14))
    field *= strength / field.std()
    grid = np.stack(np.meshgrid(*[np.arange(CANVAS)] * 2, indexing="ij")) + field
    pixels = map_coordinates(pixels, grid, order=1)
    rows, columns = np.nonzero(pixels > 40)
    if len(rows) == 0:
        return None
    crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    crop = Image.fromarray(crop.astype(np.uint8))
    room = SIZE - 16
    ratio = np.clip(crop.width / crop.height, 0.1, 10) * np.exp(rng.normal(0, 0.1))
    size = (room * min(ratio, 1), room * min(1 / ratio, 1))
    crop = crop.resize([max(4, int(side)) for side in size], Image.Resampling.BOX)
    square = Image.new("L", (SIZE, SIZE))
    square.paste(crop, ((SIZE - crop.width) // 2, (SIZE - crop.height) // 2))
    return np.asarray(square)


def collect(out, n_font=60, n_hand=500, seed=0):
    """Draw ``n_font`` pictures per letter and five times as many per digit in fonts, and ``n_hand`` per digit by hand."""
    rng = np.random.default_rng(seed)
    fonts = [
        path
        for path in sorted(
            font_manager.findSystemFonts(
                [str(Path(font_manager.__file__).parent / "mpl-data/fonts/ttf")]
            )
        )
        if "matplotlib" in path and Path(path).stem.startswith(TEXT_FONTS) and "Display" not in path
    ]
    print(len(fonts), "fonts")
    masks, records = [], []

    def keep(image, character, source):
        mask = distorted(image, rng)
        if mask is not None:
            masks.append(mask)
            phrases = phrases_of(character)
            records.append(
                {"name": phrases[0], "group": phrases[1:], "phrases": phrases, "source": source}
            )

    for character in [*string.digits, *LETTERS]:
        for _ in range(5 * n_font if character.isdigit() else n_font):
            image = drawn_from_font(character, fonts[rng.integers(len(fonts))], rng)
            keep(image, character, "font")
    for digit in STROKES:
        for _ in range(n_hand):
            keep(drawn_by_hand(digit, rng), str(digit), "strokes")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "glyphs.npy", np.stack(masks))
    (out / "glyphs.json").write_text(json.dumps(records))
    print(len(masks), "glyphs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder for the drawings")
    collect(parser.parse_args().data)
