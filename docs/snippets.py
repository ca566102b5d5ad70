"""What the snippets of the guide may use without saying so.

Shots and new photos (digits drawn as pictures, files in a folder of their own), their labels, their
features, and the bundled CLIP.
"""

import os
import tempfile
from pathlib import Path

from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_digit_images

_home, _folder = os.getcwd(), tempfile.TemporaryDirectory()
os.chdir(_folder.name)
_images, labels = load_digit_images(return_X_y=True)
photos, labels = [], labels[:300]
for number, (image, name) in enumerate(zip(_images, labels)):
    path = Path("photos", name, f"{number}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    photos.append(str(path))
Image.open(photos[299]).save("new.png")
photos, labels, new_photos, new_labels = photos[:200], labels[:200], photos[200:], labels[200:]
clip = CLIPFeatureTransformer("tiny")
F, new_F = clip.transform(photos), clip.transform(new_photos)
