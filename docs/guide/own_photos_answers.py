"""Draw new pictures with the answers of a classifier of four pictures per class."""

from sktip import FewShotClassifier
from sktip.datasets import load_drawings
from sktip.inspection import PredictionsDisplay

KINDS = {
    "bird": ["owl", "duck", "penguin", "rooster"],
    "fruit": ["apple", "banana", "grapes", "pear"],
    "vehicle": ["car", "bus", "bike", "tractor"],
}
X, y = load_drawings(KINDS, return_X_y=True)
clf = FewShotClassifier("tiny").fit(X, y)
new = load_drawings(["peacock", "kiwifruit", "train", "eagle", "lemon", "ship"])
PredictionsDisplay.from_estimator(clf, new.data)
