"""
A classifier from three pictures per class
==========================================

Train a classifier of four classes from three labelled pictures per class and the class names. The pictures
are from OpenMoji, in a pip package that ``pip install "sktip[examples]"`` installs. The CLIP is the small
model that comes with sktip. It was not trained on these pictures. Nothing is downloaded.
"""

# %%
# Train and predict
# -----------------
# The drawings are arrays of pixels. Paths, PIL images and the bytes of files work too.

from sktip import FewShotClassifier
from sktip.datasets import load_drawings

drawings = {
    "bird": ["owl", "duck", "penguin"],
    "fruit": ["apple", "banana", "grapes"],
    "vehicle": ["car", "bus", "bike"],
    "clothing": ["shirt", "dress", "socks"],
}
photos, labels = load_drawings(drawings, return_X_y=True)
clf = FewShotClassifier("tiny").fit(photos, labels)  # for photos: "ViT-B-32"
new = load_drawings(["tractor", "peacock", "coat", "kiwifruit"])
print(clf.predict(new.data))

# %%
# The probability of each prediction
# ----------------------------------

answers, probabilities = clf.predict(new.data), clf.predict_proba(new.data).max(axis=1)
for name, answer, probability in zip(new.target, answers, probabilities):
    print(f"{name:9} {answer:8} {probability:.0%}")
assert answers.tolist() == ["vehicle", "bird", "clothing", "fruit"]

# %%
# Above are the shots, below the new pictures with their predictions.

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

#: Edge and face colour of the cards of each class. The faces are light, since the drawings have black
#: outlines.
COLOURS = {
    "bird": ("#0072b2", "#dcebf4"),
    "fruit": ("#d55e00", "#fae8dc"),
    "vehicle": ("#009e73", "#dcf1ea"),
    "clothing": ("#cc79a7", "#f7ebf2"),
}


def card(ax, name, x, y, width=1.86, height=1.0):
    """Draw a rounded box for the pictures of one class."""
    edge, face = COLOURS[name]
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "edgecolor": edge, "facecolor": face}
    ax.add_patch(FancyBboxPatch((x, y), width, height, linewidth=1.5, **style))


def picture(ax, image, x, y, size):
    """Draw one picture, with its lower left corner at x and y."""
    ax.imshow(image, extent=(x, x + size, y, y + size), zorder=3)


def strip(colour="black"):
    """Draw the shots of each class, and each new picture with its prediction and probability."""
    figure = plt.figure(figsize=(8, 3.05))
    ax = figure.add_axes((0, 0, 1, 1))
    titles = {"fontsize": 15, "weight": "bold", "color": colour}
    ax.text(0.06, 2.83, "Label three pictures per class", **titles)
    ax.text(0.06, 1.22, "It names new ones", **titles)
    shots = load_drawings(drawings, size=288).data
    for column, name in enumerate(labels[::3]):
        x = 0.05 + 2.01 * column
        card(ax, name, x, 1.68)
        ax.text(x + 0.93, 2.4, name, ha="center", fontsize=15)
        for place, one in enumerate(shots[3 * column : 3 * column + 3]):
            picture(ax, one, x + 0.01 + 0.61 * place, 1.69, 0.64)
    pictures = load_drawings(new.target, size=288).data
    for column, (one, answer, probability) in enumerate(zip(pictures, answers, probabilities)):
        x = 0.05 + 2.01 * column
        card(ax, answer, x, 0.06)
        picture(ax, one, x, 0.11, 0.9)
        ax.text(x + 0.86, 0.63, answer, fontsize=15)
        ax.text(x + 0.86, 0.25, f"{probability:.0%}", fontsize=15, weight="bold")
    ax.set(xlim=(0, 8), ylim=(0, 3.05))
    ax.set_axis_off()
    return figure


strip()
plt.show()

# %%
# The pictures are by `OpenMoji <https://openmoji.org>`__, licence CC BY-SA 4.0.
