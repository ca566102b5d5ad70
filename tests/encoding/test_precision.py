"""The choice of the precision, and which computations use it."""

import numpy as np
import open_clip
import pytest
import torch
from sklearn.base import clone

from sktip import CLIPFeatureTransformer, FeatureMemory, TipAdapterClassifier
from sktip._encoding import precision
from sktip._encoding.session import open_encoder

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """A machine that gains so much by bf16."""

    def set_gain(gain, has_bf16=True):
        precision._is_faster_in_bf16.cache_clear()
        monkeypatch.setattr(precision, "measured_gain", lambda device: gain)
        monkeypatch.setattr(precision, "_may_have_bf16", lambda device: has_bf16)

    yield set_gain
    precision._is_faster_in_bf16.cache_clear()


@pytest.mark.parametrize(
    ("gain", "has_bf16", "expected"),
    [(4.0, True, "bf16"), (1.1, True, "fp32"), (4.0, False, "fp32")],
)
def test_auto_is_bf16_where_that_is_native_and_faster(machine, digits, gain, has_bf16, expected):
    machine(gain, has_bf16)
    auto, own = (
        CLIPFeatureTransformer("tiny", device="cpu", precision=name) for name in ("auto", expected)
    )
    assert open_encoder(auto).precision == expected
    np.testing.assert_array_equal(auto.transform(digits[0][:9]), own.transform(digits[0][:9]))


def test_what_is_given_is_not_measured(monkeypatch):
    monkeypatch.setattr(precision, "_is_faster_in_bf16", None)
    for name in ("fp32", "fp16", "bf16"):
        assert precision.resolve_precision(name, CPU) == name


def test_the_gain_is_measured():
    assert 0.01 < precision.measured_gain(CPU) < 100


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_images_in_16_bits_texts_in_32(clip, digits, name):
    low = CLIPFeatureTransformer("tiny", device="cpu", precision=name)
    full = clone(clip).set_params(precision="fp32")
    cosines = (low.transform(digits[0][:40]) * full.transform(digits[0][:40])).sum(axis=1)
    assert cosines.min() >= 0.999
    assert cosines.min() < 1 - 1e-7
    # In 16 bits they would differ by 1e-3; in 32 bits, equal sums may be rounded differently.
    names = ["zero", "fire engine"]
    np.testing.assert_allclose(low.encode_text(names), full.encode_text(names), atol=1e-6)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_images_are_encoded_as_open_clip_does(folder, digits, name):
    images = np.stack([np.asarray(image) for image in digits[0][:4]])
    session = open_encoder(
        CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu", precision=name)
    )
    own = np.stack([views[0] for views in session.views(images)])
    model, preprocess = open_clip.create_model_from_pretrained(
        f"local-dir:{folder}", precision=name
    )
    from PIL import Image

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    with torch.inference_mode():
        pixels = [preprocess(Image.fromarray(image).convert("RGB")) for image in images]
        expected = model.eval().encode_image(torch.stack(pixels).to(dtype)).float().numpy()
    np.testing.assert_allclose(own, expected, rtol=0, atol=2e-3 * abs(expected).max())


def test_machines_that_choose_differently(machine, digits, tmp_path):
    """They understand each other's classifiers, and keep their features apart."""
    images, labels = digits
    memory = FeatureMemory(tmp_path / "features.sqlite")
    clip = CLIPFeatureTransformer("tiny", device="cpu", memory=memory)
    machine(4.0)
    clf = TipAdapterClassifier(clip).fit(images[:40], labels[:40])
    assert clf.fitted_with_["precision"] == "bf16"
    probabilities = clf.predict_proba(images[:40])
    assert len(memory) == 40
    machine(1.0)
    np.testing.assert_allclose(clf.predict_proba(images[:40]), probabilities, atol=0.1)
    assert len(memory) == 80
    assert clone(clf).fit(images[:40], labels[:40]).fitted_with_["precision"] == "fp32"
    clip.set_params(precision="bf16").transform(images[:40])
    assert len(memory) == 80
