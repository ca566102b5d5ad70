"""Load images from a folder with one subfolder per class."""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sktip._utils.labels import composed
from sktip._utils.warn import warn
from sktip.datasets._bunch import as_bunch
from sktip.datasets._walk import (
    LeftOut,
    find_images_of,
    identity_of,
    list_folder,
    printable,
    some,
)

#: Names of folders that are parts of a data set, not classes.
PARTS = frozenset("train training val valid validation dev test testing".split())


class ClassFolders(NamedTuple):
    """The images below a folder of class folders."""

    images: dict[str, list[str]]  # class -> paths of its images; both sorted
    left_out: LeftOut


def load_image_folder(
    root: str | os.PathLike, *, return_X_y: bool = False, as_frame: bool = False
) -> Any:
    """Load your own photos from a folder with one subfolder per class.

    The names of the subfolders are the class names and the labels::

        root/golden_retriever/1.jpg
        root/golden_retriever/2.jpg
        root/pug/1.jpg
        root/pug/2023/winter/1.jpg

    All images below a class folder, at any depth, belong to that class. Images are listed, not opened:
    a damaged image raises an error when it is encoded.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    root : str or path
        Folder of the class folders. If a data set is split into parts, load each of them, such as
        ``"photos/train"`` and ``"photos/test"``.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        Whether to return `data` and `target` as pandas Series, and `frame` as a DataFrame.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, sorted by class, then by the names of folders
            and file. The order is the same on every system. Names that are not valid text are decoded
            by `os.fsdecode`.
        target : ndarray of shape (n,), or Series
            Label of each image: the name of its folder, in Unicode's composed form (NFC).
        target_names : ndarray of shape (C,)
            The folder names, sorted.
        frame : DataFrame of shape (n, 2) or None
            Table with the columns ``path`` and ``target``. None with ``as_frame=False``.
        DESCR : str
            What was found, and how many files of which kinds were skipped, and why.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    Raises
    ------
    FileNotFoundError
        If `root` does not exist.

    NotADirectoryError
        If `root` is a file.

    ValueError
        If there are no class folders, if one has no images, if there are images outside of them, if
        the folders are parts of a data set such as "train", or if the name of a folder is not valid
        text.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

    Warns
    -----
    UserWarning
        If files, links or folders were skipped: how many, and why. Also if the names of two classes
        differ only in case. There is one warning for all of these.

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
    to a folder that was listed already, such as one that contains the link or the folder of another class. Hidden files and folders,
    whose names begin with a dot, are ignored. A link to a missing image is kept: it raises an error when
    it is encoded.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sktip.datasets import load_image_folder
    >>> with TemporaryDirectory() as photos:
    ...     for name in ("pug/1.png", "pug/2.png", "beagle/1.png"):
    ...         path = Path(photos, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (8, 8)).save(path)
    ...     X, y = load_image_folder(photos, return_X_y=True)
    >>> print(y)
    ['beagle' 'pug' 'pug']
    >>> [Path(path).name for path in X]
    ['1.png', '1.png', '2.png']
    """
    root = os.path.abspath(os.path.expanduser(root))
    found = list_class_folders(root)
    _check_class_names(found.images, root)
    names = np.array(list(found.images))
    counts = [len(images) for images in found.images.values()]
    descr = f"{sum(counts):,} images of {len(names):,} classes, in folders of {printable(root)}."
    if str(found.left_out):
        descr += f" Skipped: {found.left_out}."
    return as_bunch(
        [path for images in found.images.values() for path in images],
        names.repeat(counts),
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=names,
        DESCR=descr,
    )


def _check_class_names(names: Iterable[str], root: str) -> None:
    """Refuse names of classes that are not valid text, which CLIP could not read."""
    bad = [name for name in names if name.encode("utf-8", "ignore").decode() != name]
    if bad:
        raise ValueError(
            f"{len(bad):,} class folders in {printable(root)} have names that are not valid text and cannot be "
            f"class names: {some(map(os.fsencode, bad))}. Rename them."
        )


def list_class_folders(root: str) -> ClassFolders:
    """List the images below each folder of `root`, with one warning about all that is skipped."""
    shown = printable(root)
    layout = f"Expected a folder of images for each class: {os.path.join(shown, 'CLASS', 'IMAGE')}."
    if not os.path.isdir(root):
        if os.path.exists(root):
            raise NotADirectoryError(f"{shown} is not a folder. {layout}")
        raise FileNotFoundError(f"{shown}: no such folder. {layout}")
    left_out = LeftOut()
    top = list_folder(root, left_out)
    if top.images or left_out.unread:
        raise ValueError(
            f"{len(top.images) + left_out.unread.total():,} images are in {shown} itself and not in a class "
            f"folder: {some(top.images) or left_out}. {layout} If the labels are in a CSV file, use "
            "load_image_table."
        )
    # Other files next to the class folders, such as a README, are not reported.
    left_out.others.clear()
    names = sorted(top.folders + top.links)
    if not names:
        raise ValueError(f"{shown} has no class folders{_because(left_out)}. {layout}")
    if {name.lower() for name in names} <= PARTS:
        raise ValueError(
            f"{shown} has folders of the parts of a data set, {some(names)}, not of classes; pass one part: "
            f"{os.path.join(shown, names[0])}. {layout}"
        )
    images: dict[str, list[str]] = {}
    empty = []
    # Otherwise a link to a parent of `root` would become a class of everything in that folder.
    around = [identity_of(folder) for folder in _with_parents(os.path.realpath(root))]
    # Listed together, so that a link from one class to another does not give an image two labels.
    own = {os.path.join(root, name): LeftOut() for name in names}
    for folder, paths in find_images_of(own, around).items():
        name = os.path.basename(folder)
        left_out.add(own[folder])
        if own[folder].repeated == [folder]:
            continue
        if not paths:
            empty.append(f"{name!r}{_because(own[folder]) or ' (empty)'}")
        # Two folders may have the same name in Unicode's two forms.
        images.setdefault(composed(name), []).extend(paths)
    if empty:
        raise ValueError(
            f"{len(empty):,} of {len(names):,} class folders in {shown} have no images: "
            f"{', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}. Add images, or remove them. {layout}"
        )
    _warn_of(left_out, images, shown)
    return ClassFolders(dict(sorted(images.items())), left_out)


def _because(left_out: LeftOut) -> str:
    return f" ({left_out})" if str(left_out) else ""


def _with_parents(folder: str) -> list[str]:
    parent = os.path.dirname(folder)
    return [folder] if parent == folder else [folder, *_with_parents(parent)]


def _warn_of(left_out: LeftOut, classes: Iterable[str], shown: str) -> None:
    """Warn once about what was skipped, and about names that CLIP reads as one class."""
    messages = []
    if str(left_out):
        messages.append(f"Skipped in {shown}: {left_out}.")
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(name.lower(), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if alike:
        messages.append(
            f"Class folders whose names differ only in case: {', '.join(alike)}. They are different classes "
            "here, but CLIP reads the same name, and on Windows and macOS they are one folder. If they are one "
            "class, merge them."
        )
    if messages:
        warn(" ".join(messages))
