"""
Quickstart
==========

Classify handwritten digits with 1 to 16 labelled images per class, and compare five classifiers in one plot.
Nothing is downloaded: the images are scikit-learn's digits, and the CLIP is the small model that comes with
sktip.
"""

# %%
# Images and features
# -------------------
# The labels are the class names, which CLIP reads. Every image is encoded once.

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_digit_images

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)

# %%
# Five classifiers
# ----------------
# ``FewShotClassifier`` needs no tuning, and is the one to start with. The linear probe is a logistic
# regression, which does not read the names.

from sklearn.linear_model import LogisticRegression

from sktip import FewShotClassifier, TipAdapterClassifier, ZeroShotClassifier

common = {"input": "features", "templates": ["a picture of the number {}", "the digit {}"]}
methods = {
    "FewShotClassifier": FewShotClassifier(clip, **common),
    "Tip-Adapter-F": TipAdapterClassifier(clip, fine_tune=True, random_state=0, **common),
    "Tip-Adapter": TipAdapterClassifier(clip, **common),
    "zero-shot": ZeroShotClassifier(clip, **common),
    "linear probe": LogisticRegression(C=100, max_iter=1000),
}

# %%
# Accuracy against shots
# ----------------------
# ``FewShotSplit`` draws 16 shots of each class, three times, and tests on all other images. Scikit-learn's
# ``LearningCurveDisplay`` uses the first shots of a draw for the smaller numbers. All classifiers get the same
# draws.

import matplotlib.pyplot as plt
from sklearn.model_selection import LearningCurveDisplay

from sktip.model_selection import FewShotSplit

SHOTS, N_CLASSES = [1, 2, 4, 8, 16], 10
_, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
print("shots per class     " + "".join(f"{n:>7}" for n in SHOTS))
for name, method in methods.items():
    curve = LearningCurveDisplay.from_estimator(
        method,
        features,
        labels,
        train_sizes=[n * N_CLASSES for n in SHOTS],
        cv=FewShotSplit(max(SHOTS), n_splits=3, random_state=0),
        score_type="test",
        line_kw={"marker": "o"},
        fill_between_kw={"alpha": 0.2},
        ax=ax,
    )
    curve.lines_[0].set_label(name)
    print(f"{name:20}" + "".join(f"{mean:7.1%}" for mean in curve.test_scores.mean(axis=1)))
ax.set_xticks([n * N_CLASSES for n in SHOTS], SHOTS)
ax.minorticks_off()
ax.set(xlabel="labelled images per class", ylabel="accuracy on all other images")
ax.legend()
plt.show()
