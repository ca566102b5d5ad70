"""
What to label next
==================

Choose which images to label if you can only label a few of them. Here
``suggest_shots`` chooses ten of 300 unlabelled digits, and then ten more.
"""

# %%
# The first ten, from the class names alone
# -----------------------------------------

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import suggest_shots

images, labels = load_digit_images(return_X_y=True)
images, labels = images[:300], labels[:300]
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
names = sorted(set(labels))
text = clip.encode_text(names, "the digit {}")
first = suggest_shots(features, 10, text_features=text)
print(f"10 labels, {len(set(labels[first]))} of 10 digits")

# %%
# Ten more, given the first labels
# --------------------------------

rest = np.setdiff1d(np.arange(300), first)
more = rest[
    suggest_shots(
        features[rest],
        10,
        X_labeled=features[first],
        y=labels[first],
        text_features=text,
        class_names=names,
    )
]
chosen = np.append(first, more)
print(f"20 labels, {len(set(labels[chosen]))} of 10 digits")
assert len(set(chosen)) == 20

# %%
# The chosen images, and a classifier fitted on them:

import matplotlib.pyplot as plt

from sktip.inspection import PredictionsDisplay

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
PredictionsDisplay.from_predictions(images[chosen], labels[chosen], n_images=20, n_columns=7, ax=ax)
plt.show()

clf = FewShotClassifier(text_features=text, class_names=dict(zip(names, names)))
clf.fit(features[chosen], labels[chosen])
print(f"accuracy on all 300: {clf.score(features, labels):.2f}")
