"""
Your own photos, with ViT-B-32
==============================

From a folder of photos to a saved classifier: compare five classifiers on draws of a few shots per
class, save the best one fitted on all photos, and classify new photos.

Put the photos of each class into a folder with the name of the class,
``photos/golden_retriever/1.jpg`` and so on, and change the five values below. This page shows no
output, since it needs your photos and downloads the weights of ViT-B-32 (600 MB) at the first use.
"""

# %%
# What to change
# --------------
# Every class needs at least ``SHOTS`` photos. Further photos are used to score the classifiers, so some
# classes need more.

from sktip.prompts import GENERAL_TEMPLATES

FOLDER = "photos"
NEW = ["new_1.jpg", "new_2.jpg"]
SHOTS = 8
TEMPLATES = GENERAL_TEMPLATES  # or what your photos are: ["a satellite photo of {}."]
MODEL = "ViT-B-32"  # "tiny" needs no download, but knows no photos
# sphinx_gallery_thumbnail_path = "images/strip-light.png"

# %%
# Encode the photos once
# ----------------------
# The features are stored in a file, so that a second run only encodes new photos.

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_image_folder

photos = load_image_folder(FOLDER)
print(photos.DESCR)
clip = CLIPFeatureTransformer(MODEL, memory="features.sqlite", verbose=1)
features = clip.transform(photos.data)

# %%
# Compare classifiers
# -------------------
# All classifiers are fitted on the same three draws of shots, and scored on the other photos.

from sklearn.model_selection import cross_val_score

from sktip import (
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifierCV,
    ZeroShotClassifier,
)
from sktip.model_selection import FewShotSplit

common = {"input": "features", "templates": TEMPLATES}
methods = {
    "FewShotClassifier": FewShotClassifier(clip, **common),
    "zero-shot": ZeroShotClassifier(clip, **common),
    "Tip-Adapter, tuned": TipAdapterClassifierCV(clip, **common),
    "GDA": GDAClassifier(clip, **common),
    "ProKeR": ProKeRClassifier(clip, **common),
}
draws = FewShotSplit(SHOTS, n_splits=3, random_state=0)
scores = {
    name: cross_val_score(method, features, photos.target, cv=draws)
    for name, method in methods.items()
}
print(f"Accuracy in % with {SHOTS} shots per class, over 3 draws")
for name, values in scores.items():
    print(f"{name:20} {100 * values.mean():5.1f} ± {100 * values.std():.1f}")

# %%
# Save the best one
# -----------------
# It is fitted on all photos. With ``input="image"``, the saved classifier takes photos.

import joblib

best = max(scores, key=lambda name: scores[name].mean())
clf = methods[best].set_params(input="image").fit(photos.data, photos.target)
joblib.dump(clf, "classifier.joblib")
print(f"{best}, fitted on all photos, is in classifier.joblib")

# %%
# Classify new photos
# -------------------
# The three most probable classes of each photo:

for path, probabilities in zip(NEW, clf.predict_proba(NEW)):
    likeliest = probabilities.argsort()[::-1][:3]
    print(path, ", ".join(f"{clf.classes_[c]} {probabilities[c]:.0%}" for c in likeliest))
