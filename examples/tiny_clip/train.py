"""Train the bundled CLIP from scratch, in under an hour on two CPU cores.

    python train.py DATA OUT

reads what ``art.py`` and ``glyphs.py`` wrote and leaves ``OUT/open_clip_config.json`` and
``OUT/open_clip_model.safetensors`` (fp16), a folder that open_clip opens as ``local-dir:OUT``.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torch.nn import functional

from augment import IMAGE_SIZE, art_views, glyph_views
from sktip._encoding.clip import fitting_tokenizer

CONFIG = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": [1, 1, 1, 1],
            "width": 16,
            "head_width": 64,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 4096,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.3, 0.3, 0.3],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}
TEMPLATES = (
    ["{}"] * 4
    + ["a picture of a {}", "a photo of a {}", "a photo of a {}.", "a drawing of a {}"] * 2
    + ["an icon of a {}", "an emoji of a {}", "a picture of {}", "a {}", "the {}", "clip art of {}"]
)
GLYPH_TEMPLATES = ["{}", "the {}", "a picture of {}", "a drawing of the {}", "handwritten {}"]
DIGIT_TEMPLATES = [
    "{}", "the number {}", "the digit {}", "a picture of the number {}", "a photo of the digit {}",
    "a handwritten {}", "number {}", "digit {}", "a picture of {}", "a photo of a {}.",
]  # fmt: skip
DIGITS = "zero one two three four five six seven eight nine".split()


class Pictures:
    """All pictures in memory; for each batch, their views, their captions and the matching pairs."""

    def __init__(self, data, seed):
        self.art = torch.from_numpy(np.load(data / "art.npy"))
        self.glyphs = torch.from_numpy(np.load(data / "glyphs.npy"))
        self.records = json.loads((data / "art.json").read_text())
        self.mirror = torch.tensor([record["mirror"] for record in self.records])
        self.records += json.loads((data / "glyphs.json").read_text())
        self.phrases = [frozenset(record["phrases"]) for record in self.records]
        self.generator = torch.Generator().manual_seed(seed)
        self.rng = np.random.default_rng(seed)

    def caption(self, record, drawn):
        """One or two phrases that describe a picture, in a template."""
        dice = self.rng.random()
        if dice < 0.45:
            phrases = [record["name"]]
        elif dice < 0.65 and record["group"]:
            phrases = [record["group"][self.rng.integers(len(record["group"]))]]
        else:
            count = min(len(record["phrases"]), 1 + int(self.rng.random() < 0.3))
            phrases = list(self.rng.choice(record["phrases"], count, replace=False))
        templates = TEMPLATES
        if drawn:
            templates = DIGIT_TEMPLATES if phrases[0] in DIGITS else GLYPH_TEMPLATES
        template = templates[self.rng.integers(len(templates))]
        return frozenset(phrases), template.format(" ".join(phrases))

    def batch(self, art_rows, glyph_rows):
        images = torch.cat(
            [
                art_views(self.art[art_rows], self.mirror[art_rows], self.generator),
                glyph_views(self.glyphs[glyph_rows], self.generator),
            ]
        )
        rows = [*art_rows.tolist(), *(len(self.art) + glyph_rows).tolist()]
        captions = [self.caption(self.records[row], row >= len(self.art)) for row in rows]
        match = torch.tensor(
            [[caption <= self.phrases[row] for caption, _ in captions] for row in rows]
        )
        return images, [text for _, text in captions], match.float()


def contrastive_loss(image, text, scale, match):
    """Symmetric InfoNCE loss. A picture and every caption that describes it are positives."""
    logits = scale * image @ text.T
    both = []
    for scores, positives in ((logits, match), (logits.T, match.T)):
        target = positives / positives.sum(1, keepdim=True)
        both.append(-(target * functional.log_softmax(scores, 1)).sum(1).mean())
    return sum(both) / 2


def train(data, out, epochs, batch_size, glyph_share, learning_rate, seed):
    torch.manual_seed(seed)
    pictures = Pictures(data, seed)
    model = open_clip.CLIP(**{**CONFIG["model_cfg"], "quick_gelu": False})
    model = model.to(memory_format=torch.channels_last).train()
    context = CONFIG["model_cfg"]["text_cfg"]["context_length"]
    tokenize = fitting_tokenizer(open_clip.SimpleTokenizer(context_length=context), model)
    decay = [p for p in model.parameters() if p.ndim > 1]
    no_decay = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": no_decay, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
    mean = torch.tensor(CONFIG["preprocess_cfg"]["mean"])[:, None, None]
    std = torch.tensor(CONFIG["preprocess_cfg"]["std"])[:, None, None]
    n_glyphs = round(batch_size * glyph_share)
    n_art = batch_size - n_glyphs
    n_steps = epochs * math.ceil(len(pictures.art) / n_art)
    start, step, recent = time.monotonic(), 0, []
    for epoch in range(epochs):
        order = torch.randperm(len(pictures.art), generator=pictures.generator)
        for rows in order.split(n_art):
            warm = min(1, (step + 1) / 200)
            rate = learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * step / n_steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            glyph_rows = torch.randint(
                len(pictures.glyphs), (n_glyphs,), generator=pictures.generator
            )
            images, texts, match = pictures.batch(rows, glyph_rows)
            images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            image, text, scale = model(images, tokenize(texts))
            loss = contrastive_loss(image, text, scale, match)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            recent.append(loss.item())
            step += 1
            if step % 50 == 0:
                rate = step * batch_size / (time.monotonic() - start)
                print(
                    f"epoch {epoch} step {step} loss {np.mean(recent):.3f} "
                    f"scale {scale.item():.1f} {rate:.0f} images/s",
                    flush=True,
                )
                recent = []
        save(model, out, epoch + 1)


def save(model, out, epoch):
    out.mkdir(parents=True, exist_ok=True)
    state = {
        key: value.contiguous().half() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    save_file(state, out / "open_clip_model.safetensors")
    (out / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    print(f"saved after {epoch} epochs", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with art and glyphs")
    parser.add_argument("out", type=Path, help="folder for the model")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=192)
    parser.add_argument("--glyph-share", type=float, default=0.2)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    train(**vars(arguments))
