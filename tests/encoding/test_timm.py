"""Image models of timm: their features, and which files are accepted."""

import json

import numpy as np
import pytest
import timm
import torch
from image_files import saved
from model_files import edit
from PIL import Image
from sklearn.base import clone
from timm.data import create_transform, resolve_model_data_config

from sktip import CLIPFeatureTransformer, FeatureMemory, TimmFeatureTransformer
from sktip.exceptions import ModelLoadError

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 190, 230, 3), dtype=np.uint8)


def encode(*names, **parameters):
    return TimmFeatureTransformer(*names, device="cpu", **parameters).transform(IMAGES)


@pytest.fixture
def timm_folder(tmp_path):
    """A ViT with 7 classes and an argument of its own, as timm saves it for the hub."""
    torch.manual_seed(1)
    model = timm.create_model("test_vit", num_classes=7, img_size=64)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    config = {
        "architecture": "test_vit", "num_classes": 7, "num_features": 64,
        "model_args": {"img_size": 64},
        "pretrained_cfg": {
            "input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear", "crop_pct": 0.9, "first_conv": "patch_embed.proj",
            "classifier": "head", "url": "http://127.0.0.1/other.bin", "license": "mit",
        },
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
def test_features_are_those_of_timm_without_classes(name, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    preprocess = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.fromarray(image)) for image in IMAGES])
        raw = model.forward_head(model.forward_features(batch), pre_logits=True).numpy()
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    tag = timm.list_models(f"{name}.*", pretrained=True)[0]
    np.testing.assert_allclose(encode(tag, str(tmp_path / "weights.pth")), expected, atol=1e-6)


def test_a_folder_and_a_repository(timm_folder, hub):
    model = timm.create_model("test_vit", num_classes=7, img_size=64).eval()
    model.load_state_dict(torch.load(timm_folder / "pytorch_model.bin", weights_only=True))
    preprocess = create_transform(
        (3, 64, 64), mean=(0.1, 0.2, 0.3), std=(0.5,) * 3, interpolation="bilinear", crop_pct=0.9
    )
    with torch.inference_mode():
        batch = preprocess(Image.fromarray(IMAGES[0]))[None]
        raw = model.forward_head(model.forward_features(batch), pre_logits=True)[0].numpy()
    features = encode(f"local-dir:{timm_folder}")
    np.testing.assert_allclose(features[0], raw / np.linalg.norm(raw), atol=1e-6)
    hub("org/model", timm_folder)
    np.testing.assert_array_equal(encode("hf-hub:org/model"), features)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["vit_smal_patch14_dinov2.lvd142m"], "Did you mean 'vit_small_patch14_dinov2.lvd142m'"),
        (["resnet18.a1_in2k"], "has no weights 'a1_in2k'.*Did you mean 'a1_in1k'"),
        (["resnet18", "./missing.pth"], "there is no such file.*Its tags are a1_in1k"),
        (["resnet18.a1_in1k", "a2_in1k"], "has its own weights"),
        (["test_mambaout"], r"Its tags are \(none\)"),
        (["hf-hub:org/model", "a1_in1k"], "has its own weights"),
        (["local-dir:/no/such/folder"], "does not exist"),
    ],
)
def test_unknown_models_and_weights(names, message):
    with pytest.raises(ValueError, match=message):
        encode(*names)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2.lvd142m", "resnet18", "hf-hub:a/b"])
def test_no_network(name, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelLoadError, match=r"no connection to the model hub.*local-dir:FOLDER"):
        encode(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_args": {"checkpoint_path": "x.bin"}}, "model_args.checkpoint_path"),
        ({"model_args": {"pretrained_cfg": "other"}}, "model_args.pretrained_cfg"),
        ({"model_args": {"act_layer": "org/model"}}, "act_layer.*not a simple name"),
        ({"model_args": {"block_fn": {"a": 1}}}, "block_fn"),
        ({"auto_map": {"AutoModel": "custom.Model"}}, "auto_map.*run code"),
        ({"architecture": "hf-hub:org/model"}, "which timm does not have"),
        ({"architecture": None}, "key architecture"),
    ],
)
def test_other_settings_are_refused(timm_folder, change, message):
    edit(timm_folder / "config.json", lambda config: config.update(change))
    with pytest.raises(ModelLoadError, match=message):
        encode(f"local-dir:{timm_folder}")


def test_weights_that_are_missing_or_run_code(timm_folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return ((tmp_path / "ran").touch, ())

    weights = timm_folder / "pytorch_model.bin"
    state = torch.load(weights, weights_only=True)
    del state["blocks.0.norm1.weight"]
    torch.save(state, weights)
    with pytest.raises(ModelLoadError, match="blocks.0.norm1.weight"):
        encode(f"local-dir:{timm_folder}")
    torch.save({"a": Trap()}, weights)
    with pytest.raises(ModelLoadError, match="more than tensors"):
        encode(f"local-dir:{timm_folder}")
    assert not (tmp_path / "ran").exists()
    weights.unlink()
    with pytest.raises(ModelLoadError, match="has no weights"):
        encode(f"local-dir:{timm_folder}")


def test_it_is_an_encoder_like_clip(timm_encoder, clip, tmp_path):
    memory = FeatureMemory(tmp_path / "features.sqlite")
    own = clone(timm_encoder).set_params(memory=memory)
    features = own.transform(IMAGES)
    np.testing.assert_array_equal(own.transform(IMAGES), features)
    clone(clip).set_params(memory=memory).transform(IMAGES)
    low = clone(own).set_params(precision="bf16").transform(IMAGES)
    assert len(memory) == 9
    assert (low * features).sum(axis=1).min() > 0.999
    assert own.get_feature_names_out()[0] == "timmfeaturetransformer0"
    assert not hasattr(own, "encode_text")
    assert clone(own).set_params(n_views=2, random_state=0).transform(IMAGES).shape == (3, 64)


def test_a_reduced_jpeg_has_the_same_features(timm_encoder):
    colours = np.random.default_rng(1).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    photo = Image.fromarray(colours).resize((2000, 1100), Image.Resampling.BICUBIC)
    content = [saved(photo, "JPEG")]
    full = clone(timm_encoder).set_params(reduced_decoding=False).transform(content)
    reduced = timm_encoder.transform(content)
    assert not np.array_equal(reduced, full)
    assert (reduced * full).sum() > 0.9999


def test_an_image_model_of_timm_is_no_clip():
    with pytest.raises(ValueError, match="TimmFeatureTransformer"):
        CLIPFeatureTransformer("vit_small_patch14_dinov2.lvd142m").transform(IMAGES)
