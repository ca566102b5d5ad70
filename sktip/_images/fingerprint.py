"""Tiny pictures of photos, to find copies without a model."""

from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import describe
from sktip._images.rgb import open_rgb

#: Width and height of a tiny picture. In larger ones, a crop differs more; in smaller ones, all photos are alike.
SIZE = 12
#: Standard deviation of a picture that counts as much as its mean colour, of 1. Below it, there is nothing else to see.
FLAT = 0.02
#: Smallest side at which a JPEG is decoded, a multiple of `SIZE`.
MIN_SIDE = 96


def fingerprints(images: Sequence[Any]) -> NDArray[np.float32]:
    """Compute unit rows that are similar for copies of a photo, whatever its size, brightness and contrast."""
    read = joblib.Parallel(n_jobs=-1, prefer="threads")
    return np.stack(read(joblib.delayed(_fingerprint)(*item) for item in enumerate(images)))


def _fingerprint(index: int, image: Any) -> NDArray[np.float32]:
    """Return the pixels of a tiny picture less their mean colour, at unit norm."""
    picture = open_rgb(image, describe(image, index), MAX_PIXELS, MIN_SIDE)
    pixels = np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BOX), np.float32) / 255
    mean = pixels.mean(axis=(0, 1))
    row = np.concatenate([(pixels - mean).ravel() / SIZE, FLAT * (2 * mean - 1), [FLAT]])
    return row / np.linalg.norm(row)
