"""CLIP models of open_clip: finding, checking and loading them; images and prompts to features."""

import copy
import gzip
import io
import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sktip._encoding import hub, trust
from sktip._encoding.memory import PLAIN, FeatureStore, Key
from sktip._encoding.model import (
    FOLDER,
    HUB,
    ImageModel,
    check_own_weights,
    folder_of,
    load_errors,
    load_once,
    near,
)
from sktip._images.rgb import content_hash
from sktip.exceptions import ModelLoadError

TINY = "tiny"
TINY_FOLDER = Path(__file__).parents[1] / "tiny"
DEFAULT_PRETRAINED = {"ViT-B-32": "laion2b_s34b_b79k"}
#: Number of classes whose text features are kept with each model, so that a search encodes them once.
MAX_CLASSES = 16_384
#: Number of prompts that are encoded, and stored, at a time.
PROMPTS = 256
#: Names of the weights that open_clip looks for in a folder, in this order; then other names, sorted.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
#: Names of the weights in a repository of the hub.
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(eq=False)
class ClipModel(ImageModel):
    """One loaded CLIP: images and prompts in, NumPy features out."""

    tokenizer: Any
    class_features: "OrderedDict[tuple[str, ...], np.ndarray]" = field(default_factory=OrderedDict)

    library = "open_clip_torch"
    has_text = True

    @property
    def logit_scale(self) -> float:
        return float(self.model.logit_scale.detach().float().exp())

    @property
    def tower(self) -> Any:
        return self.model.visual

    @property
    def input_size(self) -> tuple[int, int]:
        size = self.tower.image_size
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def preprocessing(self) -> dict[str, Any]:
        return dict(self.tower.preprocess_cfg)

    def forward(self, batch: Any) -> Any:
        return self.model.encode_image(batch)

    def patches(self, picture: Image.Image) -> np.ndarray | None:
        # The values of the last block say what each patch shows, while its queries and keys gather what the
        # whole picture needs. So patches attend to patches with similar values, and neither the class token nor the
        # block's residual and MLP are used.
        from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

        tower = self.tower
        if not isinstance(tower, VisionTransformer) or tower.attn_pool is not None:
            return None
        block = tower.transformer.resblocks[-1]
        if type(block) is not ResidualAttentionBlock or tower.pool_type != "tok":
            return None
        import torch

        with torch.inference_mode():
            batch = self.steps.normalised(self.to_input(picture)[np.newaxis].to(self.device))
            # What enters the last block, of which a model may have one.
            tokens = tower._embeds(batch.to(self.dtype))  # noqa: SLF001  nothing public gives it
            for earlier in tower.transformer.resblocks[:-1]:
                tokens = earlier(tokens)
            attention = block.attn
            width, heads = tokens.shape[-1], attention.num_heads
            values = torch.nn.functional.linear(
                block.ln_1(tokens),
                attention.in_proj_weight[2 * width :],
                attention.in_proj_bias[2 * width :],
            )
            parts = values.unflatten(-1, (heads, -1)).transpose(1, 2)
            mixed = torch.nn.functional.scaled_dot_product_attention(parts, parts, parts)
            mixed = block.ls_1(attention.out_proj(mixed.transpose(1, 2).flatten(2)))
            features = (tower.ln_post(mixed)[0, 1:] @ tower.proj).float().cpu().numpy()
        rows, columns = tower.grid_size
        patches: np.ndarray = features.reshape(rows, columns, -1)
        return patches

    def encode_classes(
        self, prompts: Sequence[Sequence[str]], store: FeatureStore | None = None
    ) -> np.ndarray:
        features = dict(self.class_features)
        unknown = [texts for texts in dict.fromkeys(map(tuple, prompts)) if texts not in features]
        for classes in _in_batches(unknown):
            features |= self._encode_unknown(classes, store)
        result = np.stack([features[tuple(texts)] for texts in prompts])
        self.class_features = OrderedDict(list(features.items())[-MAX_CLASSES:])
        return result

    def _encode_unknown(
        self, classes: list[tuple[str, ...]], store: FeatureStore | None
    ) -> dict[tuple[str, ...], np.ndarray]:
        """Look up the features of classes in the store, and encode the others."""
        tokens = [self.tokenizer(list(texts)) for texts in classes]
        # Another tokenizer makes other tokens.
        hashes = [content_hash(rows.cpu().numpy().tobytes(), None) for rows in tokens]
        keys: list[Key] = [(one, PLAIN, 0) for one in hashes]
        found = {} if store is None else store.get(keys)
        missing = [i for i, key in enumerate(keys) if key not in found]
        if missing:
            import torch

            rows = self._encode_text(torch.cat([tokens[i] for i in missing]))
            ends = np.cumsum([len(tokens[i]) for i in missing])[:-1]
            means = [part.mean(axis=0) for part in np.split(rows, ends)]
            new = {
                keys[i]: mean / np.linalg.norm(mean) for i, mean in zip(missing, means, strict=True)
            }
            if store is not None:
                store.put(new)
            found |= new
        return {texts: found[key] for texts, key in zip(classes, keys, strict=True)}

    def _encode_text(self, tokens: Any) -> np.ndarray:
        import torch

        with torch.inference_mode():
            parts = [
                _encode_short(self.model, part.to(self.device)).float()
                for part in tokens.split(PROMPTS)
            ]
            return torch.nn.functional.normalize(torch.cat(parts), dim=-1).cpu().numpy()

    def is_cut_off(self, prompt: str) -> bool:
        if hasattr(self.tokenizer, "encode"):
            length = len(self.tokenizer.encode(prompt)) + 2
        elif hasattr(self.tokenizer, "tokenizer"):
            length = len(self.tokenizer.tokenizer(prompt)["input_ids"])
        else:
            return False
        return length > self.tokenizer.context_length


