"""The time to read features from a file compared with encoding by ViT-B-32."""

import itertools
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from sktip import CLIPFeatureTransformer
from sktip._encoding.session import open_encoder

N_IMAGES = 64


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """ViT-B-32 in a local folder; how long it takes does not depend on its weights."""
    folder = tmp_path_factory.mktemp("vit")
    config = open_clip.get_model_config("ViT-B-32")
    torch.manual_seed(0)
    torch.save(open_clip.CLIP(**config).state_dict(), folder / "open_clip_pytorch_model.bin")
    settings = json.dumps({"model_cfg": config, "preprocess_cfg": {}})
    (folder / "open_clip_config.json").write_text(settings)
    return CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu")


@pytest.fixture
def photos(tmp_path):
    """Make JPEG files that look enough like photographs for their size on disk."""

    def make(n, width, height):
        rng = np.random.default_rng(0)
        paths = [tmp_path / f"{width}-{i}.jpg" for i in range(n)]
        for path in paths:
            small = rng.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
            noise = rng.integers(0, 24, (height, width, 3), dtype=np.uint8)
            pixels = np.asarray(picture) // 2 + noise
            Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
        size = sum(path.stat().st_size for path in paths) / n / 1e3
        return paths, f"{width} x {height}, {size:.0f} kB"

    return make


@pytest.mark.parametrize(("n", "width", "height"), [(N_IMAGES, 500, 375), (16, 4000, 3000)])
def bench_hit(vit, photos, compare, report, tmp_path, n, width, height):
    paths, what = photos(n, width, height)
    keeping = CLIPFeatureTransformer(
        vit.model_name, device="cpu", memory=tmp_path / "features.sqlite"
    )
    np.testing.assert_array_equal(keeping.transform(paths), vit.transform(paths))
    ours, plain = compare(lambda: keeping.transform(paths), lambda: vit.transform(paths), rounds=5)
    report(
        f"image in memory, {what}: {ours / n * 1e3:.2f} ms",
        f"encoding with ViT-B-32: {plain / n * 1e3:.1f} ms",
        f"{plain / ours:.0f}x faster",
        ">= 20x",
    )


def bench_first_run(vit, photos, compare, report, tmp_path):
    paths, what = photos(N_IMAGES, 500, 375)
    numbers = itertools.count()

    def into_a_new_file():
        memory = tmp_path / f"{next(numbers)}.sqlite"
        CLIPFeatureTransformer(vit.model_name, device="cpu", memory=memory).transform(paths)

    ours, plain = compare(into_a_new_file, lambda: vit.transform(paths), rounds=5)
    report(f"first run with memory, {what}", "without", f"{ours / plain:.3f}x", "<= 1.05x")


def bench_weights_hash(vit, compare, report):
    model = open_encoder(vit).blocks[0].model

    def anew():
        model.__dict__.pop("weights_hash", None)
        return model.weights_hash

    (ours,) = compare(anew, rounds=3)
    report("identity of the weights of ViT-B-32, once a process", "", f"{ours:.2f} s")
