"""From a picture to the input of a model: the library's preprocessing, or a random view."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

#: The random views of Tip-Adapter's cache keys: their area, relative to the picture, and their aspect ratio.
SCALE = (0.5, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
#: Short side of the smallest crop, relative to the short side of the picture.
SMALLEST_CROP = math.sqrt(SCALE[0] * RATIO[0])


class Preprocessing:
    """Convert pictures to 8-bit pixels, and batches of pixels to the model's input.

    Pixels need a quarter of the memory of the input, and normalising a batch is faster than normalising
    its pictures one by one. Both parts together give exactly the result of `preprocess`.

    Parameters
    ----------
    preprocess : callable
        Transforms of open_clip, from a picture to a float tensor.
    """

    def __init__(self, preprocess: Callable[[Image.Image], Any]):
        from torchvision.transforms import CenterCrop, Normalize, Resize, ToTensor

        self._preprocess = preprocess
        steps: list[Any] = list(getattr(preprocess, "transforms", []))
        self._is_split = (
            len(steps) > 1 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize)
        )
        self._geometry = steps[:-2] if self._is_split else []
        self._normalize: Any = steps[-1] if self._is_split else None
        # Steps that do not change an RGB picture are dropped.
        pixel = Image.new("RGB", (2, 1))
        self._on_tensors = [
            step
            for step in self._geometry
            if isinstance(step, Resize | CenterCrop) or step(pixel) != pixel
        ]
        self.is_quick = (
            bool(self._on_tensors)
            and all(isinstance(step, Resize | CenterCrop) for step in self._on_tensors)
            and _resizes_bytes()
        )

    def pixels(self, image: Image.Image, *, quickly: bool = False) -> Any:
        """Convert a picture to a tensor (3, h, w) of the model's size: 8-bit pixels, or the input.

        `quickly` resizes with torch instead of Pillow if that is faster; values differ by at most 1 of
        255.
        """
        if not self._is_split:
            return self._preprocess(image)
        if quickly and self.is_quick:
            return self._resized_by_torch(image)
        for step in self._geometry:
            image = step(image)
        return to_pixels(image)

    def quick_pixels_made_by(self) -> dict[str, Any]:
        """Return the settings and versions that pixels made `quickly` depend on."""
        import torch

        return {"reduced": True, "resized_by": torch.__version__ if self.is_quick else "pillow"}

    def normalised(self, batch: Any) -> Any:
        """Convert a batch of pixels to the model's input; tensors that are not 8-bit are inputs already."""
        import torch

        if batch.dtype != torch.uint8:
            return batch
        # The steps of ToTensor and Normalize, in their order.
        batch = batch.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        return self._normalize(batch)

    def _resized_by_torch(self, image: Image.Image) -> Any:
        from torchvision.transforms import Resize
        from torchvision.transforms.v2 import functional

        pixels = to_pixels(image)
        for step in self._on_tensors:
            if isinstance(step, Resize):
                pixels = functional.resize(
                    pixels, step.size, step.interpolation, step.max_size, antialias=True
                )
            else:
                pixels = step(pixels)
        return pixels


def to_pixels(image: Image.Image) -> Any:
    """8-bit tensor (3, h, w) of an RGB picture, with the memory layout of the picture."""
    import torch

    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def contrast(pixels: Any) -> float:
    """Compute the standard deviation of a picture's pixels, of all channels: 0 to 127.5."""
    return float(pixels.float().std())


def _resizes_bytes() -> bool:
    """Whether torch has optimised code to resize 8-bit pictures on this CPU."""
    import torch

    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


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
