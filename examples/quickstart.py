"""
Quickstart
==========

Classify handwritten digits with 1 to 16 shots per class.

Every image is encoded once. Then 1 to 16 shots per class are drawn three times, and six classifiers are
scored on test images. The result is a table and a plot, ``quickstart.png``. Nothing is downloaded: the
images are scikit-learn's digits, and the CLIP is the small model that comes with sktip.
"""

# %%
# Images and features
# -------------------
# The digits are dark on white. Their labels are the class names, which CLIP reads.

import time

import numpy as np

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_digit_images

start = time.perf_counter()
images, labels = load_digit_images(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
images, labels = images[order], labels[order]

clip = CLIPFeatureTransformer("tiny")
features = clip.fit_transform(images)
print(f"encoded {len(images)} images in {time.perf_counter() - start:.1f} s")

# %%
# Six classifiers
# ---------------
# Zero-shot CLIP is Tip-Adapter without its cache. "Tuned" means that alpha and beta are chosen on held-out
# shots. ``FewShotClassifier`` needs no tuning, and is the one to start with.

from sktip import FewShotClassifier, TipAdapterClassifier, TipAdapterClassifierCV

common = {
    "input": "features",
    "templates": ["a picture of the number {}", "the digit {}"],
    "random_state": 0,
}
methods = {
    "zero-shot": TipAdapterClassifier(clip, alpha=0.0, **common),
    "Tip-Adapter": TipAdapterClassifier(clip, **common),
    "Tip-Adapter, tuned": TipAdapterClassifierCV(clip, **common),
    "Tip-Adapter-F": TipAdapterClassifier(clip, fine_tune=True, **common),
    "Tip-Adapter-F, tuned": TipAdapterClassifierCV(clip, fine_tune=True, **common),
    "FewShotClassifier": FewShotClassifier(clip, **common),
}

# %%
# Shots
# -----
# The 1, 2, 4 and 8 shots per class of a draw are the first of its 16 shots.

from sktip.model_selection import FewShotSplit

SHOTS, SEEDS, N_POOL = [1, 2, 4, 8, 16], 3, 600
pool, test = slice(0, N_POOL), slice(N_POOL, None)
splits = FewShotSplit(max(SHOTS), n_splits=SEEDS, random_state=0)
scores = {method: np.full((len(SHOTS), SEEDS), np.nan) for method in methods}
for seed, (shots, _) in enumerate(splits.split(features[pool], labels[pool])):
    for row, n_shots in enumerate(SHOTS):
        chosen = shots[: n_shots * 10]
        for name, method in methods.items():
            if n_shots == 1 and isinstance(method, TipAdapterClassifierCV):
                continue  # With one shot per class, alpha and beta cannot be tuned.
            method.fit(features[chosen], labels[chosen])
            scores[name][row, seed] = 100 * method.score(features[test], labels[test])

# %%
# Accuracies
# ----------

n_test = len(labels) - N_POOL
print(f"\nAccuracy in % on {n_test} test images, mean and standard deviation over {SEEDS} draws\n")
print("| shots per class |" + "".join(f" {n} |" for n in SHOTS))
print("| --- |" + " --- |" * len(SHOTS))
for method, values in scores.items():
    cells = [
        "-" if np.isnan(row).any() else f"{row.mean():.1f} ± {row.std():.1f}" for row in values
    ]
    print(f"| {method} | " + " | ".join(cells) + " |")

# %%

from sktip.inspection import ShotsCurveDisplay

display = ShotsCurveDisplay(SHOTS, scores, score_name="accuracy on test images (%)").plot()
display.ax_.set_title("Handwritten digits with the bundled CLIP")
display.figure_.savefig("quickstart.png", dpi=150)
print(f"\nwrote quickstart.png, {time.perf_counter() - start:.0f} s in all")
