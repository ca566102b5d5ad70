"""Load images from folders that are named after their classes."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from sktip._images.folders import NOT_IMAGES, Listing, list_folder
from sktip._utils.messages import composed, some, warn
from sktip.datasets._bunch import as_bunch

#: Names of folders that are parts of a data set, not classes.
PARTS = frozenset("train training val valid validation dev test testing".split())
#: Names of folders below the root, from the outermost on.
Folder = tuple[str, ...]


def load_image_folder(
    root: str | os.PathLike,
    *,
    levels: int | str | None = None,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load your own photos from folders that are named after their classes.

    The names of the folders are the class names and the labels::

        root/golden_retriever/1.jpg
        root/golden_retriever/2.jpg
        root/pug/1.jpg

    Classes may lie in folders of broader classes; `levels` says which folder is the class::

        root/animal/dog/1.jpg
        root/animal/cat/1.jpg
        root/vehicle/bus/1.jpg

    Images are listed, not opened: a damaged image raises an error when it is encoded.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    root : str or path
        Folder of the class folders. If a data set is split into parts, load each of them, such as
        ``"photos/train"`` and ``"photos/test"``.

    levels : int or "all", default=None
        Which folder is the class. With 1, the class of ``root/animal/dog/1.jpg`` is "animal": folders below
        belong to it. With 2, it is "dog", with "animal" as its parent in `tree`. An image that is not
        so deep belongs to its own folder, and so does every image with "all". None is 1, with a warning if images of
        several folders become one class.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        Whether to return `data` and `target` as pandas Series, and `frame` as a DataFrame.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, sorted by the names of folders and file. The order is
            the same on every system. Names that are not valid text are decoded by `os.fsdecode`.
        target : ndarray of shape (n,), or Series
            Label of each image: the name of its class folder, in Unicode's composed form (NFC). Folders
            of the same name in different places are called "cat/other" and "dog/other".
        target_names : ndarray of shape (C,)
            The distinct labels, sorted.
        tree : dict
            For each folder that lies in another one, down to the class folders, the name of the outer
            one: ``{"dog": "animal", "cat": "animal", "bus": "vehicle"}``. Empty with ``levels=1``.
        frame : DataFrame of shape (n, 2) or None
            Table with the columns ``path`` and ``target``. None with ``as_frame=False``.
        DESCR : str
            What was found, how many files were skipped, and why.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    Raises
    ------
    FileNotFoundError
        If `root` does not exist.

    NotADirectoryError
        If `root` is a file.

    ValueError
        If there are no class folders, if one has no images, if there are images outside of them, or if
        the folders are parts of a data set such as "train".

    Warns
    -----
    UserWarning
        If files, links or folders were skipped: how many, and why. Also if folders inside of class folders
        were merged, or if the names of two classes differ only in case. There is one warning for all of these.

    See Also
    --------
    load_image_table : Load images whose labels are in a CSV file.
    load_dataset : Load one of the paper's data sets.
    sktip.model_selection.FewShotSplit : Draw shots from the images.

    Notes
    -----
    Files with these suffixes, in lower or upper case, are images: avif, bmp, dib, gif, heic, heif, hif,
    j2k, jfif, jp2, jpe, jpeg, jpg, mpo, pbm, pgm, png, pnm, ppm, tga, tif, tiff and webp. heic, the
    format of iPhone photos, needs the package pillow-heif, ``pip install "sktip[heif]"``; avif needs
    Pillow 11.3. Without these packages, such files are skipped.

    Files with other suffixes, and folders that cannot be read, are skipped. Links are followed, except
    to a folder that is listed already, such as that of another class. Hidden files and folders,
    whose names begin with a dot, are ignored. A link to a missing image is kept: it raises an error when
    it is encoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sktip.datasets import load_image_folder
    >>> with TemporaryDirectory() as photos:
    ...     for name in ("animal/dog/1.png", "animal/cat/1.png", "animal/cat/2.png"):
    ...         path = Path(photos, name)
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("RGB", (8, 8)).save(path)
    ...     animals = load_image_folder(photos, levels=2)
    >>> print(animals.target)
    ['cat' 'cat' 'dog']
    >>> animals.tree
    {'cat': 'animal', 'dog': 'animal'}
    """
    if levels not in (None, "all") and not (isinstance(levels, int) and levels >= 1):
        raise ValueError(f"levels={levels!r}; pass a number of folders from 1 on, or 'all'.")
    listing = list_folder(root)
    inner = [] if levels is not None else _inner_folders(listing)
    folders = class_folders(listing, None if levels == "all" else int(levels or 1))
    nodes = sorted({parts[:depth] for parts in set(folders) for depth in range(1, len(parts) + 1)})
    names = _names(nodes)
    target = np.array([names[folder] for folder in folders])
    target_names = np.unique(target)
    skipped = listing.reasons()
    descr = (
        f"{len(target):,} images of {len(target_names):,} classes, in folders of {listing.root!r}."
    )
    _warn(listing.root, skipped, inner, target_names.tolist())
    return as_bunch(
        listing.images,
        target,
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=target_names,
        tree={names[node]: names[node[:-1]] for node in nodes if len(node) > 1},
        DESCR=descr + (f" Skipped: {skipped}." if skipped else ""),
    )


