"""Draw rings, of which some have a crack."""

import numpy as np
from PIL import Image, ImageDraw


def draw_ring(rng, cracked):
    """Draw one ring: size, place, light and noise vary."""
    picture = Image.new("RGB", (96, 96), tuple(rng.integers(150, 230, 3).tolist()))
    x, y = rng.integers(40, 56, 2).tolist()
    radius, width, start = (
        int(rng.integers(22, 36)),
        int(rng.integers(4, 9)),
        int(rng.integers(360)),
    )
    gap = int(rng.integers(10, 40)) if cracked else 0
    box = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(picture).arc(box, start, start + 360 - gap, (60, 60, 70), width)
    pixels = np.asarray(picture, float) + rng.normal(0, 20, (96, 96, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def draw_rings(n_defects, n_ok, seed):
    """Pictures, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.array(["defect"] * n_defects + ["ok"] * n_ok)
    return [draw_ring(rng, label == "defect") for label in labels], labels
