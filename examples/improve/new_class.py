"""
Adding a class without refitting
================================

Add a new class to a fitted classifier. ``partial_fit`` appends shots of the new class to the cache, one after
the other. The earlier shots do not change, and nothing is fitted again.
"""

# %%
# Nine digits
# -----------
# ``TipAdapterClassifierCV`` chooses alpha and beta on held-out shots, but has no ``partial_fit``. So the
# chosen values are passed to a ``TipAdapterClassifier``.

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
    """Recall of the sevens, and accuracy on the other digits, in %."""
    is_right = classifier.predict(features[test]) == labels[test]
    sevens = labels[test] == "seven"
    return 100 * is_right[sevens].mean(), 100 * is_right[~sevens].mean()


# %%
# The tenth digit
# ---------------
# Its shots are added one by one. With the first shot, the class name is encoded too, and the text prior
# includes the class.

keys_before = clf.cache_keys_
history = [recall(clf)]
for row in shots[labels[shots] == "seven"]:
    clf.partial_fit(features[[row]], labels[[row]])
    history.append(recall(clf))
print(len(clf.classes_), "classes,", len(clf.cache_keys_), "shots")

# %%
# The earlier keys have not changed. The classifier is the same as after ``fit`` on all shots in this order.

assert np.array_equal(clf.cache_keys_[: len(known)], keys_before)
together = np.concatenate([known, shots[labels[shots] == "seven"]])
refitted = TipAdapterClassifier(clip, **parameters).fit(features[together], labels[together])
assert np.allclose(
    clf.decision_function(features[test]), refitted.decision_function(features[test])
)

# %%
# The effect on the other classes
# -------------------------------
# The bundled CLIP hardly knows the word "seven", so this class depends on its shots. The votes of a class are
# a sum over its shots: as long as there are few of them, some sevens are predicted as other digits. The
# accuracy on the other digits hardly changes.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(5, 3.4), layout="constrained")
ax.plot(history, marker="o", label=["recall of sevens", "accuracy on other digits"])
ax.set_xlabel("shots of the new class")
ax.set_ylabel("test images (%)")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
print("recall of sevens with 0 to 16 shots (%):", " ".join(f"{found:.0f}" for found, _ in history))
