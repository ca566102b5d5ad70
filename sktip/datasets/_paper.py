"""The paper's eleven data sets, in the folders and files of CoOp's collection, which Tip-Adapter uses.

The files come from other people, so they are checked row by row.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sktip._images.folders import check_files, list_folder
from sktip._utils.messages import some
from sktip.datasets._bunch import as_bunch
from sktip.datasets._folder import class_folders
from sktip.prompts import TEMPLATES

SUBSETS = ("train", "val", "test")
GUIDE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"

#: Matches paths that may lead out of the image folder.
_LEADS_AWAY = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\0")


class Layout(NamedTuple):
    """One data set: its description, and where its files are."""

    title: str
    about: str
    images: str  # folder of the images, below the root of all data sets
    home: str
    classes: str = ""  # file of the classes, if it is not the split file

    @property
    def folder(self) -> str:
        """Folder of the data set, below the root."""
        return self.images.partition("/")[0]

    @property
    def split(self) -> str:
        """File of the classes, below the root."""
        return f"{self.folder}/{self.classes or f'split_zhou_{self.title}.json'}"

    def existing(self, path: Path, holds: str) -> Path:
        """Return `path`, or raise an error that says where to get the file or folder."""
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such {'file' if path.suffix else 'folder'}. It should contain {holds}. sktip downloads "
                f"nothing: get the images of {self.title} from {self.home}, and the rest as described in {GUIDE}."
            )
        return path


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "imagenet": Layout(
            "ImageNet", "1,000 classes of things and animals", "imagenet/images",
            "https://www.image-net.org", "classnames.txt",
        ),
        "caltech101": Layout(
            "Caltech101", "objects of 100 classes", "caltech-101/101_ObjectCategories",
            "https://data.caltech.edu/records/mzrjq-6wc02",
        ),
        "dtd": Layout(
            "DescribableTextures", "47 kinds of texture", "dtd/images",
            "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        ),
        "eurosat": Layout(
            "EuroSAT", "10 kinds of land, seen by a satellite", "eurosat/2750",
            "https://github.com/phelber/EuroSAT",
        ),
        "fgvc_aircraft": Layout(
            "FGVCAircraft", "100 variants of aircraft", "fgvc_aircraft/images",
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/", "variants.txt",
        ),
        "food101": Layout(
            "Food101", "101 dishes", "food-101/images",
            "https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        ),
        "oxford_flowers": Layout(
            "OxfordFlowers", "102 species of flowers", "oxford_flowers/jpg",
            "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ),
        "oxford_pets": Layout(
            "OxfordPets", "37 breeds of cats and dogs", "oxford_pets/images",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/",
        ),
        "stanford_cars": Layout(
            "StanfordCars", "196 models of cars", "stanford_cars",
            "https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        ),
        "sun397": Layout(
            "SUN397", "397 kinds of scenes", "sun397/SUN397",
            "https://vision.princeton.edu/projects/2010/SUN/",
        ),
        "ucf101": Layout(
            "UCF101", "101 human actions, the middle frames of videos", "ucf101/UCF-101-midframes",
            "https://www.crcv.ucf.edu/data/UCF101.php",
        ),
    }
)  # fmt: skip

#: Other names of data sets; case, spaces and dashes are ignored anyway.
_OTHER_NAMES = {
    "describabletextures": "dtd",
    "fgvc": "fgvc_aircraft",
    "flowers102": "oxford_flowers",
}


def load_dataset(
    name: str,
    root: str | os.PathLike,
    *,
    subset: str = "train",
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load one of the paper's eleven data sets by name, for scripts that run over several.

    Each data set also has its own loader, such as `load_eurosat`.

    Read more in the :ref:`User Guide <guide_paper_table>`.

    Parameters
    ----------
    name : str
        A key of ``sktip.prompts.TEMPLATES``, or the name in the paper, such as ``"OxfordPets"``
        for ``"oxford_pets"``.

    root : str or path
        Folder of all data sets, each in a subfolder named as in CoOp's guide [1]_.

    subset : {"train", "val", "test"}, default="train"
        Part of the data set. ImageNet has no ``"val"``: its validation images are ``"test"``.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        Whether to return `data` and `target` as pandas Series, and `frame` as a DataFrame.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, in the order of the split.
        target : ndarray of shape (n,), or Series
            Label of each image: an integer that indexes `target_names`.
        target_names : ndarray of shape (C,)
            Names of all classes, for `class_names` of a classifier. ``target_names[target]`` is
            the class name of each image. Two classes may have the same name, such as "sunglasses" in
            ImageNet.
        templates : tuple of str
            The published templates, for `templates` of a classifier.
        name : str
            Key of the data set in ``sktip.prompts.TEMPLATES``.
        frame : DataFrame of shape (n, 2) or None
            Table with the columns ``path`` and ``target``. None with ``as_frame=False``.
        DESCR : str
            Description and source of the data.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    Raises
    ------
    FileNotFoundError
        If a folder, the split or an image is missing. The message says where to get it.

    ValueError
        If `name` or `subset` is unknown, or if the split has errors: the message gives the file, the
        row and the error. A path to an image outside of the data set is such an error.

    See Also
    --------
    load_image_folder : Load images from a folder with one subfolder per class.
    sktip.model_selection.FewShotSplit : Draw shots from the images.

    References
    ----------
    .. [1] https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md

    .. [2] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930, section 4.1.

    Examples
    --------
    Load a miniature of EuroSAT:

    >>> import json
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sktip.datasets import load_dataset
    >>> split = {
    ...     "train": [["River/1.jpg", 1, "River"], ["Forest/1.jpg", 0, "Forest"]],
    ...     "val": [],
    ...     "test": [],
    ... }
    >>> with TemporaryDirectory() as root:
    ...     for path, _, _ in split["train"]:
    ...         image = Path(root, "eurosat", "2750", path)
    ...         image.parent.mkdir(parents=True)
    ...         Image.new("RGB", (8, 8)).save(image)
    ...     file = Path(root, "eurosat", "split_zhou_EuroSAT.json")
    ...     _ = file.write_text(json.dumps(split))
    ...     eurosat = load_dataset("eurosat", root)
    >>> eurosat.target
    array([1, 0])
    >>> print(eurosat.target_names[eurosat.target])
    ['River' 'Forest']
    >>> eurosat.templates
    ('a centered satellite photo of {}.',)
    """
    key = _key(name)
    if subset not in SUBSETS:
        raise ValueError(f"subset={subset!r} is unknown; pass 'train', 'val' or 'test'.")
    layout, root = LAYOUTS[key], Path(os.path.abspath(os.path.expanduser(root)))
    layout.existing(
        root / layout.folder,
        f"the images and the split of {layout.title}; `root` is the folder of all data sets",
    )
    split = layout.existing(root / layout.split, "the names of the classes")
    images = layout.existing(root / layout.images, "the images")
    read = {"imagenet": _read_imagenet, "fgvc_aircraft": _read_aircraft}.get(key, _read_json)
    paths, labels, class_names = read(layout, split, images, subset)
    return as_bunch(
        paths,
        np.array(labels),
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=np.array(class_names),
        templates=TEMPLATES[key],
        name=key,
        DESCR=(
            f"{layout.title}, {layout.about}. Subset {subset!r}: {len(paths):,} images of "
            f"{len(class_names):,} classes. "
            f"Images: {layout.home}. Split: {GUIDE}."
        ),
    )


