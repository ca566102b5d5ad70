"""Folders and files of the paper's eleven data sets, and how their splits are read.

The folders, the splits and the names of the files are those of CoOp's collection, which
Tip-Adapter uses. The files come from other people, so they are checked row by row.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sktip.datasets._folder import list_class_folders
from sktip.datasets._walk import some

SUBSETS = ("train", "val", "test")
GUIDE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"

#: Matches paths that may lead out of the image folder.
_LEADS_AWAY = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")


class Layout(NamedTuple):
    """One data set: its description, and where its files are."""

    title: str
    about: str
    folder: str  # below the root of all data sets
    images: str  # folder of the images, below `folder`
    split: str  # file of the classes, below `folder`
    home: str

    def existing(self, path: Path, kind: str, holds: str) -> Path:
        """Return `path`, or raise an error that says where to get the file or folder."""
        if path.is_dir() if kind == "folder" else path.is_file():
            return path
        raise FileNotFoundError(
            f"{path}: no such {kind}. It should contain {holds}. sktip downloads nothing: get the images of "
            f"{self.title} from {self.home}, and the rest as described in {GUIDE}."
        )


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "imagenet": Layout(
            "ImageNet",
            "1,000 classes of things and animals",
            "imagenet",
            "images",
            "classnames.txt",
            "https://www.image-net.org",
        ),
        "caltech101": Layout(
            "Caltech101",
            "objects of 100 classes",
            "caltech-101",
            "101_ObjectCategories",
            "split_zhou_Caltech101.json",
            "https://data.caltech.edu/records/mzrjq-6wc02",
        ),
        "dtd": Layout(
            "DescribableTextures",
            "47 kinds of texture",
            "dtd",
            "images",
            "split_zhou_DescribableTextures.json",
            "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        ),
        "eurosat": Layout(
            "EuroSAT",
            "10 kinds of land, seen by a satellite",
            "eurosat",
            "2750",
            "split_zhou_EuroSAT.json",
            "https://github.com/phelber/EuroSAT",
        ),
        "fgvc_aircraft": Layout(
            "FGVCAircraft",
            "100 variants of aircraft",
            "fgvc_aircraft",
            "images",
            "variants.txt",
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        ),
        "food101": Layout(
            "Food101",
            "101 dishes",
            "food-101",
            "images",
            "split_zhou_Food101.json",
            "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        ),
        "oxford_flowers": Layout(
            "OxfordFlowers",
            "102 species of flowers",
            "oxford_flowers",
            "jpg",
            "split_zhou_OxfordFlowers.json",
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ),
        "oxford_pets": Layout(
            "OxfordPets",
            "37 breeds of cats and dogs",
            "oxford_pets",
            "images",
            "split_zhou_OxfordPets.json",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        ),
        "stanford_cars": Layout(
            "StanfordCars",
            "196 models of cars",
            "stanford_cars",
            "",
            "split_zhou_StanfordCars.json",
            "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        ),
        "sun397": Layout(
            "SUN397",
            "397 kinds of scenes",
            "sun397",
            "SUN397",
            "split_zhou_SUN397.json",
            "https://vision.princeton.edu/projects/2010/SUN/",
        ),
        "ucf101": Layout(
            "UCF101",
            "101 human actions, the middle frames of videos",
            "ucf101",
            "UCF-101-midframes",
            "split_zhou_UCF101.json",
            "https://www.crcv.ucf.edu/data/UCF101.php",
        ),
    }
)


class Labelled(NamedTuple):
    """The images of one subset; a label indexes the names of all classes."""

    paths: list[str]
    labels: list[int]
    class_names: list[str]


def read_split(key: str, root: Path, subset: str) -> Labelled:
    """Read one subset of a data set, and check that its images exist."""
    layout = LAYOUTS[key]
    folder = layout.existing(
        root / layout.folder,
        "folder",
        f"the images and the split of {layout.title}; `root` is the folder of all data sets",
    )
    split = layout.existing(folder / layout.split, "file", "the names of the classes")
    images = layout.existing(folder / layout.images, "folder", "the images")
    read = {"imagenet": _read_imagenet, "fgvc_aircraft": _read_aircraft}.get(key, _read_json)
    return read(layout, split, images, subset)


def _read_json(layout: Layout, split: Path, images: Path, subset: str) -> Labelled:
    """Read a split file: three lists, whose rows are path, label and class name."""
    parts = _json_parts(split)
    names: dict[int, str] = {}
    for part in SUBSETS:
        for index, row in enumerate(parts[part]):
            fault = _row_fault(row) or _name_fault(row, names)
            if fault:
                raise ValueError(f"{split}: row {index} of {part!r} is {row!r:.200}: {fault}.")
    labels = sorted(names)
    gaps = [number for number, label in enumerate(labels) if number != label]
    if gaps:
        raise ValueError(
            f"{split}: no row has the label {gaps[0]}, but some have {labels[-1]}; labels must count the "
            "classes from 0 without gaps."
        )
    rows = parts[subset]
    return Labelled(
        _existing_images(images, [row[0] for row in rows], f"{split} lists as {subset!r}"),
        [row[1] for row in rows],
        [names[label] for label in labels],
    )


def _json_parts(split: Path) -> dict[str, list]:
    try:
        parts = json.loads(split.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{split} is not a JSON file ({type(error).__name__}: {error}). Its download may be incomplete, or a "
            f"web page; get it again, see {GUIDE}."
        ) from error
    if not isinstance(parts, dict):
        raise ValueError(
            f"{split} contains a {type(parts).__name__}; expected an object with the keys 'train', 'val' and "
            "'test'."
        )
    for part in SUBSETS:
        if part not in parts:
            raise ValueError(f"{split} has no key {part!r}; its keys are {some(parts)}.")
        if not isinstance(parts[part], list):
            raise ValueError(
                f"{split}: {part!r} is a {type(parts[part]).__name__}; expected a list of rows."
            )
    return parts


def _row_fault(row: Any) -> str | None:
    match row:
        case [str(path), int(label), str(name)] if not isinstance(label, bool):
            if not path or _LEADS_AWAY.search(path):
                return "the path must be relative, and must not lead out of the image folder"
            if label < 0:
                return "the label is negative; labels count the classes from 0"
            return None if name.strip() else "the class name is empty"
        case [_, label, _] if not isinstance(label, int) or isinstance(label, bool):
            return f"the label is of type {type(label).__name__}; labels must be integers"
        case _:
            return "expected [relative path, integer label, class name]"


def _name_fault(row: Sequence, names: dict[int, str]) -> str | None:
    known = names.setdefault(row[1], row[2])
    return (
        None
        if known == row[2]
        else f"an earlier row with the label {row[1]} has the name {known!r}"
    )


def _read_aircraft(layout: Layout, split: Path, images: Path, subset: str) -> Labelled:
    """Read the names of the variants, and the lines "image-number variant" of a subset."""
    names = [name for _, name in _lines(split)]
    codes = {name: code for code, name in enumerate(names)}
    if len(codes) < len(names):
        twice = [name for code, name in enumerate(names) if codes[name] != code]
        raise ValueError(f"{split} names {some(twice)} more than once.")
    listing = layout.existing(
        split.with_name(f"images_variant_{subset}.txt"),
        "file",
        f"the numbers and variants of the {subset!r} images",
    )
    paths, labels = [], []
    for line, text in _lines(listing):
        number, _, name = text.partition(" ")
        if name not in codes:
            raise ValueError(f"{listing}, line {line}: {name!r} is not a name in {split.name}.")
        if _LEADS_AWAY.search(number):
            raise ValueError(f"{listing}, line {line}: {number!r} is not the name of an image.")
        paths.append(f"{number}.jpg")
        labels.append(codes[name])
    return Labelled(_existing_images(images, paths, f"{listing} lists"), labels, names)


def _read_imagenet(layout: Layout, split: Path, images: Path, subset: str) -> Labelled:
    """List the class folders of ImageNet, whose validation images are the test set here."""
    if subset == "val":
        raise ValueError(
            "ImageNet has no subset='val': its validation images are subset='test', as in published results. "
            "Hold out images of subset='train' instead, for example with FewShotSplit."
        )
    names: dict[str, str] = {}
    for line, text in _lines(split):
        wnid, _, name = text.partition(" ")
        if not name or wnid in names:
            fault = "occurs twice" if wnid in names else "has no class name"
            raise ValueError(f"{split}, line {line}: {wnid!r} {fault}.")
        names[wnid] = name
    part = "train" if subset == "train" else "val"
    folder = layout.existing(images / part, "folder", "a folder of images for each class")
    found = list_class_folders(os.fspath(folder)).images
    for wrong, why in (
        (names.keys() - found.keys(), f"classes of {split.name} have no folder in {folder}"),
        (found.keys() - names.keys(), f"folders in {folder} are not in {split.name}"),
    ):
        if wrong:
            raise ValueError(f"{len(wrong):,} {why}: {some(sorted(wrong))}.")
    wnids = sorted(names)
    return Labelled(
        [path for wnid in wnids for path in found[wnid]],
        [label for label, wnid in enumerate(wnids) for _ in found[wnid]],
        [names[wnid] for wnid in wnids],
    )


def _lines(file: Path) -> list[tuple[int, str]]:
    """Lines with their numbers, counted from 1. Empty lines are skipped."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file in UTF-8 ({error}).") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ValueError(f"{file} is empty.")
    return numbered


def _existing_images(images: Path, relative: list[str], listed_by: str) -> list[str]:
    """Absolute paths of images that must exist; listing folders avoids a check of every file."""
    if not relative:
        raise ValueError(f"there are no images that {listed_by}.")
    listed: dict[str, tuple[str, set[str]]] = {}
    paths, missing = [], []
    for path in relative:
        parent, _, name = path.rpartition("/")
        if parent not in listed:
            folder = os.path.normpath(images / parent)
            listed[parent] = folder, set(os.listdir(folder)) if os.path.isdir(folder) else set()
        folder, names = listed[parent]
        paths.append(os.path.join(folder, name))
        # Some file systems open a name that their listing spells differently.
        if name not in names and not os.path.isfile(paths[-1]):
            missing.append(path)
    if missing:
        lost = [parent for parent, (folder, _) in listed.items() if not os.path.isdir(folder)]
        folders = f" There is no folder {some(lost)} ({len(lost):,} in all)." if lost else ""
        raise FileNotFoundError(
            f"{len(missing):,} of {len(relative):,} images that {listed_by} are not in {images}: "
            f"{some(missing)}.{folders}"
        )
    return paths
