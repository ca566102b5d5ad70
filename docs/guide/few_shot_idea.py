"""Draw class means of digits beside those that their text predicts."""

import matplotlib.pyplot as plt
import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images[:600])
labels = labels[:600]
shots = [np.flatnonzero(labels == name)[0] for name in np.unique(labels)]
clf = FewShotClassifier(clip, input="features", templates="the digit {}")
clf.fit(features[shots], labels[shots])

means = np.stack([features[labels == name].mean(axis=0) for name in clf.classes_])
centre = means.mean(axis=0)
directions = np.linalg.svd(means - centre)[2][:2].T
figure, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
ax.scatter(*((features - centre) @ directions).T, s=4, color="lightgray", label="images")
predicted = (clf.predicted_means_ - centre) @ directions
true = (means - centre) @ directions
for name, start, end in zip(clf.classes_, predicted, true):
    ax.plot(*np.stack([start, end]).T, color="gray", linewidth=1)
    # Five and eight lie close together.
    ax.annotate(name, end, (-28, -3) if name == "five" else (5, 3), textcoords="offset points")
ax.scatter(*predicted.T, marker="x", label="means that the text predicts, one shot per class")
ax.scatter(*true.T, label="means of all images")
ax.legend()
