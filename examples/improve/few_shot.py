"""
Names, a few shots, and photos without labels
=============================================

Learn ten digits from their names alone, from one shot per class and from four shots per class, with and
without 500 unlabelled images. ``FewShotClassifier`` needs no tuning: ``fit`` chooses everything.
"""

# %%
# Digits
# ------
# Every image is encoded once. 500 images are used without their labels. The test images are others.

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
names = sorted(set(labels))

clf = FewShotClassifier(
    clip,
    input="features",
    class_names=names,
    templates=["a picture of the number {}", "the digit {}"],
)

# %%
# 0, 1 and 4 shots
# ----------------
# Shots, unlabelled images and test images are drawn three times.

SHOTS, SEEDS = [0, 1, 4], 3
scores = {name: np.empty((len(SHOTS), SEEDS)) for name in ("labels only", "with unlabelled images")}
for seed in range(SEEDS):
    order = np.random.default_rng(seed).permutation(len(labels))
    labelled, pool, test = order[:200], order[200:700], order[700:]
    for row, n_shots in enumerate(SHOTS):
        shots = np.concatenate([labelled[labels[labelled] == name][:n_shots] for name in names])
        clf.fit(features[shots], labels[shots])
        scores["labels only"][row, seed] = 100 * clf.score(features[test], labels[test])
        clf.fit(features[shots], labels[shots], X_unlabeled=features[pool])
        scores["with unlabelled images"][row, seed] = 100 * clf.score(features[test], labels[test])

for name, values in scores.items():
    cells = ", ".join(f"{n} shots {mean:.1f} %" for n, mean in zip(SHOTS, values.mean(axis=1)))
    print(f"{name}: {cells}")

# %%
# Unlabelled images help most without shots. With four shots per class they help less.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
for side, (name, values) in zip((-0.2, 0.2), scores.items()):
    bars = ax.bar(np.arange(len(SHOTS)) + side, values.mean(axis=1), 0.38, label=name)
    ax.bar_label(bars, fmt="%.0f")
ax.set_xticks(range(len(SHOTS)), [f"{n} shots" for n in SHOTS])
ax.set(ylabel="accuracy on test images (%)", ylim=(0, 119))
ax.legend(loc="upper left", ncols=2)
plt.show()
