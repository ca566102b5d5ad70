"""Load CLIP models: which are accepted, which are refused, and that each is loaded once."""

import dataclasses
import json
import shutil
import socket
import sys
import threading
import time
import warnings

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from sktip import CLIPFeatureTransformer, clear_model_cache
from sktip._encoding import clip as clip_module
from sktip._encoding import hub, model, session, trust
from sktip._encoding.session import open_encoder
from sktip.exceptions import ModelLoadError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)


@pytest.fixture
def counted(monkeypatch):
    """Count what open_clip is asked to load; nothing is downloaded or loaded."""
    calls = []

    def download(tag):
        return tag["hf_hub" if "hf_hub" in tag else "url"].strip("/") + "/weights.safetensors"

    def create(name, **options):
        calls.append((name, options))
        raise RuntimeError("stop here")

    monkeypatch.setattr(open_clip, "download_pretrained", download)
    monkeypatch.setattr(open_clip, "create_model_from_pretrained", create)
    return calls


def load(model_name, pretrained=None):
    return CLIPFeatureTransformer(model_name, pretrained, device="cpu").transform(IMAGES)


def test_local_folder(folder):
    encoder = CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu")
    assert encoder.transform(IMAGES).shape == (2, 16)
    assert encoder.encode_text(["cat", "dog"]).shape == (2, 16)
    assert open_encoder(encoder).blocks[0].model.logit_scale == pytest.approx(1 / 0.07)
    assert open_encoder(encoder).blocks[0].model.input_size == (32, 32)


