"""
Find wrong labels
=================

Find images whose label is probably wrong, and look at them. Here ten of 200 handwritten digits get a wrong
label. ``held_out_proba`` predicts the probabilities of each image with a
classifier that was fitted without it. From these, `cleanlab <https://docs.cleanlab.ai>`_ finds the suspects.
"""

# %%
# Digits, some of them with wrong labels
# --------------------------------------

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import held_out_proba

images, right_labels = load_digit_images(return_X_y=True)
images, right_labels = images[:200], right_labels[:200]
rng = np.random.default_rng(0)
changed = rng.choice(200, 10, replace=False)
labels = right_labels.copy()
labels[changed] = np.roll(labels[changed], 1)
wrong = labels != right_labels
print(f"{wrong.sum()} labels are wrong")

# %%
# Held-out probabilities, and cleanlab
# ------------------------------------
# Images are encoded once. The classifier is fitted four times, each time without one fold.

from cleanlab.filter import find_label_issues

clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
probabilities = held_out_proba(clf, images, labels)
classes = np.unique(labels)
codes = np.searchsorted(classes, labels)
suspects = find_label_issues(
    codes, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1
)
print(f"{len(suspects)} suspects, of which {wrong[suspects].sum()} are wrong")
assert wrong[suspects].sum() >= 6

# %%
# The suspects
# ------------
# Above each image is the predicted class, and below it the label.

from sktip.inspection import PredictionsDisplay

answers, probability = classes[probabilities.argmax(axis=1)], probabilities.max(axis=1)
display = PredictionsDisplay.from_predictions(
    images[suspects], answers[suspects], labels[suspects], probability[suspects]
)
