"""Check the files of a model, which must contain data only and no code.

open_clip passes parts of its configuration to timm and transformers, and transformers looks for its own
files in the same folder. Only settings in the lists below are passed on. All others are refused before
anything is loaded.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from sktip.exceptions import ModelLoadError

CONFIG = "open_clip_config.json"

MODEL_KEYS = set(
    "embed_dim vision_cfg text_cfg multimodal_cfg quick_gelu custom_text init_logit_scale "
    "init_logit_bias nonscalar_logit_scale output_dict pad_id".split()
)
TOWERS = ("vision_cfg", "text_cfg", "multimodal_cfg")
#: Arguments that are passed on by name. Two arguments of tokenizers are missing: `reduction_mask` can
#: download pickles of nltk, and `bpe_path` can be any file.
PASSED_ON = {
    "act_kwargs": {"approximate"},
    "norm_kwargs": {"eps", "elementwise_affine", "bias"},
    "tokenizer_kwargs": set(
        "clean strip_sep_token language additional_special_tokens padding_side truncation_side "
        "add_bos_token add_eos_token add_prefix_space do_lower_case legacy model_max_length "
        "use_fast bos_token eos_token pad_token unk_token sep_token cls_token mask_token".split()
    ),
}
#: Settings of timm's weights that are used: of the preprocessing, and of the first and the last layer.
TIMM_KEYS = set(
    "input_size fixed_input_size interpolation crop_pct crop_mode mean std num_classes pool_size "
    "first_conv classifier global_pool".split()
)
#: Arguments of timm that are no settings of an architecture, besides those that begin with "pretrained".
TIMM_RESERVED = {
    "checkpoint_path",
    "cache_dir",
    "scriptable",
    "exportable",
    "no_jit",
    "features_only",
}
#: Keys by which a transformers file requests code, from its own or another repository, or another file.
CODE_KEYS = set(
    "auto_map trust_remote_code code_revision custom_pipelines custom_generate configuration_files "
    "use_kernels kernel_config".split()
)
#: Attention implementations of transformers; others are code from the hub.
BUILT_IN = (None, "eager", "sdpa")
#: Text towers that open_clip can build.
TEXT_MODELS = {"bert", "m2m_100", "mt5", "roberta", "xlm-roberta"}
#: Models whose folder may contain a tokenizer. Others, such as "rag", read further folders.
TOKENIZER_MODELS = TEXT_MODELS | set(
    "albert altclip bart bloom camembert chinese_clip clip clip_text_model deberta deberta-v2 "
    "distilbert electra gemma gemma2 gpt2 llama mbart metaclip_2 modernbert mpnet nllb-moe nomic_bert "
    "qwen2 siglip siglip2 siglip_text_model siglip2_text_model t5 umt5 xlm-roberta-xl xmod".split()
)
#: Tokenizers that only read a vocabulary, with or without the suffix "Fast".
TOKENIZERS = set(
    "AlbertTokenizer BartTokenizer BertTokenizer BloomTokenizer CamembertTokenizer CLIPTokenizer "
    "DebertaTokenizer DebertaV2Tokenizer DistilBertTokenizer ElectraTokenizer GemmaTokenizer "
    "GPT2Tokenizer LlamaTokenizer M2M100Tokenizer MBartTokenizer MBart50Tokenizer MPNetTokenizer "
    "MT5Tokenizer NllbTokenizer PreTrainedTokenizer Qwen2Tokenizer RobertaTokenizer Siglip2Tokenizer "
    "SiglipTokenizer T5Tokenizer TokenizersBackend XLMRobertaTokenizer".split()
)
#: Files whose keys are checked. Other files are vocabularies, where any word may be a key.
CONFIGURATIONS = re.compile(r".*config.*\.json|special_tokens_map\.json", re.IGNORECASE)


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} could not be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{path} is not a JSON object.")
    return content


def check_model(config: dict[str, Any], where: str | Path) -> None:
    """Check the `model_cfg` of open_clip: only known keys, with numbers and simple names."""
    check_no_code(config, where)
    for key, value in config.items():
        if key not in MODEL_KEYS:
            raise _refusal(where, key, _UNKNOWN)
        if key not in TOWERS:
            _check_plain(value, where, key)
        elif isinstance(value, dict):
            _check_tower(value, where, key)
        else:
            raise _refusal(where, key, "is not a JSON object")


def _check_tower(tower: dict[str, Any], where: str | Path, prefix: str) -> None:
    from open_clip.coca_model import MultimodalCfg
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    known = {
        field.name for cls in (CLIPVisionCfg, CLIPTextCfg, MultimodalCfg) for field in fields(cls)
    }
    for name, value in tower.items():
        key = f"{prefix}.{name}"
        if name not in known:
            raise _refusal(where, key, _UNKNOWN)
        if name in PASSED_ON and isinstance(value, dict):
            for argument, setting in value.items():
                if argument not in PASSED_ON[name]:
                    raise _refusal(where, f"{key}.{argument}", _UNKNOWN)
                if isinstance(setting, dict):
                    raise _refusal(
                        where, f"{key}.{argument}", "is a JSON object, not a simple value"
                    )
        elif name in ("hf_model_name", "hf_tokenizer_name"):
            if not isinstance(value, str | None):
                raise _refusal(where, key, "is not a name")
        else:
            _check_plain(value, where, key)


def _check_plain(value: Any, where: str | Path, key: str) -> None:
    """Refuse values other than numbers, simple names and lists of them."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict | list):
            raise _refusal(where, key, "is not a simple value")
        # A path, or the name of a hub repository, would load unchecked files.
        if isinstance(item, str) and not re.fullmatch(r"[\w.-]*", item):
            raise _refusal(where, key, f"is {item!r}, not a simple name")


