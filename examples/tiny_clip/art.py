"""Rasterise the artwork and name what each picture shows.

    python art.py ART DATA

writes ``DATA/art.npy``, premultiplied RGBA of shape (n, 80, 80, 4), and ``DATA/art.json``:
one record a picture with its source, its main name, its phrases and whether it may be
mirrored.
"""

import argparse
import io
import json
import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

SIZE = 80

#: Everyday words for Unicode subgroups with technical names.
SUBGROUP_WORDS = {
    "animal-mammal": ["animal", "mammal"],
    "animal-bird": ["animal", "bird"],
    "animal-amphibian": ["animal", "amphibian"],
    "animal-reptile": ["animal", "reptile"],
    "animal-marine": ["animal", "sea animal"],
    "animal-bug": ["animal", "insect", "bug"],
    "cat-face": ["animal", "cat", "face"],
    "monkey-face": ["animal", "monkey", "face"],
    "plant-flower": ["plant", "flower"],
    "plant-other": ["plant"],
    "food-fruit": ["food", "fruit"],
    "food-vegetable": ["food", "vegetable"],
    "food-prepared": ["food", "meal"],
    "food-asian": ["food", "meal", "asian food"],
    "food-sweet": ["food", "sweet", "dessert"],
    "drink": ["drink", "beverage"],
    "place-map": ["map", "place"],
    "place-geographic": ["landscape", "place"],
    "place-building": ["building", "place"],
    "place-religious": ["building", "religious building"],
    "place-other": ["place"],
    "transport-ground": ["vehicle", "transport"],
    "transport-water": ["vehicle", "boat", "transport"],
    "transport-air": ["vehicle", "aircraft", "transport"],
    "sky-weather": ["sky", "weather"],
    "time": ["time", "clock"],
    "musical-instrument": ["musical instrument", "music"],
    "book-paper": ["book", "paper"],
    "country-flag": ["flag", "country flag"],
    "subdivision-flag": ["flag"],
    "light-video": ["light", "video"],
    "arts-crafts": ["art", "craft"],
    "award-medal": ["award", "medal"],
    "body-parts": ["body part"],
    "alphanum": ["sign", "symbol"],
    "geometric": ["shape", "geometric shape"],
    "other-symbol": ["symbol"],
    "av-symbol": ["button", "symbol"],
    "transport-sign": ["sign"],
    "other-object": ["object"],
    "keycap": ["keycap", "symbol"],
}
NO_MIRROR_SUBGROUPS = {
    "country-flag", "subdivision-flag", "arrow", "alphanum", "keycap", "av-symbol",
    "punctuation", "currency", "zodiac", "religion", "gender", "math", "time",
    "hand-single-finger",
}  # fmt: skip
NO_MIRROR_WORDS = re.compile(r"\b(left|right|clock|flag|letter|sign|arrow|text|button)\b", re.I)
NOISE_WORDS = {
    "clipart", "clip art", "openclipart", "public domain", "image", "svg", "unsorted",
    "special", "media", "externalsource", "other", "www", "none", "color", "black and white",
    "contour", "unchecked", "line art", "png", "inkscape", "signs and symbol", "hash", "theme",
    "flat theme", "lemon theme", "lemon theme icon", "lemon svg theme", "signs and symbols",
}  # fmt: skip
DIGITS = "zero one two three four five six seven eight nine".split()


def words(text):
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def squeezed(text):
    return words(text).replace(" ", "")


class EmojiNames:
    """Names, tags and group words of every emoji, found by code point or by name."""

    def __init__(self, root):
        base = root / "emojibase-data"
        emoji = json.loads((base / "en/data.json").read_text())
        subgroups = json.loads((base / "meta/groups.json").read_text())["subgroups"]
        unicode_names = json.loads((base / "meta/unicode-names.json").read_text())
        keywords = json.loads((root / "emojilib/dist/emoji-en-US.json").read_text())
        self.by_code, self.by_name = {}, {}
        for item in emoji:
            subgroup = subgroups.get(str(item.get("subgroup")), "")
            label = words(item["label"].removeprefix("flag: "))
            label = re.sub(r"^keycap (\d)$", lambda m: DIGITS[int(m[1])], label)
            group = SUBGROUP_WORDS.get(subgroup) or [
                part for part in subgroup.split("-")[:1] if part
            ]
            tags = [words(tag) for tag in item.get("tags", [])]
            tags += [
                words(tag.replace("_", " "))
                for tag in keywords.get(item["emoji"], [])
                if re.fullmatch(r"[a-z_]{3,}", tag)
            ]
            record = {
                "code": item["hexcode"],
                "subgroup": subgroup,
                "name": label,
                "group": group,
                "phrases": sorted({label, *group, *filter(None, tags)}),
                "mirror": subgroup not in NO_MIRROR_SUBGROUPS
                and not NO_MIRROR_WORDS.search(item["label"]),
            }
            self.by_code[self._key(item["hexcode"])] = record
            for name in (
                item["label"],
                item["label"].replace("flag: ", "flag for "),
                unicode_names.get(item["hexcode"].split("-")[0], ""),
            ):
                self.by_name.setdefault(squeezed(name), record)
        self.by_name.pop("", None)

    @staticmethod
    def _key(code):
        return "-".join(part for part in code.upper().split("-") if part != "FE0F")

    def of_code(self, code):
        return self.by_code.get(self._key(code))

    def of_name(self, name):
        return self.by_name.get(squeezed(name))


