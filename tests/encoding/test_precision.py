"""The choice of the precision, and which computations use it."""

import pickle

import numpy as np
import open_clip
import pytest
import torch
from sklearn.base import clone

from sktip import CLIPFeatureTransformer, FeatureMemory, TipAdapterClassifier
from sktip._encoding.session import open_encoder
from sktip._maths.device import resolve_precision

HAS_BF16 = {"sse4a": True, "avx512_f": True, "avx512_bf16": True}


@pytest.fixture
def machine(monkeypatch):
    """Make torch list these instructions of the CPU, of which oneDNN may use those up to a limit."""

    def lists(capabilities, limit=""):
        # Older versions of torch have no such function.
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)

    return lists


@pytest.mark.parametrize(
    ("capabilities", "limit", "expected"),
    [
        (HAS_BF16, "", "bf16"),
        ({"amx_bf16": True}, "AVX512_CORE_AMX", "bf16"),
        (HAS_BF16, "AVX2", "fp32"),
        (HAS_BF16, "avx512_core", "fp32"),
        ({**HAS_BF16, "avx512_bf16": False}, "", "fp32"),
        # Intel's multiply fp32 as fast, and on ARM nothing was measured.
        ({**HAS_BF16, "sse4a": False}, "", "fp32"),
        ({"bf16": True}, "", "fp32"),
    ],
)
def test_auto_is_what_the_cpu_lists(machine, digits, capabilities, limit, expected):
    machine(capabilities, limit)
    auto, own = (
        CLIPFeatureTransformer("tiny", device="cpu", precision=name) for name in ("auto", expected)
    )
    assert open_encoder(auto).precision == expected
    np.testing.assert_array_equal(auto.transform(digits[0][:9]), own.transform(digits[0][:9]))


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [("cuda", (8, 0), "bf16"), ("cuda", (7, 5), "fp32"), ("xpu", None, "fp32")],
)
def test_auto_is_what_a_gpu_lists(monkeypatch, device, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device(device)) == expected


def test_the_default_is_fp32_on_every_machine(machine, digits, capsys):
    machine(HAS_BF16)
    clip = CLIPFeatureTransformer("tiny", device="cpu")
    features = clip.transform(digits[0][:9])
    machine({})
    np.testing.assert_array_equal(clip.transform(digits[0][:9]), features)
    # The faster one is only suggested, where there is one.
    clip.set_params(verbose=1).transform(digits[0][:2])
    assert "auto" not in capsys.readouterr().err
    machine(HAS_BF16)
    clip.transform(digits[0][:2])
    assert "would be about 2 times as fast: this CPU has bf16" in capsys.readouterr().err
    clip.set_params(precision="auto").transform(digits[0][:2])
    assert "auto" not in capsys.readouterr().err


@pytest.mark.parametrize(("here", "there"), [(HAS_BF16, {}), ({}, HAS_BF16)])
def test_workers_compute_as_the_process_that_sends_the_encoder(machine, digits, here, there):
    """Of a cluster of several kinds of machines."""
    clip = CLIPFeatureTransformer("tiny", device="cpu", precision="auto")
    clf = TipAdapterClassifier(clip)
    machine(here)
    clf.fit(digits[0][:40], digits[1][:40])
    expected = clf.predict_proba(digits[0][40:50])
    sent = pickle.dumps((clip, clf))
    machine(there)
    encoder, classifier = pickle.loads(sent)
    session = open_encoder(encoder)
    assert session.precision == classifier.fitted_with_["precision"]
    np.testing.assert_array_equal(classifier.predict_proba(digits[0][40:50]), expected)
    # A device that is missing where it is sent from lists nothing.
    clip.set_params(device="cuda:77")
    assert pickle.loads(pickle.dumps(clip)).precision == "fp32"


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
    clip = CLIPFeatureTransformer("tiny", device="cpu", precision="auto", memory=memory)
    machine(HAS_BF16)
    clf = TipAdapterClassifier(clip).fit(images[:40], labels[:40])
    assert clf.fitted_with_["precision"] == "bf16"
    probabilities = clf.predict_proba(images[:40])
    assert len(memory) == 50  # 40 images and 10 names
    machine({})
    np.testing.assert_allclose(clf.predict_proba(images[:40]), probabilities, atol=0.1)
    assert len(memory) == 90
    assert clone(clf).fit(images[:40], labels[:40]).fitted_with_["precision"] == "fp32"
    clip.set_params(precision="bf16").transform(images[:40])
    assert len(memory) == 90