def _encode_short(model: Any, tokens: Any) -> Any:
    """Encode prompts without the empty end of their context, which is most of it.

    A causal model reads a prompt up to its end, the largest token. Other models get the whole context.
    """
    from open_clip import CLIP

    if type(model) is CLIP and model.attn_mask is not None and model.text_pool_type == "argmax":
        length = int(tokens.argmax(dim=-1).max()) + 1
        tokens = tokens[:, :length]
        # A copy with the same weights, since other threads may use the model.
        whole, model = model, copy.copy(model)
        vars(model).update(
            positional_embedding=whole.positional_embedding[:length],
            attn_mask=whole.attn_mask[:length, :length],
        )
    return model.encode_text(tokens)


def _in_batches(classes: list[tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    """Yield classes that have about `PROMPTS` prompts together."""
    batch: list[tuple[str, ...]] = []
    for texts in classes:
        batch.append(texts)
        if sum(map(len, batch)) >= PROMPTS:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(frozen=True)
class Source:
    """Local files and settings of one model, all of them checked."""

    #: A name of open_clip, with the file of the weights; or a folder that contains its weights.
    name: str
    weights: Path | None
    config: dict[str, Any]
    #: Folder of a transformers tokenizer.
    tokenizer: Path | None
    #: Arguments of open_clip that change the architecture.
    changes: dict[str, bool] = field(default_factory=dict)
    #: Other arguments of open_clip.
    options: dict[str, Any] = field(default_factory=dict)


def load_clip(
    model_name: str, pretrained: str | None, device: str | None, precision: str
) -> ClipModel:
    """Load a model with its weights, or return it from the cache of the process."""
    return load_once("open_clip", _load, model_name, pretrained, device=device, precision=precision)


def _load(model_name: str, pretrained: str | None, device: Any, precision: str) -> ClipModel:
    import open_clip

    pretrained = _check_names(model_name, pretrained)
    instead = "the bundled model 'tiny', or a folder with open_clip_config.json and weights: "
    with load_errors(model_name, pretrained, f"{instead}model_name='local-dir:FOLDER'"):
        try:
            source = _find(model_name, pretrained)
            model, preprocess = open_clip.create_model_from_pretrained(
                source.name,
                pretrained=source.weights and str(source.weights),
                device=device,
                **source.changes,
                **source.options,
            )
            tokenizer = fitting_tokenizer(_tokenizer(source), model)
        except ImportError as error:
            raise ImportError(
                f'{model_name!r} needs the package transformers ({error}). Run: pip install "sktip[hf]"'
            ) from error
    architecture = json.dumps({**source.config, **source.changes}, sort_keys=True)
    # Made in torch's default type, which the user may have changed.
    model.float().eval()
    clip = ClipModel(model, preprocess, device, precision, architecture, tokenizer)
    if precision != "fp32":
        _lower_precision(clip, source.config)
    return clip


def _lower_precision(clip: ClipModel, config: dict[str, Any]) -> None:
    """Convert the image model to 16 bits, as open_clip does; the text model stays in fp32.

    Class names are few and encoded once, and a rounding error in them would affect every image.
    """
    from open_clip.model import convert_weights_to_lp
    from open_clip.transformer import LayerNorm, LayerNormFp32

    if "timm_model_name" in config.get("vision_cfg", {}):
        clip.tower.to(clip.dtype)
        return
    for module in clip.tower.modules():
        # The same parameters, computed in 32 bits. open_clip chooses the class by the precision.
        if type(module) is LayerNorm:
            module.__class__ = LayerNormFp32
    convert_weights_to_lp(clip.tower, clip.dtype)


def is_tag(model_name: str, pretrained: str) -> bool:
    """Whether open_clip has weights with this tag."""
    import open_clip

    return open_clip.pretrained.is_pretrained_cfg(model_name.replace("/", "-"), pretrained)


def _near(model_name: str, known: list[str]) -> str:
    """Sentence that suggests similar names, also for OpenAI's names in transformers."""
    found = re.fullmatch(r"openai/clip-vit-(base|large)-patch(\d+)(-336)?", model_name)
    if found is None:
        return near(model_name.replace("/", "-"), known)
    name = f"ViT-{found[1][0].upper()}-{found[2]}{found[3] or ''}"
    return f" These weights are model_name={name!r}, pretrained='openai'."


def _check_names(model_name: str, pretrained: str | None) -> str | None:
    """Return the name of the weights, or raise an error that lists the possible ones."""
    import open_clip

    if model_name == TINY or model_name.startswith((HUB, FOLDER)):
        check_own_weights(model_name, pretrained)
        if model_name.startswith(FOLDER):
            folder_of(model_name, trust.CONFIG)
        return None
    name = model_name.replace("/", "-")
    if name not in open_clip.list_models():
        raise ValueError(
            f"unknown model_name {model_name!r}.{_near(model_name, open_clip.list_models())} Pass 'tiny', a name in "
            "open_clip.list_models(), 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'. Image models without text are "
            "those of TimmFeatureTransformer."
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        pretrained = DEFAULT_PRETRAINED.get(name)
    if pretrained is None:
        raise ValueError(
            f"pretrained=None is not enough for {model_name!r}. Pass one of its tags, "
            f"{', '.join(tags) or '(none)'}, or the path of a local checkpoint."
        )
    if not is_tag(name, pretrained) and not Path(pretrained).is_file():
        raise ValueError(
            f"{model_name!r} has no weights {pretrained!r}, and there is no such file."
            f"{near(pretrained, tags)} Its tags are {', '.join(tags) or '(none)'}."
        )
    return pretrained


def weights_of(folder: Path) -> Path | None:
    """File in a folder from which open_clip loads the weights."""
    order = {name: place for place, name in enumerate(WEIGHTS)}
    return min(
        (path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pth")),
        key=lambda path: (order.get(path.name, len(order)), path.suffix != ".safetensors", path),
        default=None,
    )


def _find(model_name: str, pretrained: str | None) -> Source:
    """Find and check all files of a model. Weights are downloaded last."""
    if model_name == TINY:
        return _in_folder(TINY_FOLDER)
    if model_name.startswith(FOLDER):
        return _in_folder(Path(model_name.removeprefix(FOLDER)))
    if model_name.startswith(HUB):
        repository = model_name.removeprefix(HUB)
        return _in_folder(hub.download(repository, trust.CONFIG).parent, repository)
    return _by_name(model_name.replace("/", "-"), str(pretrained))


def _in_folder(folder: Path, repository: str | None = None) -> Source:
    """Describe the model in a local folder, or in the folder of one revision of a hub repository."""
    path = folder / trust.CONFIG
    content = trust.read_json(path)
    trust.check_no_code(content, path)
    config = content.get("model_cfg")
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path} is not a JSON object with the key model_cfg.")
    trust.check_model(config, path)
    tokenizer, options = _companions(config, path, folder, repository)
    weights = weights_of(folder)
    if repository:
        weights = hub.download_first(repository, HUB_WEIGHTS, folder.name)
    if weights is None:
        raise ModelLoadError(f"the folder {str(folder)!r} has no weights; add {WEIGHTS[0]}.")
    trust.check_weights(weights)
    return Source(f"{FOLDER}{folder}", None, config, tokenizer, options=options)


def _by_name(name: str, pretrained: str) -> Source:
    """Describe a model from open_clip's list, which may include models added by the user's program."""
    import open_clip

    config = open_clip.get_model_config(name)
    where = f"the configuration of {name!r}"
    trust.check_model(config, where)
    tokenizer, options = _companions(config, where, None, None)
    changes = {}
    weights = Path(pretrained)
    if is_tag(name, pretrained):
        tag = open_clip.pretrained.get_pretrained_cfg(name, pretrained)
        repository, _, file = tag.get("hf_hub", "").rpartition("/")
        if repository:
            # Without a file name, open_clip uses its default names.
            names = (Path(file).with_suffix(".safetensors").name, file) if file else HUB_WEIGHTS
            hub.check_reachable(repository, names)
        weights = Path(open_clip.download_pretrained(tag))
        for key in ("mean", "std", "interpolation", "resize_mode"):
            options[f"image_{key}"] = tag.get(key)
        # For weights that were trained with QuickGELU; open_clip itself would only warn. The opposite case
        # does not occur: names that end in -quickgelu have such weights only.
        if tag.get("quick_gelu", False) and not config.get("quick_gelu", False):
            changes["force_quick_gelu"] = True
    trust.check_weights(weights)
    # An absolute path cannot be confused with a tag.
    return Source(name, weights.absolute(), config, tokenizer, changes, options)


def _companions(
    config: dict[str, Any], where: str | Path, folder: Path | None, repository: str | None
) -> tuple[Path | None, dict[str, Any]]:
    """Folder of a model's transformers tokenizer, and the options of its text tower.

    Both are passed to transformers as folders, so that it only reads checked files, not a later revision
    or a local folder of the same name.
    """
    text = config.get("text_cfg", {})
    named = {key: text.get(key) for key in ("hf_tokenizer_name", "hf_model_name")}
    if not any(named.values()):
        return None, {}

    def located(key: str, files: tuple[str, ...]) -> Path:
        name, local = str(named[key]), repository is None
        if local and (Path(name).is_absolute() or folder is not None):
            path = Path(name) if folder is None else folder / name
            if path.is_dir():
                return path
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
            raise ModelLoadError(
                f"{where}: 'text_cfg.{key}' is {name!r}, which is neither a repository of the model hub nor, for "
                "a local model, a folder on this machine."
            )
        revision = folder.name if folder is not None and name == repository else None
        return hub.download_descriptions(name, files, revision)

    tokenizer, options = None, {}
    if named["hf_tokenizer_name"]:
        # As in open_clip, the tokenizer of a local model is in its folder, whatever its name.
        if folder is not None and repository is None:
            tokenizer = folder
        else:
            tokenizer = located("hf_tokenizer_name", hub.VOCABULARIES)
        trust.check_transformers(tokenizer)
    if named["hf_model_name"]:
        tower = located("hf_model_name", ("config.json",))
        trust.check_transformers(tower, as_model=True)
        # Its weights are part of the CLIP weights. Otherwise open_clip would download others first.
        changes = {"hf_model_name": str(tower), "hf_model_pretrained": False}
        options["text_cfg"] = {**text, **changes}
    # Imported now, so that a missing package is noticed before weights are downloaded.
    import transformers  # noqa: F401

    return tokenizer, options


def _tokenizer(source: Source) -> Any:
    import open_clip

    if source.tokenizer is None:
        return open_clip.get_tokenizer(source.name)
    text = source.config["text_cfg"]
    return open_clip.tokenizer.HFTokenizer(
        str(source.tokenizer),
        context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        trust_remote_code=False,
        **(text.get("tokenizer_kwargs") or {}),
    )


def fitting_tokenizer(tokenizer: Any, model: Any) -> Any:
    """Reduce CLIP's tokenizer to the smaller vocabulary of a model, such as the bundled one.

    A vocabulary is 512 bytes, merges in the order of frequency, and 2 special tokens. The merges are
    read from the file that open_clip installs, so sktip needs no copy of it.
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
