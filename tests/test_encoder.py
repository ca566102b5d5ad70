"""The feature transformer as a scikit-learn object, and its text side."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from sktip import (
    CLIPFeatureTransformer,
    TipAdapterClassifier,
    ZeroShotClassifier,
    clear_model_cache,
)
from sktip._encoding import clip as clip_module
from sktip.prompts import TEMPLATES, fill_prompts


def test_stateless(clip, digits):
    images, _ = digits
    before = dict(vars(clip))
    check_is_fitted(clip)
    features = clip.transform(images[:5])
    np.testing.assert_array_equal(clip.fit(images[:5]).transform(images[:5]), features)
    np.testing.assert_array_equal(clip.fit_transform(images[:5]), features)
    assert {name: vars(clip)[name] for name in before} == before


def test_pickle_holds_parameters_only(clip, digits):
    clip.transform(digits[0][:2])
    pickled = pickle.dumps(clip)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(
        pickle.loads(pickled).transform(digits[0][:2]), clip.transform(digits[0][:2])
    )


def test_set_output(clip, digits):
    framed = clone(clip).set_output(transform="pandas").transform(digits[0][:4])
    assert list(framed.columns[:2]) == ["clipfeaturetransformer0", "clipfeaturetransformer1"]
    np.testing.assert_allclose(framed.to_numpy(), clip.transform(digits[0][:4]), atol=1e-6)


def test_linear_probe_in_a_pipeline(clip, digits):
    images, labels = digits
    probe = make_pipeline(clip, LogisticRegression(C=100, max_iter=500))
    assert probe.fit(images[:150], labels[:150]).score(images[150:], labels[150:]) > 0.6
    forest = make_pipeline(clip, RandomForestClassifier(random_state=0)).fit(images, labels)
    assert forest.score(images, labels) > 0.9


def test_text_features_are_averaged_over_templates_and_renormalised(clip):
    names, templates = ["zero", "seven"], ["the digit {}", "a picture of the number {}"]
    single = [clip.encode_text(names, template) for template in templates]
    mean = np.mean(single, axis=0)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    encoded = clip.encode_text(names, templates)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, expected, atol=1e-6)


def test_text_by_class(clip):
    templates = {"cat": ["a photo of a {}.", "the {}"], "night": ["the sky is dark"]}
    encoded = clip.encode_text(["night", "cat"], templates)
    np.testing.assert_allclose(encoded[1:], clip.encode_text(["cat"], templates["cat"]), atol=1e-6)
    np.testing.assert_allclose(
        encoded[0], clip.encode_text(["the sky is dark"], "{}")[0], atol=1e-6
    )


def test_cut_off_prompts_are_named(clip):
    names = ["cat", "one two three four five six seven eight nine ten eleven twelve"]
    with pytest.warns(UserWarning, match=r"1 of 2 prompts .*: 'a photo of a one.*class 'one two"):
        clip.encode_text(names)


def test_a_cut_off_class_is_named_once(clip):
    long = [f"{number} two three four five six seven eight nine ten" for number in ("one", "zero")]
    with pytest.warns(UserWarning, match="of 2 of 3 classes") as caught:
        ZeroShotClassifier(clip, class_names=["cat", *long]).fit()
    message = str(caught[0].message)
    assert all(message.count(f"(class {name!r})") == 1 for name in long)


def test_underscores_become_spaces(clip):
    np.testing.assert_array_equal(
        clip.encode_text(["fire_engine"]), clip.encode_text(["fire engine"])
    )


@pytest.mark.parametrize(
    ("names", "templates", "error", "message"),
    [
        ([], "a {}", ValueError, "class_names is empty"),
        ("cat", "a {}", TypeError, "one string"),
        (["cat", 3], "a {}", TypeError, "class name 1 is 3"),
        (["cat"], "a photo", ValueError, "no {} where the class name goes"),
        (["cat"], [], ValueError, "templates is empty"),
        (["cat"], ["a {}", " "], ValueError, "empty template"),
        (["cat", "dog"], {"cat": ["a {}"]}, ValueError, r"without an entry for \['dog'\]"),
    ],
)
def test_bad_names_and_templates(clip, names, templates, error, message):
    with pytest.raises(error, match=message):
        clip.encode_text(names, templates)


def test_prompts_of_the_papers_data_sets():
    assert len(TEMPLATES) == 11
    assert len(TEMPLATES["imagenet"]) == 7
    assert fill_prompts(["king_penguin"], TEMPLATES["imagenet"])[0][0] == "itap of a king penguin."
    assert fill_prompts(["F-16"], TEMPLATES["fgvc_aircraft"]) == [
        ["a photo of a F-16, a type of aircraft."]
    ]
    with pytest.raises(TypeError):
        TEMPLATES["imagenet"] = ()


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 0},
        {"precision": "fp8"},
        {"on_error": "skip"},
        {"n_jobs": "2"},
    ],
)
def test_invalid_parameters(digits, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        CLIPFeatureTransformer("tiny", **parameters).transform(digits[0][:1])


def test_missing_device_says_what_to_do(digits):
    with pytest.raises(ValueError, match=r"set_params\(device=None\)"):
        CLIPFeatureTransformer("tiny", device="cuda:7").transform(digits[0][:1])
    with pytest.raises(ValueError, match="not a torch device"):
        CLIPFeatureTransformer("tiny", device="gpu").transform(digits[0][:1])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_default_type_of_torch_changes_nothing(digits, precision):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", precision=precision)
    images = [*digits[0][:5], np.zeros((40, 30, 3), np.uint8)]

    def results():
        clear_model_cache()
        clf = TipAdapterClassifier(encoder, fine_tune=True, n_epochs=2, random_state=0)
        clf.fit(images[:4], digits[1][:4])
        return encoder.transform(images), encoder.encode_text(["cat"]), clf.predict_proba(images)

    expected = results()
    torch.set_default_dtype(torch.float64)
    try:
        for own, other in zip(results(), expected, strict=True):
            np.testing.assert_array_equal(own, other)
    finally:
        torch.set_default_dtype(torch.float32)


def test_progress_bar_only_when_asked(digits, capsys):
    CLIPFeatureTransformer("tiny", device="cpu").transform(digits[0][:3])
    assert capsys.readouterr() == ("", "")
    CLIPFeatureTransformer("tiny", device="cpu", verbose=1).transform(digits[0][:3])
    shown = capsys.readouterr().err
    assert "Encoding" in shown
    assert "3/3" in shown


def test_after_warm_up_nothing_is_loaded_or_run_once_more(digits, encoded, monkeypatch):
    images, labels = digits
    clf = ZeroShotClassifier(CLIPFeatureTransformer("tiny", device="cpu"))
    clf.fit(images[:20], labels[:20])
    expected = clf.predict_proba(images[:2])
    clear_model_cache()
    assert clf.encoder.warm_up() is clf.encoder
    encoded.clear()
    monkeypatch.setattr(clip_module, "_load", None)
    monkeypatch.setattr(torch.nn.Module, "state_dict", None)
    np.testing.assert_array_equal(clf.predict_proba(images[:2]), expected)
    assert encoded == [2]


def test_import_is_light_and_silent():
    heavy = "heavy = {'torch', 'torchvision', 'open_clip', 'tqdm'} & set(sys.modules); assert not heavy, heavy"
    code = f"import sys, sktip; dir(sktip); assert 'sklearn' not in sys.modules; {heavy}"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    code = f"import sys; from sktip import CLIPFeatureTransformer, TipAdapterClassifier; {heavy}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_attribute():
    import sktip

    with pytest.raises(AttributeError, match="Nothing"):
        sktip.Nothing  # noqa: B018


@pytest.mark.parametrize(
    "make",
    [
        lambda names: dict.fromkeys(names).keys(),
        np.array,
        lambda names: map(str, names),
    ],
)
def test_class_names_from_whatever_can_be_iterated(clip, make):
    names = ["cat", "dog"]
    np.testing.assert_array_equal(clip.encode_text(make(names)), clip.encode_text(names))


def test_a_prompt_of_an_iterator_that_is_cut_off_names_its_class(clip):
    with pytest.warns(UserWarning, match="class 'a a a"):
        clip.encode_text(iter(["a " * 90]))
    with pytest.raises(ValueError, match="class_names is empty"):
        clip.encode_text(iter([]))


@pytest.mark.parametrize("parameter", ["encoder__device", "device"])
def test_the_device_without_numbers(clip, digits, parameter):
    images, labels = digits
    clf = TipAdapterClassifier(clone(clip), fine_tune=True, n_epochs=1)
    clf.set_params(**{parameter: "meta"})
    with pytest.raises(ValueError, match="device='meta' has tensors without values"):
        clf.fit(images[:4], labels[:4])
