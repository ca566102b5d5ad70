"""One loaded CLIP model: pictures and prompts in, features out."""

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from sktip._encoding.preprocessing import Preprocessing

#: Names of torch types.
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
#: Number of classes whose text features are kept with each model, so that a search encodes them once.
MAX_CLASSES = 16_384
#: Largest ratio of the sides of a picture; longer pictures are cropped in the middle. CLIP resizes the
#: short side to 224 pixels before it crops, which would make 13 million x 224 pixels of 60,000 x 1.
MAX_RATIO = 64


@dataclass(eq=False)
class ClipModel:
    """One loaded CLIP: images and prompts in, NumPy features out."""

    model: Any
    tokenizer: Any
    preprocess: Callable[[Image.Image], Any]
    device: Any
    precision: str
    architecture: str
    class_features: "OrderedDict[tuple[str, ...], np.ndarray]" = field(default_factory=OrderedDict)

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.detach().float().exp())

    @property
    def input_size(self) -> tuple[int, int]:
        size = self.model.visual.image_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @cached_property
    def embed_dim(self) -> int:
        return len(self.encode_classes([["a"]])[0])

    @cached_property
    def probe(self) -> np.ndarray:
        """Unit-norm feature of a fixed picture, to check whether two models are the same."""
        ramp = np.arange(64, dtype=np.uint8) * 4
        channels = np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1])
        picture = Image.fromarray(np.stack(channels, axis=-1))
        feature = self.encode_images([self.to_input(picture)])[0]
        return feature / np.linalg.norm(feature)

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the weights. A tag or a path does not identify the content of a file."""
        import torch

        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.cpu().contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
        return digest.hexdigest()

    @property
    def dtype(self) -> Any:
        """Type of the numbers in which the image model computes."""
        import torch

        return getattr(torch, DTYPES[self.precision])

    @cached_property
    def steps(self) -> Preprocessing:
        """The steps of the preprocessing."""
        return Preprocessing(self.preprocess)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, standard deviation and other settings of the preprocessing."""
        return self.model.visual.preprocess_cfg

    def image_tower(self) -> Any:
        """Copy of the image model, a torch module from pixels to features."""
        return copy.deepcopy(self.model.visual).eval()

    def to_input(self, image: Image.Image, *, quickly: bool = False) -> Any:
        """Preprocess a picture exactly as open_clip does, or with `quickly` nearly so."""
        return self.steps.pixels(_middle(image), quickly=quickly)

    def encode_images(self, inputs: Sequence[Any]) -> np.ndarray:
        """Un-normalised float32 features of preprocessed images."""
        import torch

        with torch.inference_mode():
            batch = self.steps.normalised(torch.stack(list(inputs)).to(self.device))
            features = self.model.encode_image(batch.to(self.dtype))
            return features.float().cpu().numpy()

    def encode_classes(self, prompts: Sequence[Sequence[str]], batch_size: int = 256) -> np.ndarray:
        """Unit-norm text features of classes, each the mean of its prompts' unit features."""
        unknown = [
            own for own in dict.fromkeys(map(tuple, prompts)) if own not in self.class_features
        ]
        flat = [prompt for own in unknown for prompt in own]
        encoded = [
            self._encode_text(flat[start : start + batch_size])
            for start in range(0, len(flat), batch_size)
        ]
        features = dict(self.class_features)
        if unknown:
            rows = np.concatenate(encoded)
            ends = np.cumsum([len(own) for own in unknown])[:-1]
            for own, part in zip(unknown, np.split(rows, ends), strict=True):
                mean = part.mean(axis=0)
                features[own] = mean / np.linalg.norm(mean)
        result = np.stack([features[tuple(own)] for own in prompts])
        self.class_features = OrderedDict(list(features.items())[-MAX_CLASSES:])
        return result

    def _encode_text(self, prompts: list[str]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            tokens = self.tokenizer(prompts).to(self.device)
            features = self.model.encode_text(tokens).float()
            return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()

    def is_cut_off(self, prompt: str) -> bool:
        """Whether a prompt is longer than the model's context."""
        if hasattr(self.tokenizer, "encode"):
            length = len(self.tokenizer.encode(prompt)) + 2
        elif hasattr(self.tokenizer, "tokenizer"):
            length = len(self.tokenizer.tokenizer(prompt)["input_ids"])
        else:
            return False
        return length > self.tokenizer.context_length


def _middle(image: Image.Image) -> Image.Image:
    """Middle part of a picture if it is longer than `MAX_RATIO` times its width."""
    short = min(image.size)
    # Both ends are cropped by the same number of pixels, so that the middle stays the same.
    left, top = (max(0, side - MAX_RATIO * short) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image
