"""Draw new pictures, and the categories that a tree of them was answered with."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from sktip import BackOff, FewShotClassifier
from sktip.datasets import load_drawings

TREE = {
    "owl": "bird", "duck": "bird", "penguin": "bird", "dog": "mammal", "fox": "mammal", "bear": "mammal",
    "bird": "animal", "mammal": "animal", "car": "vehicle", "bus": "vehicle", "bike": "vehicle",
    "animal": "anything", "vehicle": "anything",
}  # fmt: skip
NAMES = [name for name in TREE if name not in TREE.values()]
drawings = dict(zip(NAMES, load_drawings(NAMES, size=96).data))
rng = np.random.default_rng(0)


def blurred(name, noise):
    """Draw a thing small, turned, and in noise."""
    drawing = Image.fromarray(drawings[name]).rotate(
        int(rng.integers(-40, 40)), fillcolor=(0, 0, 0, 0)
    )
    paper = Image.new("RGBA", (128, 128), "white")
    paper.alpha_composite(drawing, tuple(int(x) for x in rng.integers(0, 32, 2)))
    pixels = np.asarray(paper.convert("RGB"), float) + noise * rng.normal(size=(128, 128, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


labels = np.repeat(NAMES, 8)
shots = [blurred(name, rng.uniform(0, 80)) for name in labels]
clf = BackOff(FewShotClassifier("tiny", templates="a picture of a {}"), TREE, coverage=0.95)
clf.fit(shots, labels)
truth = ["owl", "car", "dog", "bike", "fox", "bus"]
new = [blurred(name, noise) for name, noise in zip(truth, (0, 60, 110, 150, 200, 200))]
answers = clf.predict(new)
print(list(zip(truth, answers)))
figure, axes = plt.subplots(1, 6, figsize=(9, 2.1), layout="constrained")
for ax, image, answer, name in zip(axes, new, answers, truth):
    ax.imshow(image)
    ax.set(xticks=[], yticks=[])
    ax.set_title(answer, fontsize=13, weight="bold")
    holds = clf.holds([answer], [name])[0]
    ax.set_xlabel(
        f"{name}: {'true' if holds else 'wrong'}", color="#006d4e" if holds else "#b02a00"
    )