def check_transformers(folder: Path, *, as_model: bool = False) -> None:
    """Check all files that transformers reads for a tokenizer or a text model."""
    for path in sorted(folder.iterdir()):
        if not CONFIGURATIONS.fullmatch(path.name):
            continue
        config = read_json(path)
        check_no_code(config, path)
        if path.name.lower() == "config.json":
            known = TEXT_MODELS if as_model else TOKENIZER_MODELS
            kind = config.get("model_type")
            if kind not in known and (as_model or kind is not None):
                raise _refusal(path, "model_type", f"is {kind!r}, not one of {sorted(known)}")
        name = config.get("tokenizer_class")
        if name is not None and not (
            isinstance(name, str) and name.removesuffix("Fast") in TOKENIZERS
        ):
            raise _refusal(path, "tokenizer_class", f"is {name!r}, not one of {sorted(TOKENIZERS)}")


def read_timm(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read the ``config.json`` of timm: architecture, settings of the weights, and further arguments."""
    content = read_json(path)
    check_no_code(content, path)
    of_weights = content.get("pretrained_cfg", content)
    name, arguments = content.get("architecture"), content.get("model_args") or {}
    if (
        not isinstance(name, str)
        or not isinstance(of_weights, dict)
        or not isinstance(arguments, dict)
    ):
        raise ModelLoadError(f"{path} is not a JSON object with the key architecture.")
    # Its other keys, such as addresses of weights, are not used.
    config = {key: value for key, value in {**of_weights, **content}.items() if key in TIMM_KEYS}
    for key, value in {**config, **arguments}.items():
        _check_plain(value, path, key)
    for key in arguments:
        if key in TIMM_RESERVED or key.startswith("pretrained"):
            raise _refusal(path, f"model_args.{key}", _UNKNOWN)
    return name, config, arguments


def check_no_code(config: Any, where: str | Path) -> None:
    """Refuse keys that request code, at any depth."""
    for key, name, value in _entries(config):
        if name in CODE_KEYS or "remote_code" in name:
            raise _refusal(where, key, "requests to run code")
        if name.endswith(("attn_implementation", "experts_implementation")) and not (
            value is None or (isinstance(value, str) and value in BUILT_IN)
        ):
            raise _refusal(where, key, f"is {value!r}, which may be code from the hub")


def _entries(content: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield the path, the name and the value of every key."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield f"{prefix}{name}", name, value
            yield from _entries(value, f"{prefix}{name}.")
    elif isinstance(content, list):
        for value in content:
            yield from _entries(value, prefix)


def check_weights(path: Path) -> None:
    """Refuse a checkpoint that contains more than tensors, before anything else opens it.

    open_clip loads with ``weights_only=True`` too, but retries without it after a TypeError, which a
    checkpoint can cause. Before version 2.6, torch would then run code in the checkpoint.
    """
    # By the same names as open_clip, which reads a file with any other suffix by `torch.load`.
    if path.suffix in (".safetensors", ".npz", ".npy"):
        return
    import zipfile

    import torch

    try:
        # For the usual format, this reads no tensors, and takes milliseconds.
        torch.load(path, "meta", weights_only=True, mmap=zipfile.is_zipfile(path))  # noqa: TID251
    except Exception as error:
        raise ModelLoadError(
            f"the weights {str(path)!r} could not be loaded: they are damaged, or contain more than tensors "
            f"(torch.load with weights_only=True: {error})"
        ) from error


_UNKNOWN = "is not a setting that this version of sktip supports"


def _refusal(where: str | Path, key: str, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{where}: {key!r} {reason}. Code from models is never run, so only known settings are accepted; "
        "nothing was loaded."
    )
