"""Draw frames of a camera in a meadow, and how many of them show each animal: estimated and true."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageEnhance

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_drawings

WEEK = {"nothing": 120, "deer": 48, "rabbit": 26, "fox": 12, "owl": 6, "boar": 4, "badger": 2}
NAMES = list(WEEK)
#: Each animal, cropped to what it shows.
drawings = {}
for animal, pixels in zip(NAMES[1:], load_drawings(NAMES[1:], size=160).data):
    drawing = Image.fromarray(pixels)
    drawings[animal] = drawing.crop(drawing.getchannel("A").getbbox())
rng = np.random.default_rng(0)


def frame(animal):
    """Draw a frame: the light, the camera's tilt, and the place and size of the animal vary."""
    picture = Image.new("RGBA", (120, 120), (170, 205, 230))
    picture.paste((140, 185, 110), (0, int(rng.integers(60, 80)), 120, 120))
    if animal in drawings:
        drawing = drawings[animal]
        scale = rng.uniform(85, 110) / max(drawing.size)
        drawing = drawing.resize([int(side * scale) for side in drawing.size])
        if rng.random() < 0.5:
            drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        room = np.subtract(picture.size, drawing.size)
        picture.alpha_composite(drawing, tuple(int(place) for place in rng.integers(0, room + 1)))
    return ImageEnhance.Brightness(picture.convert("RGB")).enhance(rng.uniform(0.5, 1))


frames = [frame(animal) for animal, count in WEEK.items() for _ in range(count)]
shots = [frame(animal) for animal in WEEK for _ in range(4)]
clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), class_names={"nothing": "field"})
clf.fit(shots, np.repeat(NAMES, 4), X_unlabeled=frames)

order = np.searchsorted(clf.classes_, NAMES)
found = len(frames) * clf.class_shares_[order]
errors = len(frames) * clf.class_share_errors_[order]
print(*(f"{n} {t} {f:.1f} ± {e:.1f}" for n, t, f, e in zip(NAMES, WEEK.values(), found, errors)))
figure, axes = plt.subplot_mosaic(
    [[0, 1, 2, 3, 4, 5], ["shares"] * 6],
    figsize=(8, 5),
    height_ratios=[1, 2.6],
    layout="constrained",
)
for place, row in enumerate(rng.permutation(len(frames))[:6]):
    axes[place].imshow(frames[row])
    axes[place].set_axis_off()
ax, places = axes["shares"], np.arange(len(NAMES))[::-1]
ax.barh(places + 0.2, list(WEEK.values()), 0.38, color="#b8b8b8", label="in truth")
ax.barh(
    places - 0.2, found, 0.38, color="#0072b2", xerr=errors, label="estimated, ± standard error"
)
ax.set_yticks(places, NAMES)
ax.set(xlabel="frames of the week", xlim=(0, None))
ax.legend(loc="lower right", frameon=False)
