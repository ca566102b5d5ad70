"""A folder of images for each class."""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sktip._utils.warn import warn
from sktip.datasets._bunch import as_bunch
from sktip.datasets._walk import (
    LeftOut,
    find_images,
    identity_of,
    list_folder,
    printable,
    some,
)

#: Names of the parts of a data set, each of which holds the classes.
PARTS = frozenset("train training val valid validation dev test testing".split())


class ClassFolders(NamedTuple):
    """What lies below a folder of class folders."""

    images: dict[str, list[str]]  # class -> paths of its images; both sorted
    left_out: LeftOut


def load_image_folder(
    root: str | os.PathLike, *, return_X_y: bool = False, as_frame: bool = False
) -> Any:
    """Load images from a folder that holds a folder for each class.

    The folder names are the class names and the labels::

        root/golden_retriever/1.jpg
        root/golden_retriever/2.jpg
        root/pug/1.jpg
        root/pug/2023/winter/1.jpg

    Folders inside of a class folder, however deep, hold images of that class. Images are listed,
    not opened: a damaged one is an error when it is encoded.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    root : str or path
        The folder of class folders. Where a data set is divided, it is one of the parts:
        ``"photos/train"`` and then ``"photos/test"``.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` alone.

    as_frame : bool, default=False
        Whether data and target are pandas Series, and `frame` is a DataFrame.

    Returns
    -------
    data : Bunch
        With the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings. They are sorted by class, then by the names of
            folders and file; the order is the same on every system. Bytes of a name that are not
            text are kept as Python keeps them, see `os.fsdecode`.
        target : ndarray of shape (n,), or Series
            Label of each image: the name of its folder.
        target_names : ndarray of shape (C,)
            The folder names, sorted.
        frame : DataFrame of shape (n, 2) or None
            The columns ``path`` and ``target``; None with ``as_frame=False``.
        DESCR : str
            What was found, how many files of which kinds were left out, and why.

    (data, target) : tuple, with ``return_X_y=True``
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    NotADirectoryError
        If `root` is a file.

    ValueError
        If there are no class folders, some hold no images, images lie outside of them, the
        folders are the parts of a data set, or the name of a folder is not text.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

    Warns
    -----
    UserWarning
        Once, if something was left out: how many files, links and folders, and why. Also if the
        names of two classes differ in case only.

    See Also
    --------
    load_image_table : Images whose labels are in a CSV file.
    load_dataset : The paper's data sets.
    sktip.model_selection.FewShotSplit : Draws shots from the images.

    Notes
    -----
    Images are the files with the suffixes of the raster formats that sktip reads, in small or
    capital letters: avif, bmp, dib, gif, heic, heif, hif, j2k, jfif, jp2, jpe, jpeg, jpg, mpo,
    pbm, pgm, png, pnm, ppm, tga, tif, tiff and webp. The photos of an iPhone, heic, need the
    package pillow-heif, ``pip install "sktip[heif]"``; avif needs Pillow 11.3. Without these, they are
    left out.

    Left out are files with other suffixes, and folders that cannot be read. Links are followed, but
    not to a folder that is already listed, such as one that the link itself lies in. Files and
    folders whose names begin with a dot are hidden and not counted. An image that is a link which
    leads nowhere is kept: it is an error when it is encoded.

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
        descr += f" Left out: {found.left_out}."
    return as_bunch(
        [path for images in found.images.values() for path in images],
        names.repeat(counts),
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=names,
        DESCR=descr,
    )


def _check_class_names(names: Iterable[str], root: str) -> None:
    """Refuse names that are not text: no CLIP could read them. Names of files may be any bytes."""
    bad = [name for name in names if printable(name) != name]
    if bad:
        raise ValueError(
            f"{len(bad):,} class folders in {printable(root)} have names that are not text, and the name "
            f"of the folder is the name of the class: {some(map(os.fsencode, bad))}. Rename them."
        )


def list_class_folders(root: str) -> ClassFolders:
    """List the images below each folder of `root`, and warn once of all that is left out."""
    shown = printable(root)
    layout = (
        f"Expected is a folder of images for each class: {os.path.join(shown, 'CLASS', 'IMAGE')}."
    )
    if not os.path.isdir(root):
        if os.path.exists(root):
            raise NotADirectoryError(f"{shown} is not a folder. {layout}")
        raise FileNotFoundError(f"{shown}: no such folder. {layout}")
    left_out = LeftOut()
    top = list_folder(root, left_out)
    if top.images or left_out.unread:
        raise ValueError(
            f"{len(top.images) + left_out.unread.total():,} images lie in {shown} itself, outside of any class "
            f"folder: {some(top.images) or left_out}. {layout} For labels in a CSV file there is load_image_table."
        )
    # Files beside the class folders, such as a README, are not expected to be images.
    left_out.others.clear()
    names = sorted(top.folders + top.links)
    if not names:
        raise ValueError(f"{shown} holds no class folders{_because(left_out)}. {layout}")
    if {name.lower() for name in names} <= PARTS:
        raise ValueError(
            f"{shown} holds the parts of a data set, {some(names)}, not classes; pass one of the parts: "
            f"{os.path.join(shown, names[0])}. {layout}"
        )
    images, empty = {}, []
    # A link to a folder that holds `root` would make a class of all that lies there.
    around = [identity_of(folder) for folder in _with_parents(os.path.realpath(root))]
    for name in names:
        own = LeftOut()
        folder = os.path.join(root, name)
        images[name] = find_images(folder, own, around)
        left_out.add(own)
        if own.repeated == [folder]:
            del images[name]
        elif not images[name]:
            empty.append(f"{name!r}{_because(own) or ' (empty)'}")
    if empty:
        raise ValueError(
            f"{len(empty):,} of {len(names):,} class folders in {shown} hold no images: "
            f"{', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}. Remove them or fill them. {layout}"
        )
    _warn_of(left_out, images, shown)
    return ClassFolders(images, left_out)


def _because(left_out: LeftOut) -> str:
    return f" ({left_out})" if str(left_out) else ""


def _with_parents(folder: str) -> list[str]:
    parent = os.path.dirname(folder)
    return [folder] if parent == folder else [folder, *_with_parents(parent)]


def _warn_of(left_out: LeftOut, classes: Iterable[str], shown: str) -> None:
    """Warn once, of what was left out and of names that are one class to CLIP."""
    messages = []
    if str(left_out):
        messages.append(f"Left out in {shown}: {left_out}.")
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(name.lower(), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if alike:
        messages.append(
            f"Class folders whose names differ in case only: {', '.join(alike)}. They are different classes "
            "here, but CLIP reads the same name, and on Windows and macOS they are one folder. If they are one "
            "class, put them together."
        )
    if messages:
        warn(" ".join(messages))
