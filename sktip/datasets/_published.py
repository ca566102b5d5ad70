"""The paper's eleven data sets."""

import difflib
import os
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sktip.datasets._bunch import as_bunch
from sktip.datasets._layouts import GUIDE, LAYOUTS, SUBSETS, read_split
from sktip.prompts import TEMPLATES

#: Other names of data sets, beyond what differs in capitals, spaces and dashes only.
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
    """Load one of the paper's eleven data sets by its name, in scripts that run over several.

    Each data set has a loader of its own too, such as `load_eurosat`.

    Read more in the :ref:`User Guide <guide_paper_table>`.

    Parameters
    ----------
    name : str
        A key of ``sktip.prompts.TEMPLATES``, or the name in the paper, such as ``"OxfordPets"``
        for ``"oxford_pets"``.

    root : str or path
        The folder in which all data sets lie, each in the folder that CoOp's guide names [1]_.

    subset : {"train", "val", "test"}, default="train"
        Which images. ImageNet has no ``"val"``: its validation images are ``"test"``.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone.

    as_frame : bool, default=False
        Whether data and target are pandas Series, and `frame` is a DataFrame.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, in the order of the split.
        target : ndarray of shape (n,), or Series
            Label of each image: an integer that indexes `target_names`.
        target_names : ndarray of shape (C,)
            Names of all classes, for `class_names` of a classifier. ``target_names[target]`` is
            the name of each image; two classes may have the same, as two of ImageNet are called
            "sunglasses".
        templates : tuple of str
            The published templates, for `templates` of a classifier.
        name : str
            Key of the data set in ``sktip.prompts.TEMPLATES``.
        frame : DataFrame of shape (n, 2) or None
            The columns ``path`` and ``target``; None with ``as_frame=False``.
        DESCR : str
            What the data are and where they come from.

    (data, target) : tuple, with ``return_X_y=True``
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If a folder, the split or an image is missing; where to get it is named.

    ValueError
        If there is no such data set or subset, or the split is not what it should be: the file,
        the row and the fault are named. A path that leads out of the data set is refused.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

    See Also
    --------
    load_image_folder : A folder of images for each class.
    sktip.model_selection.FewShotSplit : Draws shots from the images.

    References
    ----------
    .. [1] https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md

    .. [2] R. Zhang et al., "Tip-Adapter: Training-free CLIP-Adapter for better
       vision-language modeling", arXiv:2111.03930, section 4.1.

    Examples
    --------
    A miniature of EuroSAT, and its images and labels:

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
        raise ValueError(f"subset={subset!r}; it is 'train', 'val' or 'test'.")
    root = os.path.abspath(os.path.expanduser(root))
    paths, labels, class_names = read_split(key, Path(root), subset)
    layout = LAYOUTS[key]
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
        f"there is no data set {name!r}.{hint} Known are {', '.join(map(repr, LAYOUTS))}."
    )


class _Loader(Protocol):
    __name__: str

    def __call__(
        self,
        root: str | os.PathLike,
        *,
        subset: str = "train",
        return_X_y: bool = False,
        as_frame: bool = False,
    ) -> Any: ...


def _loader(key: str) -> _Loader:
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
        images_in="/".join(filter(None, ("root", layout.folder, layout.images))),
        subsets=_IMAGENET_SUBSETS if key == "imagenet" else _SUBSETS,
        **layout._asdict(),
    )
    return load


_SUBSETS = """subset : {"train", "val", "test"}, default="train"
        Which images of the split."""
_IMAGENET_SUBSETS = """subset : {"train", "test"}, default="train"
        Which images. ImageNet's validation images are ``"test"``, as in the published results."""

_LOADER_DOC = """Load {title}: {about}.

    Nothing is downloaded. The images lie below ``{images_in}``, and
    ``root/{folder}/{split}`` names the classes; CoOp's guide [2]_ says where to get both.

    Read more in the :ref:`User Guide <guide_paper_table>`.

    Parameters
    ----------
    root : str or path
        The folder in which ``{folder}`` lies.

    {subsets}

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone.

    as_frame : bool, default=False
        Whether data and target are pandas Series, and `frame` is a DataFrame.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, in the order of the split.
        target : ndarray of shape (n,), or Series
            Label of each image: an integer that indexes `target_names`.
        target_names : ndarray of shape (C,)
            Names of all classes, for `class_names` of a classifier. ``target_names[target]`` is
            the name of each image.
        templates : tuple of str
            The published templates, for `templates` of a classifier.
        name : str
            Key of the data set in ``sktip.prompts.TEMPLATES``.
        frame : DataFrame of shape (n, 2) or None
            The columns ``path`` and ``target``; None with ``as_frame=False``.
        DESCR : str
            What the data are and where they come from.

    (data, target) : tuple, with ``return_X_y=True``
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If a folder, the split or an image is missing; where to get it is named.

    ValueError
        If there is no such subset, or a file of the split is not what it should be: the file,
        the row and the fault are named.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

    See Also
    --------
    load_dataset : Any of the eleven data sets, by name.
    sktip.model_selection.FewShotSplit : Draws shots from the images.

    References
    ----------
    .. [1] {home}

    .. [2] {guide}

    Examples
    --------
    Four shots of each class, and their classifier:

    >>> from sktip import CLIPFeatureTransformer, TipAdapterClassifier
    >>> from sktip.datasets import load_{key}
    >>> from sktip.model_selection import FewShotSplit
    >>> data = load_{key}("data")  # doctest: +SKIP
    >>> X, y = data.data, data.target  # doctest: +SKIP
    >>> shots, _ = next(FewShotSplit(4, random_state=0).split(X, y))  # doctest: +SKIP
    >>> clf = TipAdapterClassifier(
    ...     CLIPFeatureTransformer("ViT-B-32"),
    ...     class_names=data.target_names,
    ...     templates=data.templates,
    ... ).fit(X[shots], y[shots])  # doctest: +SKIP
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
