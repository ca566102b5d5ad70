"""One loaded image model, and the models that this process has loaded."""

import copy
import difflib
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from sktip._encoding.memory import FeatureStore, Key
from sktip._encoding.preprocessing import Preprocessing
from sktip.exceptions import ModelLoadError

FOLDER, HUB = "local-dir:", "hf-hub:"
#: Number of models kept in memory; the least recently used one is dropped first.
MAX_MODELS = 4
#: Names of torch types.
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
#: Largest ratio of the sides of a picture; longer pictures are cropped in the middle. A model resizes the
#: short side to 224 pixels before it crops, which would make 13 million x 224 pixels of 60,000 x 1.
MAX_RATIO = 64

_models: "OrderedDict[tuple, ImageModel]" = OrderedDict()
_lock = threading.Lock()


class Model:
    """What an open encoder runs: images in, NumPy features out, and perhaps texts."""

    #: Name on PyPI of the library that builds the model; None for a transformer of others, which also opens the
    #: images itself.
    library: str | None = None
    #: Name of the precision; None if it is not known.
    precision: str | None
    has_text = False

    @property
    def device_type(self) -> str:
        """Type of the device that computes; "other" if it is not known."""
        return "other"

    @property
    def logit_scale(self) -> float:
        """The model's own scale from cosines to logits."""
        return 100.0

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input, if it is of a fixed size."""
        return 0, 0

    @property
    def width(self) -> int:
        """Number of features."""
        raise NotImplementedError

    @property
    def probe(self) -> np.ndarray | None:
        """Unit-norm feature of a fixed picture, to check whether two models are the same."""
        raise NotImplementedError

    def encode(self, inputs: Mapping[Key, Any]) -> dict[Key, Any]:
        """Un-normalised float32 features of inputs, or an `ImageReadError` in their place."""
        raise NotImplementedError

    def patches(self, picture: Image.Image) -> np.ndarray | None:
        """Features of the patches of a square picture, (rows, columns, d); None if the model has none."""
        return None

    def is_cut_off(self, prompt: str) -> bool:
        """Whether a prompt is longer than the model's context."""
        return False

    def encode_classes(
        self, prompts: Sequence[Sequence[str]], store: FeatureStore | None = None
    ) -> np.ndarray:
        """Unit-norm text features of classes, each the mean of its prompts' unit features.

        Those of our own models are kept in `store`.
        """
        raise NotImplementedError


