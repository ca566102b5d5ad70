"""From files to features with ViT-B-32, and what it takes to read them.

Efficiency is (decoding on one core + model on one core) / (cores x time of `transform`), per image: 1 where every
core works all the time. Decoding is Pillow's `draft` and `convert`, and open_clip's preprocessing.
"""

import io
import itertools
import json
from functools import partial

import numpy as np
import open_clip
import pytest
import torch
from conftest import compare
from PIL import Image

from sktip import CLIPFeatureTransformer, JointEncoder
from sktip._encoding.session import open_encoder
from sktip._images.rgb import to_rgb
from sktip._utils.threads import workers

SIZES = {"500 x 375": (500, 375, 96), "4000 x 3000": (4000, 3000, 64)}
#: Formats of one picture of 24 megapixels, with the arguments of Pillow's `save`.
FORMATS = {
    "JPEG": {"quality": 90},
    "progressive JPEG": {"quality": 90, "progressive": True},
    "WebP": {"quality": 75},
    "HEIC": {"quality": 60, "enc_params": {"preset": "ultrafast"}},
    "PNG": {"compress_level": 1},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "TIFF": {},
}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """ViT-B-32 in a local folder; how long it takes does not depend on its weights."""
    folder = tmp_path_factory.mktemp("vit")
    config = open_clip.get_model_config("ViT-B-32")
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")
    settings = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(settings)
    return f"local-dir:{folder}"


def picture(width, height, seed=0, noise=40):
    """A picture with about the size on disk of a photograph."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
    smooth = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    grains = rng.integers(0, noise, (height, width, 3), dtype=np.uint8)
    return Image.fromarray((np.asarray(smooth) // 2 + grains).astype(np.uint8))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Make JPEG files of a size, each with pixels of its own."""
    made = {}

    def make(size):
        if size not in made:
            width, height, n = SIZES[size]
            folder = tmp_path_factory.mktemp("photos")
            made[size] = [folder / f"{i}.jpg" for i in range(n)]
            for i, path in enumerate(made[size]):
                if i < 8:
                    picture(width, height, i).save(path, quality=90)
                    continue
                # A table of quantisation that differs by a step changes all pixels, and is made quickly.
                content = bytearray(made[size][i % 8].read_bytes())
                content[content.find(b"\xff\xdb") + 5] += i // 8
                path.write_bytes(content)
        return made[size]

    return make


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", SIZES)
def bench_transform(vit, photos, row, size, precision):
    files, cores = photos(size), torch.get_num_threads()
    encoder = CLIPFeatureTransformer(vit, device="cpu", precision=precision)
    clip = open_encoder(encoder).blocks[0].model
    batch, some = torch.rand(8, 3, 224, 224, dtype=clip.dtype), files[:16]

    def decode():
        for file in some:
            image = Image.open(file)
            image.draft("RGB", (448, 448))
            clip.preprocess(image.convert("RGB"))

    def model():
        with torch.inference_mode():
            clip.model.encode_image(batch)

    def models():
        for running in [pool.submit(model) for _ in range(cores)]:
            running.result()

    # Threads of which each computes on one core.
    with workers(cores) as pool:
        ours, decoding, alone, together = compare(
            lambda: encoder.transform(files),
            lambda: pool.submit(decode).result(),
            lambda: pool.submit(model).result(),
            models,
            rounds=2,
        )
    ours, decoding = ours / len(files), decoding / len(some)
    alone, together = alone / len(batch), together / len(batch)
    row(
        f"JPEG, {size}, {precision}: {1 / ours:.0f} photos per second",
        f"decoding {1e3 * decoding:.0f} ms and model {1e3 * alone:.0f} ms of one core ({1e3 * together:.0f} ms "
        "while all cores run it)",
        f"efficiency {(decoding + alone) / (cores * ours):.2f}",
        "0.95",
    )


def bench_one_image(vit, photos, row):
    file = photos("500 x 375")[0]
    encoder = CLIPFeatureTransformer(vit, device="cpu")
    clip = open_encoder(encoder).blocks[0].model

    def plainly():
        with torch.inference_mode():
            clip.model.encode_image(clip.preprocess(Image.open(file).convert("RGB"))[None])

    ours, plain = compare(lambda: encoder.transform([file]), plainly, rounds=8)
    row("one photo of 500 x 375", "preprocessing and model", f"{ours / plain:.2f}x", "1.1x at most")


def bench_two_encoders(vit, photos, row):
    files = photos("500 x 375")[:32]
    clip, half = (CLIPFeatureTransformer(vit, device="cpu", precision=p) for p in ("fp32", "bf16"))
    ours, *alone = compare(
        lambda: JointEncoder([clip, half]).transform(files),
        lambda: clip.transform(files),
        lambda: half.transform(files),
        rounds=2,
    )
    row("two encoders side by side", "both alone", f"{ours / sum(alone):.2f}x", "1.05x at most")


@pytest.mark.parametrize(("size", "n"), [("500 x 375", 64), ("4000 x 3000", 8)])
def bench_memory(vit, photos, row, tmp_path, size, n):
    files, numbers = photos(size)[:n], itertools.count()
    plain = CLIPFeatureTransformer(vit, device="cpu")
    keeping = CLIPFeatureTransformer(vit, device="cpu", memory=tmp_path / "features.sqlite")
    keeping.transform(files)

    def into_a_new_file():
        memory = tmp_path / f"{next(numbers)}.sqlite"
        CLIPFeatureTransformer(vit, device="cpu", memory=memory).transform(files)

    found, encoded, first = compare(
        lambda: keeping.transform(files), lambda: plain.transform(files), into_a_new_file, rounds=2
    )
    row(f"photo of {size} found in memory", "encoded", f"{encoded / found:.0f}x faster", "20x")
    row(f"first run with memory, {size}", "without", f"{first / encoded:.2f}x", "1.05x at most")


def bench_formats(row):
    shown, first = picture(6000, 4000, noise=24), None
    for name, options in FORMATS.items():
        file = io.BytesIO()
        if name == "HEIC":
            pytest.importorskip("pillow_heif").from_pillow(shown).save(file, **options)
        else:
            shown.save(file, name.removeprefix("progressive ").removesuffix(", LZW"), **options)
        # As for a model with inputs of 224 pixels.
        content = file.getvalue()
        (read,) = compare(partial(to_rgb, "photo", content, "photo", 2**25, 3 * 224), rounds=2)
        first = first or read
        row(
            f"{name} of 24 megapixels, {len(content) / 1e6:.0f} MB: read in {read:.2f} s",
            "JPEG",
            f"{read / first:.1f}x",
        )
