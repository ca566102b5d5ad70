"""Draw pictures of several things, and the tags that were found in them."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from sktip import FewShotTagger
from sktip.datasets import load_drawings

TAGS = ["apple", "banana", "grapes", "car", "bus", "bike", "owl", "duck"]
drawings = [Image.fromarray(pixels) for pixels in load_drawings(TAGS, size=80).data]
rng = np.random.default_rng(3)


def picture(tags):
    """Put the drawings of some tags into the quarters of a picture."""
    paper = Image.new("RGB", (200, 200), "white")
    for quarter, tag in zip(rng.permutation(4), tags):
        place = [100 * int(part) + int(rng.integers(20)) for part in divmod(quarter, 2)]
        drawing = drawings[tag].convert("RGBA")
        paper.paste(drawing, place, drawing)
    return paper


def draw(n):
    """Pictures of one to three things each, and their tags."""
    chosen = [rng.choice(len(TAGS), rng.integers(1, 4), replace=False) for _ in range(n)]
    Y = np.zeros((n, len(TAGS)), int)
    for row, tags in zip(Y, chosen):
        row[tags] = 1
    return [picture(tags) for tags in chosen], Y


shots, Y = draw(160)
tagger = FewShotTagger("tiny", class_names=TAGS).fit(shots, Y)
new, truth = draw(5)
found = tagger.predict(new)
figure, axes = plt.subplots(1, 5, figsize=(9, 2.5), layout="constrained")
for ax, image, tags, right in zip(axes, new, found, truth):
    ax.imshow(image)
    ax.set(xticks=[], yticks=[])
    names = [name for name, tag in zip(TAGS, tags) if tag]
    missed = [name for name, tag, true in zip(TAGS, tags, right) if true and not tag]
    wrong = [name for name, tag, true in zip(TAGS, tags, right) if tag and not true]
    print(names, "missed", missed, "wrong", wrong)
    ax.set_title(", ".join(names) or "no tag", fontsize=11)
    ax.set_xlabel(
        "right" if not missed + wrong else "; ".join(
            f"{word} {', '.join(tags)}" for word, tags in (("missed:", missed), ("wrong:", wrong)) if tags
        ),
        color="#006d4e" if not missed + wrong else "#b02a00",
    )  # fmt: skip
