"""Image models of timm: finding, checking and loading them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sktip._encoding import hub, trust
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
from sktip.exceptions import ModelLoadError

CONFIG = "config.json"
#: Names of the weights in a folder or repository, in the order of timm.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(eq=False)
class TimmModel(ImageModel):
    """One loaded model of timm, without the classes that it was trained for."""

    #: Size, mean, standard deviation and other settings of the preprocessing, by timm's names.
    data_config: dict[str, Any]

    library = "timm"

    @property
    def input_size(self) -> tuple[int, int]:
        _, height, width = self.data_config["input_size"]
        return height, width

    @property
    def preprocessing(self) -> dict[str, Any]:
        settings = {name: value for name, value in self.data_config.items() if name != "input_size"}
        return {"size": self.input_size, **settings}

    def forward(self, batch: Any) -> Any:
        return self.model(batch)


def load_timm(
    model_name: str, pretrained: str | None, device: str | None, precision: str
) -> TimmModel:
    """Load a model with its weights, or return it from the cache of the process."""
    return load_once("timm", _load, model_name, pretrained, device=device, precision=precision)


def _load(model_name: str, pretrained: str | None, device: Any, precision: str) -> TimmModel:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    named, file = _check_names(model_name, pretrained)
    instead = f"a folder with {CONFIG} and weights: model_name='local-dir:FOLDER'"
    with load_errors(model_name, pretrained, instead):
        name, config, arguments, weights = _find(named, file)
        trust.check_weights(weights)
        # With the classes of the weights, so that all weights must be in the file.
        source = {"file": str(weights), "custom_load": weights.suffix == ".npz"}
        where: dict[str, Any] = {"pretrained_cfg_overlay": source}
        if config is not None:
            where = {"pretrained_cfg": {**config, **source, "architecture": name}}
        model: Any = timm.create_model(name, pretrained=True, **where, **arguments)
        model.reset_classifier(0)
    data_config = resolve_model_data_config(model)
    preprocess = create_transform(**data_config, is_training=False)
    architecture = json.dumps({"timm": name.partition(".")[0], **arguments}, sort_keys=True)
    # Made in torch's default type, which the user may have changed.
    model.float().eval().to(device)
    loaded = TimmModel(model, preprocess, device, precision, architecture, data_config)
    model.to(loaded.dtype)
    return loaded


def _check_names(model_name: str, pretrained: str | None) -> tuple[str, Path | None]:
    """Return the name with the tag of its weights, and a checkpoint to use instead of them."""
    import timm

    if model_name.startswith((HUB, FOLDER)):
        check_own_weights(model_name, pretrained)
        if model_name.startswith(FOLDER):
            folder_of(model_name, CONFIG)
        return model_name, None
    name, _, tag = model_name.partition(".")
    if not timm.models.is_model(name):
        raise ValueError(
            f"unknown model_name {model_name!r}.{near(model_name, timm.list_models(pretrained=True))} Pass a name "
            "in timm.list_models(pretrained=True), 'hf-hub:ORG/REPO' or 'local-dir:FOLDER'."
        )
    if pretrained is not None and Path(pretrained).is_file():
        return model_name, Path(pretrained).absolute()
    tags = [one.partition(".")[2] for one in timm.list_models(f"{name}.*", pretrained=True)]
    if tag and pretrained is not None:
        check_own_weights(model_name, pretrained)
    default: Any = timm.models.get_pretrained_cfg(name)
    tag = tag or pretrained or getattr(default, "tag", None) or ""
    if tag not in tags:
        raise ValueError(
            f"{name!r} has no weights {tag or pretrained!r}, and there is no such file.{near(tag, tags)} Its tags "
            f"are {', '.join(tags) or '(none)'}; or pass the path of a local checkpoint."
        )
    return f"{name}.{tag}", None


def _find(
    model_name: str, file: Path | None
) -> tuple[str, dict[str, Any] | None, dict[str, Any], Path]:
    """Find all files of a model: its name, configuration, further arguments, and the weights."""
    import timm

    if model_name.startswith((HUB, FOLDER)):
        repository = model_name.removeprefix(HUB) if model_name.startswith(HUB) else None
        folder = Path(model_name.removeprefix(FOLDER))
        if repository is not None:
            folder = hub.download(repository, CONFIG).parent
        path = folder / CONFIG
        name, config, arguments = trust.read_timm(path)
        if not timm.models.is_model(name):
            raise ModelLoadError(f"{path}: 'architecture' is {name!r}, which timm does not have.")
        if repository is not None:
            return name, config, arguments, hub.download_first(repository, WEIGHTS, folder.name)
        found = [folder / weights for weights in WEIGHTS if (folder / weights).is_file()]
        if not found:
            raise ModelLoadError(f"the folder {str(folder)!r} has no weights; add {WEIGHTS[0]}.")
        return name, config, arguments, found[0]
    if file is not None:
        return model_name, None, {}, file
    tag: Any = timm.models.get_pretrained_cfg(model_name)
    if not tag.hf_hub_id:
        raise ModelLoadError(
            f"the weights of {model_name!r} are not on the model hub. Download {tag.url}, and pass its path as "
            "pretrained."
        )
    repository, _, revision = tag.hf_hub_id.partition("@")
    names = (tag.hf_hub_filename,) if tag.hf_hub_filename else WEIGHTS
    hub.check_reachable(repository, names, revision or None)
    return model_name, None, {}, hub.download_first(repository, names, revision or None)