def _key(name: str) -> str:
    known = {re.sub("[^a-z0-9]", "", key): key for key in LAYOUTS} | _OTHER_NAMES
    plain = re.sub("[^a-z0-9]", "", str(name).lower())
    if plain in known:
        return known[plain]
    near = {known[match]: None for match in difflib.get_close_matches(plain, known)}
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(
        f"there is no data set {name!r}.{hint} Pass one of {', '.join(map(repr, LAYOUTS))}."
    )


#: Paths of images, a label for each, and the class names that the labels index.
Split = tuple[list[str], list[int], list[str]]


def _read_json(layout: Layout, split: Path, images: Path, subset: str) -> Split:
    """Read a split file: three lists, whose rows are path, label and class name."""
    try:
        parts = json.loads(split.read_text("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{split} is not a JSON file ({type(error).__name__}: {error}). Its download may be incomplete, or a "
            f"web page; get it again, see {GUIDE}."
        ) from error
    if not isinstance(parts, dict) or not all(isinstance(parts.get(k), list) for k in SUBSETS):
        raise ValueError(
            f"{split} has no lists 'train', 'val' and 'test'; get it again, see {GUIDE}."
        )
    names: dict[int, str] = {}
    for part in SUBSETS:
        for index, row in enumerate(parts[part]):
            fault = _fault(row, names)
            if fault:
                raise ValueError(f"{split}: row {index} of {part!r} is {row!r:.200}: {fault}.")
    if names and max(names) != len(names) - 1:
        raise ValueError(
            f"{split}: labels must count the {len(names)} classes from 0 without gaps, but one is {max(names)}."
        )
    rows = parts[subset]
    return (
        _existing_images(images, [row[0] for row in rows], f"part {subset!r} of {split}"),
        [row[1] for row in rows],
        [names[label] for label in range(len(names))],
    )


def _fault(row: Any, names: dict[int, str]) -> str | None:
    """Say what is wrong with a row of a split file; `names` are those of the labels so far."""
    match row:
        case [str(path), int(label), str(name)] if (
            path and label >= 0 and name.strip() and not isinstance(label, bool)
        ):
            if _LEADS_AWAY.search(path):
                return "the path must be relative, and must not lead out of the image folder"
            known = names.setdefault(label, name)
            if known != name:
                return f"an earlier row with the label {label} has the name {known!r}"
            return None
        case _:
            return "expected [relative path, integer label from 0 on, class name]"


def _read_aircraft(layout: Layout, split: Path, images: Path, subset: str) -> Split:
    """Read the names of the variants, and the lines "image-number variant" of a subset."""
    names = [name for _, name in _lines(split)]
    codes = {name: code for code, name in enumerate(names)}
    if len(codes) < len(names):
        twice = {name for code, name in enumerate(names) if codes[name] != code}
        raise ValueError(f"{split} names {some(sorted(twice))} more than once.")
    listing = layout.existing(
        split.with_name(f"images_variant_{subset}.txt"),
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
    return _existing_images(images, paths, os.fspath(listing)), labels, names


def _read_imagenet(layout: Layout, split: Path, images: Path, subset: str) -> Split:
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
    part = images / ("train" if subset == "train" else "val")
    listing = list_folder(layout.existing(part, "a folder of images for each class"))
    found = [wnid for (wnid,) in class_folders(listing, 1)]
    for wrong, why in (
        (names.keys() - set(found), f"classes of {split.name} have no folder in {part}"),
        (set(found) - names.keys(), f"folders in {part} are not in {split.name}"),
    ):
        if wrong:
            raise ValueError(f"{len(wrong):,} {why}: {some(sorted(wrong))}.")
    codes = {wnid: code for code, wnid in enumerate(sorted(names))}
    return listing.images, [codes[wnid] for wnid in found], [names[wnid] for wnid in codes]


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


def _existing_images(images: Path, relative: list[str], source: str) -> list[str]:
    """Absolute paths of the images that a file lists, which must exist."""
    if not relative:
        raise ValueError(f"{source} lists no images.")
    paths = [os.path.normpath(images / path) for path in relative]
    check_files(paths, relative, source, os.fspath(images))
    return paths


def _loader(key: str):
    """Make the loader of one data set."""

    def load(
        root: str | os.PathLike,
        *,
        subset: str = "train",
        return_X_y: bool = False,
        as_frame: bool = False,
    ) -> Any:
        return load_dataset(key, root, subset=subset, return_X_y=return_X_y, as_frame=as_frame)

    layout = LAYOUTS[key]
    load.__name__ = load.__qualname__ = f"load_{key}"
    load.__doc__ = _LOADER_DOC.format(
        key=key,
        guide=GUIDE,
        folder=layout.folder,
        split=layout.split,
        subsets='"train", "test"' if key == "imagenet" else '"train", "val", "test"',
        **layout._asdict(),
    )
    return load


_LOADER_DOC = """Load {title}: {about}.

    Nothing is downloaded. The images must be in ``root/{images}``, and the names of the classes in
    ``root/{split}``. CoOp's guide [2]_ says where to get both.

    Read more in the :ref:`User Guide <guide_paper_table>`.

    Parameters
    ----------
    root : str or path
        The folder that contains ``{folder}``.

    subset : {{{subsets}}}, default="train"
        Part of the data set.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        Whether to return `data` and `target` as pandas Series, and `frame` as a DataFrame.

    Returns
    -------
    data : Bunch
        What `load_dataset` returns: paths in ``data``, labels in ``target``, which index the class names
        in ``target_names``, and the published ``templates``.

    (data, target) : tuple, with ``return_X_y=True``
        Paths and labels.

    See Also
    --------
    load_dataset : Load any of the eleven data sets by name.
    sktip.model_selection.FewShotSplit : Draw shots from the images.

    References
    ----------
    .. [1] {home}

    .. [2] {guide}

    Examples
    --------
    >>> from sktip import FewShotClassifier
    >>> from sktip.datasets import load_{key}
    >>> data = load_{key}("data")  # doctest: +SKIP
    >>> own = {{"class_names": data.target_names, "templates": data.templates}}  # doctest: +SKIP
    >>> clf = FewShotClassifier(clip, **own).fit(data.data, data.target)  # doctest: +SKIP
    """

load_imagenet = _loader("imagenet")
load_caltech101 = _loader("caltech101")
load_dtd = _loader("dtd")
load_eurosat = _loader("eurosat")
load_fgvc_aircraft = _loader("fgvc_aircraft")
load_food101 = _loader("food101")
load_oxford_flowers = _loader("oxford_flowers")
load_oxford_pets = _loader("oxford_pets")
load_stanford_cars = _loader("stanford_cars")
load_sun397 = _loader("sun397")
load_ucf101 = _loader("ucf101")
