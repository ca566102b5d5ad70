"""Pixels are exactly those of open_clip, or almost equal for JPEGs at a reduced scale."""

import dataclasses
import io

import numpy as np
import open_clip
import pytest
import torch
from image_files import exif, saved
from PIL import Image, ImageDraw, ImageFile, ImageFont

from sktip import CLIPFeatureTransformer, FeatureMemory
from sktip._encoding.clip import ClipModel
from sktip._encoding.preprocessing import Preprocessing
from sktip._encoding.session import EncoderSession, open_encoder
from sktip._images import rgb
from sktip._images.rgb import to_rgb

#: Reduced to a half, with little more than is needed: for ViT-B-32, and for "tiny".
VIT, TINY = (1500, 1360), (1200, 1030)


def texts(size):
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for top in range(0, size[1], 14):
        draw.text((3, top), "The quick brown fox jumps over 0123456789. " * 6, "black", font)
    return image


def checkers(size, side):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return Image.fromarray(((x // side + y // side) % 2 * 255).astype(np.uint8)).convert("RGB")


def noise(size):
    shape = (size[1], size[0], 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def photo(size):
    colours = np.random.default_rng(1).integers(0, 256, (15, 20, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def edges(size):
    image = Image.new("RGB", size, "black")
    draw = ImageDraw.Draw(image)
    for x in range(0, size[0], 40):
        draw.line((x, 0, size[0] - x, size[1]), "white", 1 + x % 5)
    return image


def red_and_blue(size):
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    is_red = np.arange(size[0]) // 3 % 2 == 1
    pixels[:, is_red, 0] = pixels[:, ~is_red, 2] = 255
    return Image.fromarray(pixels)


def hard_files(size):
    """JPEG files that are hard to decode at a reduced scale, by the difficulty."""
    files = {f"checkers of {n}": saved(checkers(size, n), "JPEG", quality=92) for n in (1, 2, 5, 8)}
    return files | {
        "text": saved(texts(size), "JPEG", quality=92),
        "noise": saved(noise(size), "JPEG"),
        "photo": saved(photo(size), "JPEG"),
        "edges": saved(edges(size), "JPEG", quality=92),
        "edges in full chroma": saved(edges(size), "JPEG", quality=95, subsampling=0),
        "red and blue": saved(red_and_blue(size), "JPEG", quality=92),
        "turned": saved(edges(size), "JPEG", exif=exif(6)),
        "CMYK": saved(photo(size).convert("CMYK"), "JPEG"),
        "progressive": saved(texts(size), "JPEG", progressive=True),
        "grey": saved(photo(size).convert("L"), "JPEG"),
        "tall": saved(photo((size[1], 3 * size[0])), "JPEG"),
        "narrow": saved(photo((3 * size[0], size[1])), "JPEG"),
        "small": saved(texts((100, 80)), "JPEG"),
    }


@pytest.fixture(scope="module")
def vit():
    """A ViT with the input of ViT-B-32, and random weights."""
    torch.manual_seed(0)
    vision = {"image_size": 224, "patch_size": 32, "width": 64, "layers": 1}
    text = {"context_length": 12, "vocab_size": 100, "width": 16, "heads": 1, "layers": 1}
    model = open_clip.CLIP(16, vision, text).eval()
    preprocess = open_clip.image_transform(224, is_train=False)
    return ClipModel(model, preprocess, torch.device("cpu"), "fp32", "", tokenizer=None)


def session_of(clip=None, **parameters):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", precision="fp32", **parameters)
    session = open_encoder(encoder)
    if clip is None:
        return session
    return EncoderSession((dataclasses.replace(session.blocks[0], model=clip),))


def check_almost_equal(files, clip=None):
    contents = list(files.values())
    full = session_of(clip, reduced_decoding=False)
    reduced = session_of(clip)
    own, expected = (
        np.stack([views[0] for views in session.views(contents)]) for session in (reduced, full)
    )
    cosines = (
        (own * expected).sum(1) / np.linalg.norm(own, axis=1) / np.linalg.norm(expected, axis=1)
    )
    assert dict(zip(files, cosines, strict=True)) == pytest.approx(
        dict.fromkeys(files, 1), abs=1e-4
    )
    assert not np.array_equal(own, expected)


def test_hard_pictures_with_the_bundled_model():
    check_almost_equal(hard_files(TINY))


def test_hard_pictures_with_the_input_of_vit_b_32(vit):
    files = hard_files(VIT)
    names = ("checkers of 5", "text", "noise", "photo", "edges", "red and blue", "turned", "CMYK")
    check_almost_equal({name: files[name] for name in names}, vit)


def test_photos_are_decoded_at_a_reduced_scale_and_flat_pictures_are_not(monkeypatch):
    sizes, original = [], ImageFile.ImageFile.load
    monkeypatch.setattr(
        ImageFile.ImageFile, "load", lambda image: sizes.append(image.size) or original(image)
    )
    session_of().features([saved(photo((4000, 3000)), "JPEG")])
    assert set(sizes) == {(1000, 750)}
    sizes.clear()
    session_of().features([saved(texts((2000, 1500)), "JPEG")])
    assert set(sizes) == {(1000, 750), (2000, 1500)}
    sizes.clear()
    session_of(reduced_decoding=False).features([saved(photo((2000, 1500)), "JPEG")])
    assert set(sizes) == {(2000, 1500)}


@pytest.mark.parametrize("size", [(64, 64), (301, 200), (200, 501), (37, 90)])
def test_in_two_parts_the_input_is_open_clips_to_the_bit(clip, vit, size):
    image = noise(size)
    for model in (open_encoder(clip).blocks[0].model, vit):
        steps = Preprocessing(model.preprocess)
        pixels = steps.pixels(image)
        assert pixels.dtype == torch.uint8
        assert torch.equal(steps.normalised(pixels[None])[0], model.preprocess(image))


@pytest.mark.parametrize("mode", ["longest", "squash"])
def test_other_ways_to_resize_are_open_clips_too(mode):
    preprocess = open_clip.image_transform(64, is_train=False, resize_mode=mode)
    steps, image = Preprocessing(preprocess), photo((300, 200))
    expected = preprocess(image)
    assert torch.equal(steps.normalised(steps.pixels(image)[None])[0], expected)
    quick = steps.normalised(steps.pixels(image, quickly=True)[None])[0]
    assert abs(quick - expected).max() < 0.02


def test_an_unknown_preprocessing_is_used_as_it_is():
    steps = Preprocessing(lambda image: torch.full((3, 4, 4), float(image.width)))
    assert not steps.is_quick
    pixels = steps.pixels(photo((9, 9)), quickly=True)
    assert torch.equal(steps.normalised(pixels[None]), torch.full((1, 3, 4, 4), 9.0))


def test_without_reduction_features_are_open_clips_to_the_bit(vit):
    content = saved(photo((1600, 1400)), "JPEG")
    with torch.inference_mode():
        pixels = vit.preprocess(Image.open(io.BytesIO(content)).convert("RGB"))[None]
        expected = vit.model.encode_image(pixels).numpy()
    ours = next(session_of(vit, reduced_decoding=False).views([content]))
    np.testing.assert_array_equal(ours, expected)


def test_random_views_show_the_same_whatever_the_scale():
    contents = [saved(photo((3000, 2400)), "JPEG"), saved(photo((2000, 1800)), "JPEG")]
    full, reduced = (
        session_of(reduced_decoding=value).views(contents, 6, 0) for value in (False, True)
    )
    for own, expected in zip(full, reduced, strict=True):
        cosines = (own * expected).sum(1)
        cosines /= np.linalg.norm(own, axis=1) * np.linalg.norm(expected, axis=1)
        assert cosines.min() > 0.9999


def test_a_small_crop_keeps_its_resolution():
    """Of 3000 x 2400 pixels a plain view of 64 needs an eighth of neither side, nor a quarter."""
    content = saved(photo((3000, 2400)), "JPEG")
    plain = to_rgb(None, content, "image", 10**8, 512)
    assert plain.size == (750, 600)
    assert to_rgb(None, content, "image", 10**8, 837).size == (1500, 1200)


class TestMemory:
    @pytest.fixture
    def encoder(self, tmp_path):
        memory = FeatureMemory(tmp_path / "features.sqlite")
        return CLIPFeatureTransformer("tiny", device="cpu", memory=memory)

    def test_reduced_and_full_are_told_apart(self, encoder):
        content = saved(photo((1600, 1400)), "JPEG")
        reduced = encoder.transform([content])
        full = encoder.set_params(reduced_decoding=False).transform([content])
        assert not np.array_equal(full, reduced)
        assert len(encoder.memory) == 2
        np.testing.assert_array_equal(encoder.transform([content]), full)
        assert len(encoder.memory) == 2

    @pytest.mark.parametrize("library", ["PIL", "torch"])
    def test_other_versions_of_libraries_are_told_apart(self, encoder, monkeypatch, library):
        content = saved(photo((100, 80)), "JPEG")
        encoder.transform([content])
        module = rgb.PIL if library == "PIL" else torch
        monkeypatch.setattr(module, "__version__", "0.0")
        encoder.transform([content])
        assert len(encoder.memory) == 2
