"""Pretrained CLIP models: loaded once per process. The only module that knows open_clip."""

import difflib
import gzip
import hashlib
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sktip.exceptions import ModelLoadError

TINY = "tiny"
TINY_FOLDER = Path(__file__).parents[1] / "tiny"
DEFAULT_PRETRAINED = {"ViT-B-32": "laion2b_s34b_b79k"}
#: Models kept in memory, the least recently used dropped first.
MAX_MODELS = 2
#: Text features of classes kept with each model, so that a grid search encodes a class once.
MAX_CLASSES = 16_384
#: Picture of which all is preprocessed, by its length in widths; of a longer one, the middle. CLIP
#: makes the short side 224 pixels before it keeps the middle: 13 million x 224 of 60,000 x 1.
MAX_RATIO = 64

_models: "OrderedDict[tuple, ClipModel]" = OrderedDict()
_lock = threading.Lock()


@dataclass(eq=False)
class ClipModel:
    """One loaded CLIP: images and prompts in, NumPy features out."""

    model: Any
    tokenizer: Any
    preprocess: Callable[[Image.Image], Any]
    device: Any
    dtype: Any
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
        """Unit-norm feature of a fixed picture, which tells models apart wherever they lie."""
        ramp = np.arange(64, dtype=np.uint8) * 4
        channels = np.broadcast_arrays(ramp, ramp[:, None], ramp[::-1])
        picture = Image.fromarray(np.stack(channels, axis=-1))
        feature = self.encode_images([self.to_input(picture)])[0]
        return feature / np.linalg.norm(feature)

    @cached_property
    def weights_hash(self) -> str:
        """Identity of the weights: a tag or a path says nothing about what is in the file."""
        import torch

        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.cpu().contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
        return digest.hexdigest()

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, deviation and the rest that make a picture the model's input."""
        return self.model.visual.preprocess_cfg

    def to_input(self, image: Image.Image) -> Any:
        """Preprocess a whole picture as open_clip does it."""
        return self.preprocess(_middle(image))

    def to_tensor(self, image: Image.Image) -> Any:
        """Make an already cropped RGB picture the model's input, by its own mean and deviation."""
        from torchvision.transforms import functional

        cfg = self.preprocessing
        return functional.normalize(functional.to_tensor(image), cfg["mean"], cfg["std"])

    def encode_images(self, tensors: Sequence[Any]) -> np.ndarray:
        """Un-normalised float32 features of preprocessed images."""
        import torch

        with torch.inference_mode():
            batch = torch.stack(list(tensors)).to(self.device, self.dtype)
            features = self.model.encode_image(batch)
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
    """Middle part of a picture that is longer than `MAX_RATIO` times its width."""
    short = min(image.size)
    # As odd or even as the side itself, so that the middle stays where it is.
    left, top = (max(0, side - MAX_RATIO * short) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top)) if left or top else image


def clear_model_cache() -> None:
    """Forget all loaded CLIP models, and free their memory.

    Models are loaded at first use, kept for the whole process (the two most recent ones) and
    shared by all estimators. Nothing else needs to be done after this call: the next use loads
    the model again.

    Examples
    --------
    >>> from sktip import clear_model_cache
    >>> clear_model_cache()
    """
    with _lock:
        _models.clear()


def load_clip(
    model_name: str, pretrained: str | None, device: str | None, precision: str
) -> ClipModel:
    """Load a model with its weights, or fetch it from this process's cache."""
    from sktip._maths.device import resolve_device

    where = resolve_device(device)
    key = (model_name, pretrained, str(where), precision)
    # Held while loading, so that threads that want the same model load it once.
    with _lock:
        if key not in _models:
            _models[key] = _load(model_name, pretrained, where, precision)
            while len(_models) > MAX_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]


def _load(model_name: str, pretrained: str | None, device: Any, precision: str) -> ClipModel:
    import open_clip
    import torch

    source, pretrained, options = _resolve_weights(model_name, pretrained)
    on_hub = source.startswith("hf-hub:")
    try:
        # The tokenizer first, lest weights be downloaded before its library turns out to be
        # missing; but which one a hub model has is known only once it was reached.
        tokenizer = None if on_hub else open_clip.get_tokenizer(source)
        model, preprocess = open_clip.create_model_from_pretrained(
            source, pretrained=pretrained, precision=precision, device=device, **options
        )
        tokenizer = fitting_tokenizer(tokenizer or open_clip.get_tokenizer(source), model)
    except ImportError as error:
        raise ImportError(
            f'{model_name!r} needs the package transformers ({error}); run: pip install "sktip[hf]"'
        ) from error
    except Exception as error:
        if "transformers" in str(error) and "install" in str(error):
            raise ImportError(
                f'{model_name!r} needs the package transformers; run: pip install "sktip[hf]"'
            ) from error
        raise ModelLoadError(_why_not_loaded(model_name, pretrained, error)) from error
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    architecture = json.dumps({**open_clip.get_model_config(source), **options}, sort_keys=True)
    return ClipModel(model.eval(), tokenizer, preprocess, device, dtype, architecture)


