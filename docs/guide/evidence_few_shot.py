"""Draw why FewShotClassifier reads a digit that its class names alone get wrong."""

import numpy as np

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.inspection import EvidenceDisplay

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images[:600])
clf = FewShotClassifier(
    clip, input="features", class_names=sorted(set(labels)), templates="the digit {}"
)
own = np.searchsorted(clf.class_names, labels[100:600])[:, np.newaxis]
before, after = (
    np.take_along_axis(clf.fit(*shots).predict_proba(features[100:]), own, axis=1)[:, 0]
    for shots in ((), (features[:100], labels[:100]))
)
query = 100 + (after - before).argmax()
EvidenceDisplay.from_estimator(clf, features[query], query_image=images[query], shots=images[:100])
