"""
Crops of small objects
======================

Classify the boxes of a detector instead of whole photos. Here, digits are small in photos of noise, and the
boxes come from a file in MegaDetector's format.
"""

# %%
# Photos, and the file of a detector
# ----------------------------------

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images, read_detections, write_detections

images, labels = load_digit_images(return_X_y=True)
rng = np.random.default_rng(0)
home = TemporaryDirectory()
folder, entries = Path(home.name), []
for row, digit in enumerate(images[:200]):
    photo = Image.fromarray(rng.integers(90, 170, (180, 240), dtype=np.uint8))
    left, top = int(rng.integers(176)), int(rng.integers(116))
    photo.paste(Image.fromarray(digit), (left, top))
    photo.save(folder / f"{row}.png")
    box = [left / 240, top / 180, len(digit) / 240, len(digit) / 180]
    found = [{"category": "1", "conf": 0.9, "bbox": box}]
    entries.append({"file": f"{row}.png", "detections": found})
content = {"images": entries, "detection_categories": {"1": "digit"}}
(folder / "detections.json").write_text(json.dumps(content))

# %%
# Whole photos and crops
# ----------------------

detections = read_detections(folder / "detections.json")
clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="the digit {}")
for name, photos in (("whole photos", detections.photos), ("crops", detections.data)):
    clf.fit(photos[:100], labels[:100])
    print(f"{name}: accuracy {clf.score(photos[100:], labels[100:200]):.0%}")

# %%
# The answers, in the detector's file
# -----------------------------------

probabilities = clf.predict_proba(detections.data)
write_detections(detections, clf.classes_, probabilities, folder / "answers.json")
answers = json.loads((folder / "answers.json").read_text())
print(answers["images"][0]["detections"][0]["classifications"][0])

# %%
# A few of the crops
# ------------------

from sktip.inspection import PredictionsDisplay

display = PredictionsDisplay.from_estimator(clf, detections.data[100:112], labels[100:112])
home.cleanup()
