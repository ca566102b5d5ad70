"""Draw scenes: a small drawing somewhere on a textured background."""

import numpy as np
from PIL import Image

from sktip.datasets import load_drawings

SIZE = 320, 240


def draw_scene(name, rng, share=(0.1, 0.2)):
    """Return a scene and the box of its drawing, which fills such a share of the area, as fractions."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3)) + rng.integers(60, 200, 3)
    for cells, strength in ((4, 25), (16, 20), (64, 12)):
        noise = rng.normal(0, strength, (cells, cells, 3))
        for channel in range(3):
            part = Image.fromarray(noise[..., channel].astype(np.float32))
            pixels[..., channel] += np.asarray(part.resize(SIZE, Image.Resampling.BICUBIC))
    scene = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    drawing = Image.fromarray(load_drawings([name], size=200).data[0])
    drawing = drawing.crop(drawing.getbbox(alpha_only=True))
    scale = (rng.uniform(*share) * SIZE[0] * SIZE[1] / (drawing.width * drawing.height)) ** 0.5
    scale = min(scale, 0.95 * SIZE[0] / drawing.width, 0.95 * SIZE[1] / drawing.height)
    drawing = drawing.resize([round(scale * side) for side in drawing.size])
    left, top = (int(rng.integers(a - b + 1)) for a, b in zip(SIZE, drawing.size))
    scene.paste(drawing, (left, top), drawing)
    box = left, top, left + drawing.width, top + drawing.height
    return scene, tuple(at / side for at, side in zip(box, 2 * SIZE))