def _resolve_weights(
    model_name: str, pretrained: str | None
) -> tuple[str, str | None, dict[str, bool]]:
    """Name, weights and options for open_clip, or an error that says what there is to choose."""
    import open_clip

    if model_name == TINY or model_name.startswith(("hf-hub:", "local-dir:")):
        if pretrained is not None:
            raise ValueError(
                f"model_name={model_name!r} carries its own weights; leave pretrained=None instead of "
                f"{pretrained!r}."
            )
        if model_name == TINY:
            return f"local-dir:{TINY_FOLDER}", None, {}
        if model_name.startswith("local-dir:"):
            _check_folder(model_name, Path(model_name.removeprefix("local-dir:")))
        return model_name, None, {}

    name = model_name.replace("/", "-")
    if name not in open_clip.list_models():
        raise ValueError(
            f"unknown model_name {model_name!r}.{_near(name, open_clip.list_models())} Use 'tiny', a name "
            "of open_clip.list_models(), 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        pretrained = DEFAULT_PRETRAINED.get(name)
    if pretrained is None:
        raise ValueError(
            f"pretrained=None names no weights for {model_name!r}. On offer: {', '.join(tags) or 'none'}. "
            "A path to a local checkpoint works too."
        )
    if Path(pretrained).is_file():
        return name, pretrained, {}
    if not open_clip.pretrained.is_pretrained_cfg(name, pretrained):
        raise ValueError(
            f"{model_name!r} has no weights {pretrained!r}, and there is no such file."
            f"{_near(pretrained, tags)} On offer: {', '.join(tags) or 'none'}."
        )
    return name, pretrained, _matching_activation(name, pretrained)


def _matching_activation(name: str, pretrained: str) -> dict[str, bool]:
    """Use QuickGELU for weights that were trained with it: open_clip itself would only warn.

    The opposite cannot be asked for: names that end in -quickgelu offer such weights only.
    """
    import open_clip

    weights = open_clip.pretrained.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
    model = open_clip.get_model_config(name).get("quick_gelu", False)
    return {"force_quick_gelu": True} if weights and not model else {}


def _check_folder(model_name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{model_name!r}: there is no folder {str(folder)!r}.")
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise ValueError(f"{model_name!r}: the folder has no {config.name}.")
    try:
        found = isinstance(json.loads(config.read_text(encoding="utf-8"))["model_cfg"], dict)
    except (ValueError, KeyError, TypeError):
        found = False
    if not found:
        raise ValueError(f"{model_name!r}: {config.name} is not a JSON object with a model_cfg.")
    if not any(path.suffix in (".safetensors", ".bin", ".pt", ".pth") for path in folder.iterdir()):
        raise ValueError(
            f"{model_name!r}: the folder has no weights (open_clip_model.safetensors)."
        )


def fitting_tokenizer(tokenizer: Any, model: Any) -> Any:
    """Cut CLIP's own tokenizer to the vocabulary of a model with a smaller one, as the bundled.

    Its merges are in order of frequency; a vocabulary is 512 bytes, merges, and 2 marks. They
    are read from the file that open_clip installs, so that no copy of it travels with sktip.
    """
    import open_clip

    if not isinstance(tokenizer, open_clip.SimpleTokenizer):
        return tokenizer
    vocabulary = getattr(model, "vocab_size", tokenizer.vocab_size)
    if vocabulary >= tokenizer.vocab_size:
        return tokenizer
    with gzip.open(open_clip.tokenizer.default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[: 1 + vocabulary - 514]
    merges = io.BytesIO(gzip.compress("\n".join(lines).encode()))
    return open_clip.SimpleTokenizer(bpe_path=merges, context_length=tokenizer.context_length)


def _near(name: str, known: Sequence[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    matches = [lower[match] for match in difflib.get_close_matches(name.lower(), lower, n=3)]
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def _why_not_loaded(model_name: str, pretrained: str | None, error: Exception) -> str:
    what = f"the weights of {model_name!r}" + (f" ({pretrained!r})" if pretrained else "")
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    kinds = {base.__name__ for link in chain for base in type(link).__mro__}
    offline = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "URLError"}
    offline |= {"ConnectError", "TimeoutException"}
    if kinds & offline:
        return (
            f"{what} are not on this machine and could not be downloaded: no connection to the model hub. "
            "Connect once and they stay in its cache; or use the bundled model 'tiny', which needs no "
            "network, or a folder with open_clip_config.json and weights as model_name='local-dir:FOLDER'."
        )
    return f"{what} could not be loaded: {error}"
