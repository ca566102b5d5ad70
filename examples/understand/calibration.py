"""
Calibration and the reliability diagram
=======================================

Are predictions with a probability of 80 % right eight times in ten? The probabilities are the softmax of
the logits, and the scale of the logits comes from CLIP, not from your images. This example draws a
reliability diagram, and calibrates the probabilities with scikit-learn's
``CalibratedClassifierCV``.
"""

# %%
# Shots, and images to calibrate on
# ---------------------------------
# Calibration needs labelled images that the classifier has not seen. Here 200 images are used that are
# neither shots nor test images.

import numpy as np

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
features = features.astype(np.float64)  # Calibrated probabilities have the precision of the logits.
shots, rest = next(FewShotSplit(16, random_state=0).split(features, labels))
rest = np.random.default_rng(0).permutation(rest)
held_out, test = rest[:200], rest[200:]

# %%
# Calibration encodes the labels as integers, so the class names are passed as a sorted sequence.
# ``FrozenEstimator`` prevents a new fit of the classifier. ``"temperature"`` divides all logits by one number:
# it changes the confidence, but no prediction (it needs scikit-learn 1.8). ``"isotonic"`` fits one regression
# per class. It can change predictions too, and needs more images than there are here.

from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

clf = TipAdapterClassifier(
    clip,
    input="features",
    templates=["a picture of the number {}", "the digit {}"],
    class_names=sorted(set(labels)),
).fit(features[shots], labels[shots])
methods = {"uncalibrated": clf}
for method in ("temperature", "isotonic"):
    calibrated = CalibratedClassifierCV(FrozenEstimator(clf), method=method)
    methods[method] = calibrated.fit(features[held_out], labels[held_out])

# %%
# The reliability diagram
# -----------------------
# Predictions are sorted into ten bins of equal size by their probability. On the dotted line, predictions
# with a probability of 80 % are right eight times in ten.

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import log_loss

figure, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
print("             accuracy  log-loss  mean confidence")
for name, model in methods.items():
    probabilities = model.predict_proba(features[test])
    right = model.predict(features[test]) == labels[test]
    confidence = probabilities.max(axis=1)
    CalibrationDisplay.from_predictions(
        right, confidence, n_bins=10, strategy="quantile", name=name, ax=ax
    )
    loss = log_loss(labels[test], probabilities, labels=model.classes_)
    print(f"{name:12} {100 * right.mean():6.1f} % {loss:9.3f} {100 * confidence.mean():8.1f} %")
ax.set_xlabel("confidence")
ax.set_ylabel("share of correct predictions")
plt.show()
