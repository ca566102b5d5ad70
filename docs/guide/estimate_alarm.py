"""Draw estimated and true accuracy, and alarms, for digits that are turned."""

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit, estimate_accuracy

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
train, test = next(FewShotSplit(16, test_size=300, random_state=0).split(images, labels))
clf = FewShotClassifier(clip, input="features", templates="the digit {}")
clf.fit(clip.transform(images[train]), labels[train])
angles, found, true = [0, 2, 4, 6, 8, 10, 15], [], []
for angle in angles:
    turned = [Image.fromarray(image).rotate(angle, fillcolor=255) for image in images[test]]
    features = clip.transform(turned)
    found.append(estimate_accuracy(clf, features))
    true.append(clf.score(features, labels[test]))
print(*(f"{a}: {e.accuracy:.2f} {t:.2f} {e.drift}" for a, e, t in zip(angles, found, true)))
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
low, middle, high = ([100 * e[key] for e in found] for key in ("lower", "accuracy", "upper"))
ax.fill_between(angles, low, high, color="#0072b2", alpha=0.2, lw=0, label="80 % interval")
ax.plot(angles, middle, color="#0072b2", label="estimated")
ax.plot(angles, 100 * np.array(true), "o-", color="black", label="in truth")
alarms = [angle for angle, e in zip(angles, found) if e.drift]
ax.plot(alarms, np.full(len(alarms), 12), "x", color="#d55e00", label="alarm")
ax.set(xlabel="new digits turned by (degrees)", ylabel="accuracy (%)", ylim=(0, 100))
ax.legend(loc="lower left", frameon=False)