@dataclass(eq=False)
class ImageModel(Model):
    """One loaded model.

    A subclass defines `library`, `forward`, `input_size` and `preprocessing`.
    """

    model: Any
    preprocess: Callable[[Image.Image], Any]
    device: Any
    precision: str
    #: The configuration of the model, as JSON.
    architecture: str

    def forward(self, batch: Any) -> Any:
        """Features of a batch of inputs, both of them tensors."""
        raise NotImplementedError

    @property
    def device_type(self) -> str:
        return self.device.type

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, standard deviation and other settings of the preprocessing."""
        raise NotImplementedError

    @property
    def tower(self) -> Any:
        """The image model, a torch module."""
        return self.model

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.probe)

    @cached_property
    def probe(self) -> np.ndarray:
        feature = self.encode_images([self.to_input(probe_picture())])[0]
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

    def image_tower(self) -> Any:
        """Copy of the image model, a torch module from pixels to features."""
        return copy.deepcopy(self.tower).eval()

    def to_input(self, image: Image.Image, *, quickly: bool = False) -> Any:
        """Preprocess a picture exactly as the library does, or with `quickly` nearly so."""
        return self.steps.pixels(_middle(image), quickly=quickly)

    def encode(self, inputs: Mapping[Key, Any]) -> dict[Key, Any]:
        return dict(zip(inputs, self.encode_images(list(inputs.values())), strict=True))

    def encode_images(self, inputs: Sequence[Any]) -> np.ndarray:
        """Un-normalised float32 features of preprocessed images."""
        import torch

        with torch.inference_mode():
            batch = self.steps.normalised(torch.stack(list(inputs)).to(self.device))
            return self.forward(batch.to(self.dtype)).float().cpu().numpy()


def probe_picture() -> Image.Image:
    """Return the fixed picture by whose features models are compared."""
    ramp = np.arange(64, dtype=np.uint8) * 4
    channels = np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1])
    return Image.fromarray(np.stack(channels, axis=-1))


def _middle(image: Image.Image) -> Image.Image:
    """Middle part of a picture if it is longer than `MAX_RATIO` times its width."""
    short = min(image.size)
    # Both ends are cropped by the same number of pixels, so that the middle stays the same.
    left, top = (max(0, side - MAX_RATIO * short) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image


def clear_model_cache() -> None:
    """Free the memory of all loaded models.

    Models are loaded at first use and shared by all estimators of the process. The four most recently
    used models are kept. After this call, the next use loads its model again.

    Read more in the :ref:`User Guide <guide_scaling>`.

    Examples
    --------
    >>> from sktip import clear_model_cache
    >>> clear_model_cache()
    """
    with _lock:
        _models.clear()


def load_once(
    library: str,
    load: Callable[..., ImageModel],
    model_name: str,
    pretrained: str | None,
    *,
    device: str | None,
    precision: str,
) -> Any:
    """Return a model from the cache of the process, or load it into the cache."""
    from sktip._maths.device import resolve_device, resolve_precision

    where = resolve_device(device)
    precision = resolve_precision(precision, where)
    # The cache outlives the working directory.
    if model_name.startswith(FOLDER):
        model_name = FOLDER + os.path.abspath(model_name.removeprefix(FOLDER))
    file = os.path.abspath(pretrained) if pretrained and os.path.isfile(pretrained) else pretrained
    key = (library, model_name, file, str(where), precision)
    # Held while loading, so that several threads load the same model once.
    with _lock:
        if key not in _models:
            _models[key] = load(model_name, pretrained, where, precision)
            while len(_models) > MAX_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]


@contextmanager
def load_errors(model_name: str, pretrained: str | None, offline_choice: str) -> Iterator[None]:
    """Turn errors of the libraries into a `ModelLoadError` that names the model."""
    try:
        yield
    except (ModelLoadError, ImportError):
        raise
    except Exception as error:
        what = f"the weights of {model_name!r}" + (f" ({pretrained!r})" if pretrained else "")
        if _is_offline(error):
            raise ModelLoadError(
                f"{what} are not on this machine and could not be downloaded: no connection to the model hub. "
                f"Connect once, and they stay in its cache. Without a network, use {offline_choice}."
            ) from error
        raise ModelLoadError(f"{what} could not be loaded: {error}") from error


def _is_offline(error: BaseException | None) -> bool:
    """Whether an error, or a cause of it, is one of the network."""
    offline = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "URLError"}
    offline |= {"TransportError", "Timeout"}
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        error = error.__cause__ or error.__context__
    return any(base.__name__ in offline for link in seen for base in type(link).__mro__)


def near(name: str, known: Iterable[str]) -> str:
    """Sentence that suggests similar names; empty if there are none."""
    lower = {candidate.lower(): candidate for candidate in known}
    matches = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def check_own_weights(model_name: str, pretrained: str | None) -> None:
    """Refuse `pretrained` for a model that has its own weights."""
    if pretrained is not None:
        raise ValueError(
            f"model_name={model_name!r} has its own weights; pass pretrained=None instead of {pretrained!r}."
        )


def folder_of(model_name: str, config: str) -> str:
    """Folder of a ``local-dir:`` model; it must have a configuration."""
    folder = model_name.removeprefix(FOLDER)
    if not os.path.isdir(folder):
        raise ValueError(f"{model_name!r}: the folder {folder!r} does not exist.")
    if not os.path.isfile(os.path.join(folder, config)):
        raise ValueError(f"{model_name!r}: the folder has no {config}; add it.")
    return folder