def class_folders(listing: Listing, levels: int | None) -> list[Folder]:
    """Class folder of each image: the first `levels` folders, or all of them.

    Raises an error if these are not folders of classes.
    """
    root = listing.root
    layout = f"Expected a folder of images for each class: {os.path.join(root, 'CLASS', 'IMAGE')}."
    # Files beside the class folders, such as a README, are not reported.
    others = listing.skipped[NOT_IMAGES]
    listing.skipped[NOT_IMAGES] = [path for path in others if os.path.dirname(path) != root]
    skipped = f" Skipped: {listing.reasons()}." if listing.reasons() else ""
    loose = [os.path.basename(path) for path in listing.images if os.path.dirname(path) == root]
    if loose:
        raise ValueError(
            f"{len(loose):,} images are in {root} itself and not in a class folder: {some(loose)}. {layout} If "
            "the labels are in a CSV file, use load_image_table. Photos without labels are for X_unlabeled of "
            "FewShotClassifier.fit."
        )
    class_of = {
        path: tuple(map(composed, listing.parts(path)[:levels])) for path in listing.folders[1:]
    }
    folders = [class_of[os.path.dirname(path)] for path in listing.images]
    found = set(class_of.values())
    if not found:
        raise ValueError(f"{root} has no class folders. {layout}{skipped}")
    top = sorted({folder[0] for folder in found})
    if {name.lower() for name in top} <= PARTS:
        raise ValueError(
            f"{root} has folders of the parts of a data set, {some(top)}, not of classes; pass one part: "
            f"{os.path.join(root, top[0])}. {layout}"
        )
    hold_images = {folder[:depth] for folder in set(folders) for depth in range(len(folder) + 1)}
    empty = sorted("/".join(folder) for folder in found - hold_images)
    if empty:
        raise ValueError(
            f"{len(empty):,} class folders in {root} have no images: {some(empty)}. Add images, or remove the "
            f"folders. {layout}{skipped}"
        )
    return folders


def _inner_folders(listing: Listing) -> list[str]:
    """Folders inside of class folders that hold images, when the outermost folder is the class."""
    found = {os.path.dirname(path) for path in listing.images}
    return sorted("/".join(listing.parts(path)) for path in found if len(listing.parts(path)) > 1)


def _names(folders: Iterable[Folder]) -> dict[Folder, str]:
    """Name of each folder: its own, after those of its parents as far as other folders have the same."""
    endings = {
        folder: ["/".join(folder[-depth:]) for depth in range(1, len(folder) + 1)]
        for folder in folders
    }
    counts = Counter(ending for candidates in endings.values() for ending in candidates)
    return {
        folder: next((ending for ending in candidates if counts[ending] == 1), candidates[-1])
        for folder, candidates in endings.items()
    }


def _warn(root: str, skipped: str, inner: list[str], names: list[str]) -> None:
    """Warn once about what was skipped or merged, and about names that CLIP reads as one class."""
    messages = []
    if skipped:
        messages.append(f"Skipped in {root}: {skipped}.")
    if inner:
        messages.append(
            f"{len(inner):,} folders inside of the class folders of {root}, such as {inner[0]!r}, were merged: their "
            f"images belong to the outer folder, {inner[0].partition('/')[0]!r}. If the inner folders are "
            "classes, pass levels=2, or levels='all' for the folder of each image. levels=1 merges them "
            "without a warning."
        )
    spellings: dict[str, list[str]] = {}
    for name in names:
        spellings.setdefault(name.lower(), []).append(name)
    alike = [
        " and ".join(map(repr, variants)) for variants in spellings.values() if len(variants) > 1
    ]
    if alike:
        messages.append(
            f"Class folders whose names differ only in case: {', '.join(alike)}. They are different classes "
            "here, but CLIP reads the same name, and on Windows and macOS they are one folder. If they are one "
            "class, merge them."
        )
    if messages:
        warn(" ".join(messages))