def fitted(image):
    """Centre a picture on a transparent square and shrink it, with premultiplied alpha."""
    image = image.convert("RGBA")
    box = image.getchannel("A").getbbox()
    if box is None:
        return None
    image = image.crop(box)
    side = max(image.size)
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(square.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.BOX))


def from_svg(svg):
    png = resvg_py.svg_to_bytes(svg_string=svg, width=160, skip_system_fonts=True)
    return fitted(Image.open(io.BytesIO(bytes(png))))


def iconify(root, name, names):
    """Pictures of one iconify set. Emoji sets are limited to emoji with names in the Unicode data."""
    icons = json.loads((root / name / "icons.json").read_text())
    codes = {
        icon: code for code, icon in json.loads((root / name / "chars.json").read_text()).items()
    }
    for key, icon in icons["icons"].items():
        record = names.of_code(codes[key]) if key in codes else names.of_name(key)
        if record is None and name == "flat-color-icons":
            label = words(key)
            record = {
                "name": label,
                "group": ["icon"],
                "phrases": sorted({label, *label.split(), "icon"}),
                "mirror": not NO_MIRROR_WORDS.search(label),
            }
        if record is None:
            continue
        width = icon.get("width", icons["width"])
        height = icon.get("height", icons["height"])
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        pixels = from_svg(svg)
        if pixels is not None:
            yield pixels, {**record, "source": name}


def fluent_3d(root, names):
    for path in sorted((root / "fluent-emoji-3d/assets").glob("*.webp")):
        record = names.of_code(path.stem)
        if record is not None:
            with Image.open(path) as image:
                pixels = fitted(image)
            if pixels is not None:
                yield pixels, {**record, "source": "fluent-emoji-3d"}


def clipart_phrases(svg, path):
    """Title, keywords and folder names of an Open Clip Art picture; None unless it is public domain."""
    licences = re.findall(r'<(?:cc:)?license\s+rdf:resource\s*=\s*"([^"]*)"', svg)
    if not licences or any("publicdomain" not in squeezed(link) for link in licences):
        return None
    title = re.search(r"<dc:title>([^<]*)</dc:title>", svg)
    name = re.sub(r"[\d_]+", " ", title[1]) if title else ""
    phrases = [words(name)] if 0 < len(words(name).split()) <= 4 else []
    phrases += [words(item) for item in re.findall(r"<rdf:li>([^<]*)</rdf:li>", svg)]
    folders = path.split("/")[:-1]
    phrases += [words(re.sub(r"s$", "", folder.replace("_", " "))) for folder in folders]
    return [phrase for phrase in dict.fromkeys(phrases) if phrase and phrase not in NOISE_WORDS]


def clipart_pixels(path):
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(path) as image:
            image.thumbnail((320, 320))
            return fitted(image)
    except (OSError, ValueError):
        return None


def clipart(root):
    """Open Clip Art without near-duplicates, and without keywords that only one picture has."""
    base = root / "openclipart/usr/share/openclipart"
    found = []
    for path in sorted((base / "svg").rglob("*.svg")):
        relative = path.relative_to(base / "svg").as_posix()
        phrases = clipart_phrases(path.read_text(errors="replace"), relative)
        png = base / "png" / Path(relative).with_suffix(".png")
        if phrases and png.exists():
            found.append((png, phrases))
    common = Counter(phrase for _, phrases in found for phrase in phrases)
    kept = [(png, [p for p in phrases if common[p] > 2]) for png, phrases in found]
    kept = [(png, phrases) for png, phrases in kept if phrases]
    seen = set()
    with ProcessPoolExecutor() as pool:
        pictures = pool.map(clipart_pixels, [png for png, _ in kept], chunksize=16)
        for (_, phrases), pixels in zip(kept, pictures, strict=True):
            if pixels is None:
                continue
            small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX))
            look = (small >> 5).tobytes()
            if look in seen:
                continue
            seen.add(look)
            yield (
                pixels,
                {
                    "source": "openclipart",
                    "name": phrases[0],
                    "group": phrases[-1:],
                    "phrases": phrases,
                    "mirror": not any(NO_MIRROR_WORDS.search(phrase) for phrase in phrases),
                },
            )


def collect(root, out):
    names = EmojiNames(root)
    pictures, records = [], []
    sets = ["noto", "noto-v1", "fxemoji", "fluent-emoji-flat", "flat-color-icons"]
    sources = [iconify(root, name, names) for name in sets]
    for source in [*sources, fluent_3d(root, names), clipart(root)]:
        for pixels, record in source:
            pictures.append(pixels)
            records.append(record)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "art.npy", np.stack(pictures))
    (out / "art.json").write_text(json.dumps(records))
    print(len(records), "pictures", dict(Counter(record["source"] for record in records)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("art", type=Path, help="folder that fetch.py filled")
    parser.add_argument("data", type=Path, help="folder for the rasterised pictures")
    arguments = parser.parse_args()
    collect(arguments.art, arguments.data)