def test_copy_of_the_bundled_model_is_the_bundled_model(clip, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(clip_module.TINY_FOLDER, copy)
    np.testing.assert_array_equal(load(f"local-dir:{copy}"), clip.transform(IMAGES))


def test_local_checkpoint_of_a_named_model(folder, tmp_path):
    configs = tmp_path / "configs"
    configs.mkdir()
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (configs / "Small-ViT.json").write_text(json.dumps(config))
    open_clip.add_model_config(configs)
    features = load("Small-ViT", str(folder / "open_clip_pytorch_model.bin"))
    assert features.shape == (2, 16)
    wrong = folder / "wrong.pt"
    torch.save({"a": torch.zeros(1)}, wrong)
    with pytest.raises(ModelLoadError, match=r"weights of 'Small-ViT' .*wrong\.pt.* could not be"):
        load("Small-ViT", str(wrong))


def test_loaded_once_by_many_threads_and_estimators(monkeypatch):
    clear_model_cache()
    loads = []
    original = clip_module._load

    def counting(*args):
        loads.append(args)
        return original(*args)

    monkeypatch.setattr(clip_module, "_load", counting)
    threads = [threading.Thread(target=load, args=("tiny",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    clear_model_cache()
    load("tiny")
    assert len(loads) == 2


def test_a_relative_path_is_another_model_in_another_folder(folder, tmp_path, monkeypatch):
    shutil.copytree(clip_module.TINY_FOLDER, tmp_path / "here" / "mod")
    shutil.copytree(
        folder, tmp_path / "there" / "mod", ignore=shutil.ignore_patterns("here", "there")
    )
    encoder = CLIPFeatureTransformer("local-dir:mod", device="cpu")
    for place, width in (("here", 128), ("there", 16), ("here", 128)):
        monkeypatch.chdir(tmp_path / place)
        assert encoder.transform(IMAGES).shape == (2, width)


def test_a_relative_path_of_weights(folder, tmp_path, monkeypatch):
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Small", config)
    shutil.copy(folder / "open_clip_pytorch_model.bin", tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    found = CLIPFeatureTransformer("Small", "weights.pt", device="cpu").transform(IMAGES)
    clear_model_cache()
    absolute = CLIPFeatureTransformer("Small", str(tmp_path / "weights.pt"), device="cpu")
    np.testing.assert_array_equal(found, absolute.transform(IMAGES))


def test_cache_is_bounded(folder):
    for copy in range(model.MAX_MODELS + 1):
        shutil.copytree(folder, folder / str(copy), ignore=shutil.ignore_patterns("[0-9]"))
        load(f"local-dir:{folder / str(copy)}")
    assert len(model._models) == model.MAX_MODELS
    assert next(reversed(model._models))[1].endswith(str(model.MAX_MODELS))


def test_a_class_is_encoded_once(clip, monkeypatch):
    clear_model_cache()
    loaded = open_encoder(clip).blocks[0].model
    encoded = []
    original = clip_module.ClipModel._encode_text
    monkeypatch.setattr(
        clip_module.ClipModel,
        "_encode_text",
        lambda self, prompts: encoded.extend(prompts) or original(self, prompts),
    )
    first = clip.encode_text(["cat", "dog"])
    second = clip.encode_text(["dog", "bird", "cat"])
    assert len(encoded) == 3
    np.testing.assert_array_equal(first, second[[2, 0]])
    assert len(loaded.class_features) == 3
    monkeypatch.setattr(clip_module, "MAX_CLASSES", 2)
    clip.encode_text(["fish"])
    assert len(loaded.class_features) == 2


@pytest.mark.parametrize(
    ("model_name", "pretrained", "message"),
    [
        ("ViT-B32", None, "unknown model_name 'ViT-B32'. Did you mean 'ViT-B-32'"),
        (
            "openai/clip-vit-large-patch14-336",
            None,
            "model_name='ViT-L-14-336', pretrained='openai'",
        ),
        ("nothing like it", None, "unknown model_name 'nothing like it'. Pass 'tiny'"),
        ("ViT-B-16", None, "Pass one of its tags, openai, laion400m_e31"),
        ("ViT-B-32", "opnai", "Did you mean 'openai'"),
        ("RN50", "laion2b_s34b_b79k", "has no weights 'laion2b_s34b_b79k'.*Its tags are openai"),
        ("tiny", "openai", "has its own weights"),
        ("hf-hub:a/b", "openai", "has its own weights"),
        ("local-dir:/no/such/folder", None, "does not exist"),
    ],
)
def test_unknown_models_and_weights(model_name, pretrained, message):
    with pytest.raises(ValueError, match=message):
        load(model_name, pretrained)


def test_broken_folders(folder):
    weights = folder / "open_clip_pytorch_model.bin"
    weights.rename(folder / "elsewhere")
    with pytest.raises(ModelLoadError, match="has no weights"):
        load(f"local-dir:{folder}")
    weights.write_bytes(b"damaged")
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        load(f"local-dir:{folder}")
    config = folder / "open_clip_config.json"
    for content in ("{", "[]", "{}"):
        config.write_text(content)
        with pytest.raises(ModelLoadError, match=r"open_clip_config.json .*JSON"):
            load(f"local-dir:{folder}")
    config.unlink()
    with pytest.raises(ValueError, match="has no open_clip_config.json"):
        load(f"local-dir:{folder}")


@pytest.mark.parametrize(
    ("model_name", "pretrained"),
    [
        ("ViT-B-32", None),
        ("ViT-B-16", "openai"),
        ("hf-hub:laion/no-such-model", None),
        # With transformers installed, which raises its own error about the tokenizer.
        ("ViT-B-16-SigLIP", "webli"),
        ("roberta-ViT-B-32", "laion2b_s12b_b32k"),
    ],
)
def test_no_network(model_name, pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelLoadError, match="no connection to the model hub") as caught:
        load(model_name, pretrained)
    assert "'tiny'" in str(caught.value)
    assert "local-dir:" in str(caught.value)


def test_default_weights_of_the_default_model(counted):
    with pytest.raises(ModelLoadError, match="stop here"):
        load("ViT-B-32")
    assert "CLIP-ViT-B-32-laion2B-s34B-b79K" in counted[0][1]["pretrained"]
    assert "force_quick_gelu" not in counted[0][1]


@pytest.mark.parametrize("model_name", ["ViT-B-32", "ViT-B/32"])
def test_weights_trained_with_quick_gelu_get_it(counted, model_name):
    with pytest.raises(ModelLoadError, match="stop here"):
        load(model_name, "openai")
    assert counted[0][1]["force_quick_gelu"] is True


def test_quick_gelu_names_need_no_mending(counted):
    with pytest.raises(ModelLoadError):
        load("ViT-B-32-quickgelu", "openai")
    assert "force_quick_gelu" not in counted[0][1]


def test_weights_of_a_tag_keep_the_preprocessing_of_the_tag(counted):
    with pytest.raises(ModelLoadError):
        load("RN50", "openai")
    tag = open_clip.pretrained.get_pretrained_cfg("RN50", "openai")
    assert counted[0][1]["image_mean"] == tag["mean"]
    assert {name for name in counted[0][1] if name.startswith("image_")} == {
        "image_mean", "image_std", "image_interpolation", "image_resize_mode",
    }  # fmt: skip
    known = {"mean", "std", "interpolation", "resize_mode", "quick_gelu", "url", "hf_hub", "file"}
    for name, other in open_clip.list_pretrained():
        assert set(open_clip.pretrained.get_pretrained_cfg(name, other)) <= known, (name, other)


def test_a_file_with_the_name_of_a_tag_is_not_taken_for_it(counted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai").touch()
    with pytest.raises(ModelLoadError, match="stop here"):
        load("ViT-B-32", "openai")
    assert counted[0][1]["force_quick_gelu"] is True
    with pytest.raises(ModelLoadError, match="could not be loaded"):
        load("ViT-B-32", "./openai")


@pytest.mark.parametrize("model_name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32"])
def test_missing_transformers_names_the_extra(monkeypatch, model_name, counted):
    monkeypatch.setattr(hub, "download_descriptions", lambda *args: clip_module.TINY_FOLDER)
    monkeypatch.setattr(trust, "check_transformers", lambda *args, **options: None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    tag = open_clip.list_pretrained_tags_by_model(model_name)[0]
    with pytest.raises(ImportError, match=r'pip install "sktip\[hf\]"'):
        load(model_name, tag)
    assert not counted


class FromTransformers:
    """As open_clip wraps a tokenizer of transformers: a call gives the ids, special ones included."""

    context_length = 8

    @staticmethod
    def tokenizer(text):
        return {"input_ids": [0, *range(len(text.split())), 1]}


@pytest.mark.parametrize(("n_words", "cut"), [(6, False), (7, True)])
def test_prompts_that_are_cut_off_are_noticed_with_tokenizers_of_transformers(clip, n_words, cut):
    loaded = dataclasses.replace(open_encoder(clip).blocks[0].model, tokenizer=FromTransformers())
    assert loaded.is_cut_off("word " * n_words) is cut
    # Some tokenizers do not give the length.
    assert not dataclasses.replace(loaded, tokenizer=len).is_cut_off("word " * 100)


def test_a_tokenizer_of_transformers(with_tokenizer):
    folder = with_tokenizer
    encoder = CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu")
    ids = open_encoder(encoder).blocks[0].model.tokenizer(["a photo of a dog"])[0].tolist()
    assert ids[:7] == [1, 4, 5, 6, 4, 8, 2]
    rows = encoder.encode_text(["cat", "dog"], "a photo of a {}")
    assert rows.shape == (2, 16)
    assert abs(rows[0] - rows[1]).max() > 1e-3
    with pytest.warns(UserWarning, match="cut off.*class 'cat'"):
        encoder.encode_text(["cat"], "a photo of " * 4 + "{}")


@pytest.mark.parametrize(
    ("model_name", "pretrained"),
    [("hf-hub:laion/no-such-model", None), ("ViT-B-32", None), ("ViT-B-16", "openai")],
)
def test_without_a_network_one_attempt(model_name, pretrained, monkeypatch, tmp_path):
    """Not after half a minute of retries by the hub's client for each file."""
    import huggingface_hub.constants as constants

    hosts = []

    def unknown(host, *args, **options):
        hosts.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits for another attempt"))
    with pytest.raises(ModelLoadError, match="no connection to the model hub"):
        load(model_name, pretrained)
    assert len(hosts) == 1, hosts


def test_tiny_says_once_what_it_is_for_when_it_gets_a_photo(clip, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (600, 600, 3), np.uint8)
    for suffix in ("jpg", "png"):
        Image.fromarray(pixels).save(tmp_path / f"photo.{suffix}")
    session._say_what_tiny_is_for.cache_clear()
    with pytest.warns(UserWarning, match="'tiny' is for examples.*take 'ViT-B-32'"):
        clip.transform([tmp_path / "photo.jpg"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip.transform([tmp_path / "photo.jpg"])
        session._say_what_tiny_is_for.cache_clear()
        clip.transform([tmp_path / "photo.png"])


@pytest.mark.filterwarnings("ignore:1 of . prompts were cut off")
def test_text_features_are_those_of_open_clip(clip):
    """Whatever is encoded beside a prompt: only as much of the context is computed as a batch needs."""
    prompts = [
        "a",
        "a photo of a cat",
        "one two three four five six seven eight nine ten eleven twelve",
    ]
    loaded = open_encoder(clip).blocks[0].model
    with torch.inference_mode():
        rows = loaded.model.encode_text(loaded.tokenizer(prompts))
    expected = torch.nn.functional.normalize(rows, dim=-1).numpy()
    for chosen in ([0, 1, 2], [2], [1, 0], [0]):
        loaded.class_features.clear()
        found = clip.encode_text([prompts[i] for i in chosen], "{}")
        np.testing.assert_allclose(found, expected[chosen], atol=1e-6)
