"""What the snippets of the guide may use without saying so.

Shots and new photos (digits drawn as pictures, files in a folder of their own), their labels, their
features, and the bundled CLIP.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from sktip import CLIPFeatureTransformer

_home, _folder = os.getcwd(), tempfile.TemporaryDirectory()
os.chdir(_folder.name)
_digits = load_digits()
_words = np.array("zero one two three four five six seven eight nine".split())
labels = _words[_digits.target[:300]]
photos = []
for number, (pixels, name) in enumerate(zip(_digits.images[:300], labels)):
    path = Path("photos", name, f"{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(255 - 16 * pixels, 0, 255).astype(np.uint8)).save(path)
    photos.append(str(path))
Image.open(photos[299]).save("new.png")
photos, labels, new_photos, new_labels = photos[:200], labels[:200], photos[200:], labels[200:]
clip = CLIPFeatureTransformer("tiny")
F, new_F = clip.transform(photos), clip.transform(new_photos)
