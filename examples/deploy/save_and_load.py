"""
Save, load, and predict one photo
=================================

A fitted classifier consists of a few NumPy arrays. ``joblib`` writes them to disk, without the CLIP model.
Another process loads them and classifies a single photo.
"""

# %%
# Fit and save
# ------------

import os
from tempfile import TemporaryDirectory

import joblib
import numpy as np
from PIL import Image

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
shots, test = next(FewShotSplit(16, random_state=0).split(images, labels))

clf = TipAdapterClassifier(
    CLIPFeatureTransformer("tiny"), templates=["a picture of the number {}", "the digit {}"]
).fit(images[shots], labels[shots])

folder = TemporaryDirectory()
path = os.path.join(folder.name, "digits.joblib")
joblib.dump(clf, path)
keys = clf.cache_keys_.nbytes + clf.text_features_.nbytes
print(f"{os.path.getsize(path):,} bytes, of which {keys:,} are image and text features")

# %%
# One photo
# ---------
# ``predict`` takes a list of photos, also for a single photo. Load joblib files only from people you trust:
# loading runs the code in them.

photo = os.path.join(folder.name, "photo.png")
Image.fromarray(images[test[0]]).save(photo)

loaded = joblib.load(path)
probabilities = loaded.predict_proba([photo])[0]
for code in probabilities.argsort()[::-1][:3]:
    print(f"{loaded.classes_[code]:6} {100 * probabilities[code]:5.1f} %")
print("it is a", labels[test[0]])

# %%
# The loaded classifier predicts the same as the saved one.

some = images[test[:100]]
assert np.array_equal(loaded.predict_proba(some), clf.predict_proba(some))

from sktip.inspection import PredictionsDisplay

PredictionsDisplay.from_estimator(loaded, [photo])
folder.cleanup()
