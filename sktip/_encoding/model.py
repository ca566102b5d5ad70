"""Load pretrained CLIP models with open_clip, once per process."""

import difflib
import gzip
import io
import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sktip._encoding import hub, trust
from sktip._encoding.clip import ClipModel
from sktip._encoding.precision import lower_precision, resolve_precision
from sktip._utils.whole_imports import import_whole
from sktip.exceptions import ModelLoadError

TINY = "tiny"
FOLDER = "local-dir:"
TINY_FOLDER = Path(__file__).parents[1] / "tiny"
DEFAULT_PRETRAINED = {"ViT-B-32": "laion2b_s34b_b79k"}
#: Number of models kept in memory; the least recently used one is dropped first.
MAX_MODELS = 2
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

_models: "OrderedDict[tuple, ClipModel]" = OrderedDict()
_lock = threading.Lock()


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


def clear_model_cache() -> None:
    """Free the memory of all loaded CLIP models.

    Models are loaded at first use and shared by all estimators of the process. The two most recently
    used models are kept. After this call, the next use loads its model again.

    Read more in the :ref:`User Guide <guide_scaling>`.

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
    """Load a model with its weights, or return it from the cache of the process."""
    import_whole("torch", "open_clip")
    from sktip._maths.device import resolve_device

    where = resolve_device(device)
    precision = resolve_precision(precision, where)
    # The cache outlives the working directory.
    if model_name.startswith(FOLDER):
        model_name = FOLDER + os.path.abspath(model_name.removeprefix(FOLDER))
    if pretrained and os.path.isfile(pretrained) and not is_tag(model_name, pretrained):
        pretrained = os.path.abspath(pretrained)
    key = (model_name, pretrained, str(where), precision)
    # Held while loading, so that several threads load the same model once.
    with _lock:
        if key not in _models:
            _models[key] = _load(model_name, pretrained, where, precision)
            while len(_models) > MAX_MODELS:
                _models.popitem(last=False)
        _models.move_to_end(key)
        return _models[key]


def _load(model_name: str, pretrained: str | None, device: Any, precision: str) -> ClipModel:
    import open_clip

    pretrained = _check_names(model_name, pretrained)
    try:
        source = _find(model_name, pretrained)
        with _no_remote_code(source):
            model, preprocess = open_clip.create_model_from_pretrained(
                source.name,
                pretrained=source.weights and str(source.weights),
                device=device,
                **source.changes,
                **source.options,
            )
        tokenizer = fitting_tokenizer(_tokenizer(source), model)
    except ModelLoadError:
        raise
    except ImportError as error:
        raise ImportError(
            f'{model_name!r} needs the package transformers ({error}). Run: pip install "sktip[hf]"'
        ) from error
    except Exception as error:
        raise ModelLoadError(_why_not_loaded(model_name, pretrained, error)) from error
    architecture = json.dumps({**source.config, **source.changes}, sort_keys=True)
    # Made in torch's default type, which the user may have changed.
    model.float().eval()
    clip = ClipModel(model, tokenizer, preprocess, device, precision, architecture)
    if precision != "fp32":
        lower_precision(model.visual, clip.dtype, source.config)
    return clip


def is_tag(model_name: str, pretrained: str) -> bool:
    """Whether open_clip has weights with this tag."""
    import_whole("torch", "open_clip")
    import open_clip

    return open_clip.pretrained.is_pretrained_cfg(model_name.replace("/", "-"), pretrained)


def _check_names(model_name: str, pretrained: str | None) -> str | None:
    """Return the name of the weights, or raise an error that lists the possible ones."""
    import open_clip

    if model_name == TINY or model_name.startswith(("hf-hub:", FOLDER)):
        if pretrained is not None:
            raise ValueError(
                f"model_name={model_name!r} has its own weights; pass pretrained=None instead of "
                f"{pretrained!r}."
            )
        if model_name.startswith(FOLDER):
            _check_folder(model_name, Path(model_name.removeprefix(FOLDER)))
        return None

    name = model_name.replace("/", "-")
    if name not in open_clip.list_models():
        raise ValueError(
            f"unknown model_name {model_name!r}.{_near(name, open_clip.list_models())} Pass 'tiny', a name in "
            "open_clip.list_models(), 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'."
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
            f"{_near(pretrained, tags)} Its tags are {', '.join(tags) or '(none)'}."
        )
    return pretrained


def _check_folder(model_name: str, folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"{model_name!r}: the folder {str(folder)!r} does not exist.")
    config = folder / trust.CONFIG
    if not config.is_file():
        raise ValueError(f"{model_name!r}: the folder has no {config.name}; add it.")
    try:
        found = isinstance(json.loads(config.read_text(encoding="utf-8"))["model_cfg"], dict)
    except (ValueError, KeyError, TypeError):
        found = False
    if not found:
        raise ValueError(
            f"{model_name!r}: {config.name} is not a JSON object with the key model_cfg."
        )
    if weights_of(folder) is None:
        raise ValueError(f"{model_name!r}: the folder has no weights; add {WEIGHTS[0]}.")


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
    if model_name.startswith("hf-hub:"):
        repository = model_name.removeprefix("hf-hub:")
        return _in_folder(hub.download(repository, trust.CONFIG).parent, repository)
    return _by_name(model_name.replace("/", "-"), str(pretrained))


def _in_folder(folder: Path, repository: str | None = None) -> Source:
    """Describe the model in a local folder, or in the folder of one revision of a hub repository."""
    path = folder / trust.CONFIG
    content = trust.read_json(path)
    trust.check_no_code(content, path)
    config = content.get("model_cfg")
    if not isinstance(config, dict):
        raise ModelLoadError(f"{path} has no key model_cfg.")
    trust.check_model(config, path)
    tokenizer, options = _companions(config, path, folder, repository)
    weights = hub.download_weights(repository, folder.name) if repository else weights_of(folder)
    if weights is not None:
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
            own = (Path(file).with_suffix(".safetensors").name, file) if file else hub.WEIGHTS
            hub.check_reachable(repository, own)
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
        own = {"hf_model_name": str(tower), "hf_model_pretrained": False}
        options["text_cfg"] = {**text, **own}
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


@contextmanager
def _no_remote_code(source: Source) -> Iterator[None]:
    """Make transformers refuse remote code while open_clip builds a text tower.

    open_clip does not set this, and transformers would ask the user at the terminal.
    """
    from open_clip import hf_model

    if "text_cfg" not in source.options:
        yield
        return
    originals = hf_model.AutoConfig, hf_model.AutoModel
    hf_model.AutoConfig, hf_model.AutoModel = map(_Distrusting, originals)
    try:
        yield
    finally:
        hf_model.AutoConfig, hf_model.AutoModel = originals


class _Distrusting:
    """A factory of transformers that never runs remote code."""

    def __init__(self, factory: Any):
        self.factory = factory

    def from_pretrained(self, *args: Any, **options: Any) -> Any:
        return self.factory.from_pretrained(*args, **{**options, "trust_remote_code": False})

    def from_config(self, *args: Any, **options: Any) -> Any:
        return self.factory.from_config(*args, **{**options, "trust_remote_code": False})


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
    offline |= {"TransportError", "Timeout"}
    if kinds & offline:
        return (
            f"{what} are not on this machine and could not be downloaded: no connection to the model hub. "
            "Connect once, and they stay in its cache. Without a network, use the bundled model 'tiny', or "
            "a folder with open_clip_config.json and weights: model_name='local-dir:FOLDER'."
        )
    return f"{what} could not be loaded: {error}"
