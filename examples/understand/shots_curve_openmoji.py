"""
All methods on drawings, with 1 to 16 shots
===========================================

Compare ten classifiers on OpenMoji's drawings in eighteen groups, such as animal, fruit, vehicle and
flag.

Nothing is downloaded: the drawings and Unicode's groups come from pip packages, which
``pip install "sktip[examples]"`` installs. The CLIP is the small one that comes with sktip. It was not
trained on these drawings.
"""

# %%
# The drawings
# ------------
# ``load_drawings`` loads all drawings of eighteen groups. Each group is an everyday word for some of
# Unicode's subgroups, with more than sixteen drawings. We crop each drawing to what it shows.

import argparse

import numpy as np
from PIL import Image

from sktip.datasets import load_drawings


def cropped(pixels):
    """Crop a drawing to what it shows, in the middle of a transparent square."""
    drawing = Image.fromarray(pixels)
    drawing = drawing.crop(drawing.getchannel("A").getbbox())
    side = max(drawing.size)
    square = Image.new("RGBA", (side, side))
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    # Premultiplied, so that transparent pixels do not darken the edges.
    square = square.convert("RGBa").resize((80, 80), Image.Resampling.BOX).convert("RGBA")
    return square.resize((64, 64), Image.Resampling.BICUBIC)


drawings = load_drawings(size=160)
images, labels = [cropped(pixels) for pixels in drawings.data], drawings.target
print(len(images), "drawings:")
for group, count in zip(*np.unique(labels, return_counts=True)):
    print(f"  {count:3} {group}")

# %%
# Encode them once
# ----------------

from sktip import CLIPFeatureTransformer

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="tiny", help="another model, such as local-dir:FOLDER")
# A notebook's kernel has arguments of its own.
model = parser.parse_known_args()[0].model
clip = CLIPFeatureTransformer(model)
features = clip.transform(images)

# %%
# Fit all methods
# ---------------
# Three draws of 16 shots per class. The first 1, 2, 4 and 8 shots of a draw are used for the smaller numbers,
# and all drawings that are not shots are the test.

import warnings

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LearningCurveDisplay
from threadpoolctl import threadpool_limits

from sktip import (
    CLIPAdapterClassifier,
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    TipAdapterClassifierCV,
    ZeroShotClassifier,
)
from sktip.model_selection import FewShotSplit

SHOTS, N_CLASSES = [1, 2, 4, 8, 16], len(set(labels))
_, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
prior = {"input": "features", "templates": drawings.templates}
seeded = {**prior, "random_state": 0}
methods = {
    "FewShotClassifier": FewShotClassifier(clip, **prior),
    "ProKeR": ProKeRClassifier(clip, **prior),
    "GDA": GDAClassifier(clip, **seeded),
    "Tip-Adapter-F, tuned": TipAdapterClassifierCV(clip, fine_tune=True, **seeded),
    "Tip-Adapter-F": TipAdapterClassifier(clip, fine_tune=True, **seeded),
    "Tip-Adapter, tuned": TipAdapterClassifierCV(clip, **seeded),
    "Tip-Adapter": TipAdapterClassifier(clip, **seeded),
    "CLIP-Adapter": CLIPAdapterClassifier(clip, **seeded),
    "zero-shot": ZeroShotClassifier(clip, **prior),
    "linear probe": LogisticRegression(C=10, max_iter=2000),
}
# The matrices are so small that several threads would wait for each other.
with threadpool_limits(1), warnings.catch_warnings():
    # With one shot per class, alpha and beta cannot be tuned, and the paper's values are used.
    warnings.filterwarnings("ignore", message="every class has one shot")
    # scikit-learn warns that a few shots of many classes look like a regression.
    warnings.filterwarnings("ignore", message="The number of unique classes is greater")
    curves = {
        name: LearningCurveDisplay.from_estimator(
            method,
            features,
            labels,
            train_sizes=[n * N_CLASSES for n in SHOTS],
            cv=FewShotSplit(max(SHOTS), n_splits=3, random_state=0),
            score_type="test",
            std_display_style=None,
            line_kw={"marker": "o"},
            ax=ax,
        )
        for name, method in methods.items()
    }
ax.set_xticks([n * N_CLASSES for n in SHOTS], SHOTS)
ax.minorticks_off()
ax.set(xlabel="labelled drawings per class", ylabel="accuracy on all other drawings")
lines = [curve.lines_[0] for curve in curves.values()]
ax.legend(lines, curves, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
# Accuracies
# ----------
# In %, mean and standard deviation over the three draws.

print(f"{'shots per class':20}" + "".join(f"{k:>12}" for k in SHOTS))
for name, curve in curves.items():
    cells = [f"{100 * row.mean():6.1f} ± {100 * row.std():3.1f}" for row in curve.test_scores]
    print(f"{name:20}" + "".join(cells))

# %%
# This small CLIP does not know the names of the groups well: zero-shot reaches 47 %. The linear probe does
# not read the names, and is as good as the best classifiers here. :ref:`guide_family` has accuracies with
# a larger CLIP.
#
# The drawings are by `OpenMoji <https://openmoji.org>`__, licence CC BY-SA 4.0.
