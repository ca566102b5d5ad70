"""What the files of a model may say: data, and never anything that runs.

open_clip hands parts of its configuration on to timm and to transformers, and transformers looks
for files of its own beside it. What is on the lists here is passed on; all else is refused before
anything is loaded.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sktip.exceptions import ModelLoadError

CONFIG = "open_clip_config.json"

MODEL_KEYS = set(
    "embed_dim vision_cfg text_cfg multimodal_cfg quick_gelu custom_text init_logit_scale "
    "init_logit_bias nonscalar_logit_scale output_dict pad_id".split()
)
TOWERS = ("vision_cfg", "text_cfg", "multimodal_cfg")
TOWER_KEYS = set(
    # Of every transformer.
    "layers width heads head_width mlp_ratio ls_init_value pool_type output_tokens act_kwargs "
    "norm_kwargs block_type qk_norm scaled_cosine_attn scale_heads scale_attn_inner scale_attn "
    "scale_fc final_ln_after_pool "
    # Of images.
    "patch_size image_size patch_dropout attentional_pool attn_pooler_queries attn_pooler_heads "
    "no_ln_pre pos_embed_type timm_model_name timm_model_pretrained timm_pool timm_proj "
    "timm_proj_bias timm_drop timm_drop_path "
    # Of text.
    "context_length vocab_size hf_tokenizer_name tokenizer_mode tokenizer_kwargs embed_cls pad_id "
    "eos_id no_causal_mask proj_bias proj_type hf_model_name hf_model_pretrained hf_proj_type "
    "hf_pooler_type dim_head n_queries".split()
)
#: Arguments that are handed on by their names. `reduction_mask` is not among those of a tokenizer:
#: one of its values fetches pickles of nltk; nor is `bpe_path`, a file anywhere.
PASSED_ON = {
    "act_kwargs": {"approximate"},
    "norm_kwargs": {"eps", "elementwise_affine", "bias"},
    "tokenizer_kwargs": set(
        "clean strip_sep_token language additional_special_tokens padding_side truncation_side "
        "add_bos_token add_eos_token add_prefix_space do_lower_case legacy model_max_length "
        "use_fast bos_token eos_token pad_token unk_token sep_token cls_token mask_token".split()
    ),
}
#: Keys by which a file of transformers asks for code, of its own or of another repository, or
#: for another file in its place.
CODE_KEYS = set(
    "auto_map trust_remote_code code_revision custom_pipelines custom_generate configuration_files "
    "use_kernels kernel_config".split()
)
#: Ways to compute attention that transformers itself has; it takes others from the hub, as code.
BUILT_IN = (None, "eager", "sdpa")
#: Text towers that open_clip can build.
TEXT_MODELS = {"bert", "m2m_100", "mt5", "roberta", "xlm-roberta"}
#: Models beside whose configuration a tokenizer may lie. Others, as "rag", look into further folders.
TOKENIZER_MODELS = TEXT_MODELS | set(
    "albert altclip bart bloom camembert chinese_clip clip clip_text_model deberta deberta-v2 "
    "distilbert electra gemma gemma2 gpt2 llama mbart metaclip_2 modernbert mpnet nllb-moe nomic_bert "
    "qwen2 siglip siglip2 siglip_text_model siglip2_text_model t5 umt5 xlm-roberta-xl xmod".split()
)
#: Tokenizers, with or without "Fast" at the end, that read a vocabulary and nothing else.
TOKENIZERS = set(
    "AlbertTokenizer BartTokenizer BertTokenizer BloomTokenizer CamembertTokenizer CLIPTokenizer "
    "DebertaTokenizer DebertaV2Tokenizer DistilBertTokenizer ElectraTokenizer GemmaTokenizer "
    "GPT2Tokenizer LlamaTokenizer M2M100Tokenizer MBartTokenizer MBart50Tokenizer MPNetTokenizer "
    "MT5Tokenizer NllbTokenizer PreTrainedTokenizer Qwen2Tokenizer RobertaTokenizer Siglip2Tokenizer "
    "SiglipTokenizer T5Tokenizer TokenizersBackend XLMRobertaTokenizer".split()
)
#: Files that are parsed for keys; the others hold vocabularies, where any word may be a key.
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
    """Check the `model_cfg` of open_clip: known keys, with numbers and plain words."""
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
    for name, value in tower.items():
        key = f"{prefix}.{name}"
        if name not in TOWER_KEYS:
            raise _refusal(where, key, _UNKNOWN)
        if name in PASSED_ON and isinstance(value, dict):
            for argument, own in value.items():
                if argument not in PASSED_ON[name]:
                    raise _refusal(where, f"{key}.{argument}", _UNKNOWN)
                if isinstance(own, dict):
                    raise _refusal(where, f"{key}.{argument}", "is an object and not a plain value")
        elif name in ("hf_model_name", "hf_tokenizer_name"):
            if not isinstance(value, str | None):
                raise _refusal(where, key, "is not a name")
        else:
            _check_plain(value, where, key)


def _check_plain(value: Any, where: str | Path, key: str) -> None:
    """Refuse what is neither a number, a word, nor a list of them."""
    for own in value if isinstance(value, list) else [value]:
        if isinstance(own, dict | list):
            raise _refusal(where, key, "is not a plain value")
        # A path, or the name of a hub repository, brings files that nobody has checked.
        if isinstance(own, str) and not re.fullmatch(r"[\w.-]*", own):
            raise _refusal(where, key, f"is {own!r}, where a plain name belongs")


def check_transformers(folder: Path, *, as_model: bool = False) -> None:
    """Check all that transformers reads of a tokenizer, or of a text model, before it does."""
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


def check_no_code(config: Any, where: str | Path) -> None:
    """Refuse a key that asks for code, however deep."""
    for key, name, value in _entries(config):
        if name in CODE_KEYS or "remote_code" in name:
            raise _refusal(where, key, "asks for code to be run")
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
    """Refuse a checkpoint that holds more than tensors, before anything else opens it.

    open_clip too loads with ``weights_only=True``, but tries again without it after a TypeError, which a
    checkpoint can bring about; before version 2.6, torch then runs what is in it.
    """
    if path.suffix.lower() in (".safetensors", ".npz", ".npy"):
        return
    import zipfile

    import torch

    try:
        # Of the usual format no tensor is read so: this takes milliseconds.
        torch.load(path, "meta", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        raise ModelLoadError(
            f"the weights {str(path)!r} could not be loaded: they are damaged, or hold more than tensors "
            f"(torch.load with weights_only=True: {error})"
        ) from error


_UNKNOWN = "is no key that this version of sktip passes on"


def _refusal(where: str | Path, key: str, reason: str) -> ModelLoadError:
    return ModelLoadError(
        f"{where}: {key!r} {reason}. Nothing that a model brings is run, so only known settings are "
        "accepted; nothing was loaded."
    )
