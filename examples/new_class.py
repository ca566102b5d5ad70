"""
Adding a class without refitting
================================

A classifier in use meets a class that it does not know. ``partial_fit`` appends the shots of the
new class, and later more of them; those already cached stay as they are, and nothing is fitted
again.
"""

# %%
# Nine digits
# -----------
# alpha and beta are chosen on held-out shots. The classifier that does so cannot be extended; one with
# the values that it found can.

import numpy as np

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
shots, test = next(FewShotSplit(16, random_state=0).split(features, labels))

known = shots[labels[shots] != "seven"]
common = {"input": "features", "templates": "the digit {}"}
tuned = TipAdapterClassifierCV(clip, **common).fit(features[known], labels[known])
parameters = {**common, "alpha": tuned.alpha_, "beta": tuned.beta_}
clf = TipAdapterClassifier(clip, **parameters)
clf.fit(features[known], labels[known])
print(len(clf.classes_), "classes,", len(clf.cache_keys_), "shots")


def recall(classifier):
    """Share of the sevens that are found, and of the other digits that are read right, in %."""
    is_right = classifier.predict(features[test]) == labels[test]
    sevens = labels[test] == "seven"
    return 100 * is_right[sevens].mean(), 100 * is_right[~sevens].mean()


# %%
# The tenth
# ---------
# Its shots come one after the other. With the first, its name is encoded too: the text prior knows
# the class from then on.

keys_before = clf.cache_keys_
history = [recall(clf)]
for row in shots[labels[shots] == "seven"]:
    clf.partial_fit(features[[row]], labels[[row]])
    history.append(recall(clf))
print(len(clf.classes_), "classes,", len(clf.cache_keys_), "shots")

# %%
# The keys that were there first are the same rows, and the classifier is the one that ``fit`` makes
# of all shots in that order.

assert np.array_equal(clf.cache_keys_[: len(known)], keys_before)
together = np.concatenate([known, shots[labels[shots] == "seven"]])
refitted = TipAdapterClassifier(clip, **parameters).fit(features[together], labels[together])
assert np.allclose(
    clf.decision_function(features[test]), refitted.decision_function(features[test])
)

# %%
# What the new class costs the others
# -----------------------------------
# The bundled CLIP hardly knows a seven by its name, so that its shots have to do the work. The cache is
# a sum over them: while they are few, the other digits outvote some of the sevens, and lose next to
# nothing.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.plot(history, marker="o", label=["sevens found", "other digits read right"])
ax.set_xlabel("shots of the new class")
ax.set_ylabel("test images (%)")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
print("sevens found, with 0 to 16 shots (%):", " ".join(f"{found:.0f}" for found, _ in history))
