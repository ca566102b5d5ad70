"""Models with a tokenizer and a text tower of transformers."""

import json
import shutil

import pytest
from model_files import edit

from sktip import clear_model_cache


@pytest.fixture
def with_tokenizer(folder):
    """The model in a folder that also has a transformers tokenizer."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"a photo of cat dog".split()]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    edit(
        folder / "open_clip_config.json",
        lambda config: config["model_cfg"]["text_cfg"].update(hf_tokenizer_name="org/tokenizer"),
    )
    return folder


@pytest.fixture
def with_tower(with_tokenizer):
    """The same with a text tower of transformers as well, in the folder ``tower``."""
    import open_clip
    import torch

    folder = with_tokenizer
    tower = {
        "model_type": "bert", "vocab_size": 9, "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 1, "intermediate_size": 16, "max_position_embeddings": 12,
        "pad_token_id": 0,
    }  # fmt: skip
    (folder / "tower").mkdir()
    (folder / "tower" / "config.json").write_text(json.dumps(tower))
    config = json.loads((folder / "open_clip_config.json").read_text())
    text = {
        "hf_model_name": str(folder / "tower"), "hf_tokenizer_name": "org/tokenizer",
        "hf_proj_type": "linear", "hf_pooler_type": "cls_pooler", "context_length": 12,
    }  # fmt: skip
    config["model_cfg"] |= {"custom_text": True, "text_cfg": text}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(
        16, config["model_cfg"]["vision_cfg"], {**text, "hf_model_pretrained": False}
    )
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    config["model_cfg"]["text_cfg"]["hf_model_name"] = "tower"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """An empty cache of the model hub, and the means to put a folder into it as a repository."""
    cache = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    # Repositories with the same name in two tests are different models.
    clear_model_cache()

    def put(repository, folder):
        revision = "0123456789abcdef0123456789abcdef01234567"
        home = cache / f"models--{repository.replace('/', '--')}"
        shutil.copytree(folder, home / "snapshots" / revision)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text(revision)
        return home / "snapshots" / revision

    return put
