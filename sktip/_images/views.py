"""Random views of an image: the crops and flips of Tip-Adapter's cache keys."""

import hashlib
import math

import numpy as np
from PIL import Image

SCALE = (0.5, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
#: Short side of the smallest crop, relative to the short side of the picture.
SMALLEST_CROP = math.sqrt(SCALE[0] * RATIO[0])


def content_hash(content: bytes | None, picture: Image.Image | None) -> bytes:
    """Hash of an image: of the bytes of its file, or of its pixels if it has no file."""
    digest = hashlib.blake2b(digest_size=16)
    if content is not None:
        digest.update(content)
    elif picture is not None:
        digest.update(f"{picture.mode} {picture.size}".encode())
        digest.update(picture.tobytes())
    return digest.digest()


def view_generator(seed: int, identity: bytes, view: int) -> np.random.Generator:
    """Random generator of one view, which depends only on the seed, the image and the view number."""
    return np.random.default_rng([seed, int.from_bytes(identity, "little"), view])


def random_view(image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Crop a random part, resize it to the model's input (h, w), and mirror it half of the time.

    The crop has 50 to 100 % of the area and an aspect ratio between 3:4 and 4:3, as in the
    paper; an image too narrow for that is cropped in the middle. It does not depend on the scale at
    which the image was decoded.
    """
    box = _crop_box(image.width, image.height, rng)
    view = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box)
    return view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else view


def _crop_box(
    width: int, height: int, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    # Not in whole pixels, since these depend on the scale of the decoding.
    for _ in range(ATTEMPTS):
        area = width * height * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
            return left, top, left + w, top + h
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, height * ratio), min(height, width / ratio)
    left, top = (width - w) / 2, (height - h) / 2
    return left, top, left + w, top + h
