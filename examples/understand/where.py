"""
Where an answer comes from
==========================

Show which part of a photo speaks for a class. Here, two digits are in one photo of noise.
"""

# %%
# A photo of two digits
# ---------------------

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.inspection import evidence_map

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
clf = FewShotClassifier(clip, templates="the digit {}").fit(images[:200], labels[:200])
zero, four = (images[200:][labels[200:] == name][0] for name in ("zero", "four"))
photo = np.random.default_rng(0).integers(170, 255, (150, 230), dtype=np.uint8)
photo[20:84, 15:79], photo[70:134, 150:214] = zero, four

# %%
# What speaks for each of them
# ----------------------------

from matplotlib import pyplot

figure, axes = pyplot.subplots(1, 3, figsize=(8, 2.2), layout="constrained")
axes[0].imshow(photo, cmap="gray")
for ax, name in zip(axes[1:], ("zero", "four")):
    evidence = evidence_map(clf, photo, name)
    ax.imshow(evidence.picture)
    ax.set_title(f"{name}: best window {np.round(evidence.box, 2).tolist()}", fontsize="small")
for ax in axes:
    ax.set(xticks=[], yticks=[])
