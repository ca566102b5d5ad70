"""
Explain a correct and a wrong prediction
========================================

See which shots decided a prediction. This example explains two predictions: one that is wrong without
shots and correct with them, and one that stays wrong.
"""

# %%
# A classifier with 16 shots per class
# ------------------------------------

import numpy as np

from sktip import CLIPFeatureTransformer, TipAdapterClassifierCV, ZeroShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
shots, test = next(FewShotSplit(16, random_state=0).split(features, labels))

common = {"input": "features", "templates": ["a picture of the number {}", "the digit {}"]}
clf = TipAdapterClassifierCV(clip, **common).fit(features[shots], labels[shots])
zero_shot = ZeroShotClassifier(clip, **common).fit(features[shots], labels[shots])

right = clf.predict(features[test]) == labels[test]
right_before = zero_shot.predict(features[test]) == labels[test]
print(f"{(right & ~right_before).sum()} of {len(test)} test images are corrected by the shots,")
print(f"{(right_before & ~right).sum()} become wrong, {(~right & ~right_before).sum()} stay wrong")

# %%
# Corrected by the shots
# ----------------------
# This is the corrected prediction whose probability the shots raised most. Above are the shots with the
# largest votes. Below, each logit is split into CLIP's text prior and the votes of the cache. The text prior
# alone would predict another digit.

from sktip.inspection import EvidenceDisplay

own = np.searchsorted(clf.classes_, labels[test])[:, np.newaxis]
before, after = (
    np.take_along_axis(model.predict_proba(features[test]), own, axis=1)[:, 0]
    for model in (zero_shot, clf)
)
query = test[np.where(right & ~right_before, after - before, -1).argmax()]
display = EvidenceDisplay.from_estimator(
    clf, features[query], query_image=images[query], shots=images[shots]
)
display.figure_.savefig("evidence.png", dpi=150)
print(f"a {labels[query]}; wrote evidence.png")

# %%
# Still wrong
# -----------
# This is the wrong prediction with the highest confidence. The shots that are most similar to the query
# belong to another class. On your own data, first check whether one of them has a wrong label.

confidence = clf.predict_proba(features[test]).max(axis=1)
query = test[np.where(right, -1, confidence).argmax()]
EvidenceDisplay.from_estimator(clf, features[query], query_image=images[query], shots=images[shots])
print(f"a {labels[query]}, read as a {clf.predict(features[[query]])[0]}")

# %%
# The same as arrays
# ------------------

indices, votes, voters = clf.nearest_shots(features[[query]], n=5)
for row, vote, voter in zip(indices[0], votes[0], voters[0]):
    print(f"shot {row:3}, a {voter:5}: {vote:.2f} in its logit")

# %%
# A linear classifier
# -------------------
# ``FewShotClassifier`` has no cache. Its logits are a sum of parts: text, class means and correction, and each
# shot has a share in them. The display draws them in the same way, and ``explain`` returns them as arrays.

from sktip import FewShotClassifier

linear = FewShotClassifier(clip, **common).fit(features[shots], labels[shots])
why = linear.explain(features[[query]])
answer = linear.classes_.tolist().index(why.labels[0])
for part in ("text", "means", "correction"):
    print(f"{part:>10} {why[part][0, answer] - why[part][0].mean():+.2f} above the mean class")
nearest = why.shots[0].argsort()[::-1][:3]
print("shots:", *(f"{why.shot_labels[row]} {why.shots[0, row]:+.2f}" for row in nearest))
parts = why.text + why.means + why.correction + why.unlabeled
assert np.allclose(parts, linear.decision_function(features[[query]]), atol=1e-4)
