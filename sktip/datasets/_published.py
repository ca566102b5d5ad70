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

    ImportError
        If ``as_frame=True`` and pandas is not installed.

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
        f"there is no data set {name!r}.{hint} Pass one of {', '.join(map(repr, LAYOUTS))}."
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
        Part of the split."""
_IMAGENET_SUBSETS = """subset : {"train", "test"}, default="train"
        Part of the data set. ImageNet's validation images are ``"test"``, as in published results."""

_LOADER_DOC = """Load {title}: {about}.

    Nothing is downloaded. The images must be in ``{images_in}``, and the names of the classes in
    ``root/{folder}/{split}``. CoOp's guide [2]_ says where to get both.

    Read more in the :ref:`User Guide <guide_paper_table>`.

    Parameters
    ----------
    root : str or path
        The folder that contains ``{folder}``.

    {subsets}

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
            the name of each image.
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
        If `subset` is unknown, or if a file of the split has errors: the message gives the file, the
        row and the error.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

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
    Fit a classifier on four shots per class:

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
