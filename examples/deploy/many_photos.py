"""
Predict a folder of photos
==========================

Classify a folder of new photos, some of them damaged. The result is a table with a prediction or an error
for each photo, and a CSV file. Then look at the photos with the lowest confidence.
"""

# %%
# Photos in folders
# -----------------
# The labelled photos are in one folder per class, in subfolders that say nothing of the class: ``levels=1``.

import os
import warnings
from tempfile import TemporaryDirectory

from PIL import Image

from sktip import CLIPFeatureTransformer, FewShotClassifier, predict_images
from sktip.datasets import load_digit_images, load_image_folder

home = TemporaryDirectory()
images, names = load_digit_images(return_X_y=True)
for number in range(400):
    inside = f"photos/{names[number]}/{number % 2}" if number < 100 else f"new/{number // 100}"
    os.makedirs(os.path.join(home.name, inside), exist_ok=True)
    Image.fromarray(images[number]).save(os.path.join(home.name, inside, f"{number}.png"))

# Two files that are not images, despite their names.
for number in (150, 250):
    with open(os.path.join(home.name, f"new/{number // 100}/{number}.png"), "wb") as file:
        file.write(b"cut off")

photos = load_image_folder(os.path.join(home.name, "photos"), levels=1)
print(photos.DESCR.replace(home.name, ""))

# %%
# Fit, and predict the rest
# -------------------------

clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
clf.fit(photos.data, photos.target)

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    answers = predict_images(
        clf, os.path.join(home.name, "new"), os.path.join(home.name, "answers.csv"), verbose=0
    )
for warning in caught:
    print(str(warning.message).replace(home.name, ""))

# %%
# The file has a line for each photo:

with open(os.path.join(home.name, "answers.csv")) as file:
    for line in file.readlines()[:4]:
        print(line.rstrip().replace(home.name, ""))

# %%
# Photos with the lowest confidence
# ---------------------------------
# Photos without a prediction have no probability, and are last in this order.

from sktip.inspection import PredictionsDisplay

PredictionsDisplay.from_predictions(
    answers.path,
    answers.prediction,
    proba=answers.probability,
    order="least_certain",
    n_images=6,
    n_columns=3,
)
home.cleanup()
