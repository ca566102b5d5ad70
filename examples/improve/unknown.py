"""
Reject images of unknown classes
================================

Reject images that show none of the known classes. Here a classifier knows five digits and gets images of all
ten. ``RejectUnknown`` computes a score of each image, and rejects images with a score below a
threshold. The threshold is chosen on the shots.
"""

# %%
# Five known digits, with 20 shots per class
# ------------------------------------------

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier, RejectUnknown
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))[:800]
images, labels = images[order], labels[order]
known_names = ["one", "two", "four", "six", "seven"]
known = np.flatnonzero(np.isin(labels, known_names))
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
split = FewShotSplit(20, n_splits=1, random_state=0)
train, _ = next(split.split(features[known], labels[known]))
shots = known[train]
queries = np.setdiff1d(np.arange(len(labels)), shots)

# %%
# With ``quantile=0.05``, about one in twenty images of known digits is rejected. The larger the share of
# rejected unknown digits, the better.

clf = RejectUnknown(FewShotClassifier(clip, input="features", templates="the digit {}"))
clf.fit(features[shots], labels[shots])
scores = clf.score_samples(features[queries])
is_known = np.isin(labels[queries], known_names)
rejected = ~clf.is_known(features[queries])
print(
    f"rejected: {rejected[is_known].mean():.0%} of known, {rejected[~is_known].mean():.0%} of unknown"
)
assert rejected[~is_known].mean() > rejected[is_known].mean() + 0.4

# %%
# The scores
# ----------

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
bins = np.linspace(scores.min(), scores.max(), 40)
for name, rows in (("known digits", is_known), ("unknown digits", ~is_known)):
    ax.hist(scores[rows], bins, alpha=0.6, label=name)
ax.axvline(clf.threshold_, color="black", linestyle=":", label="threshold")
ax.set_xlabel("score")
ax.set_ylabel("images")
ax.legend()
plt.show()

# %%
# Some of the images
# ------------------
# The images of unknown digits are right if they are rejected.

from sktip.inspection import PredictionsDisplay

expected = np.where(is_known, labels[queries], clf.unknown_label_)
PredictionsDisplay.from_estimator(clf, features[queries], expected, images=images[queries])
plt.show()
