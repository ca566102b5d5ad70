"""Draw the least certain predictions of digits."""

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.inspection import PredictionsDisplay

images, labels = load_digit_images(return_X_y=True)
clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
clf.fit(images[:100], labels[:100])
PredictionsDisplay.from_estimator(clf, images[100:500], labels[100:500], order="least_certain")
