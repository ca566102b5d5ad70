"""A folder of images for each class."""

import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from sktip._images.files import IMAGE_SUFFIXES
from sktip.datasets._bunch import as_bunch


class ClassFolders(NamedTuple):
    """What lies below a folder of class folders."""

    images: dict[str, list[str]]  # class -> paths of its images; both sorted
    left_out: Counter[str]  # suffix -> files that were not taken


class _Listing(NamedTuple):
    """What lies in one folder: names, sorted; nothing hidden."""

    folders: list[str]
    images: list[str]
    others: Counter[str]  # suffix -> files


def load_image_folder(
    root: str | os.PathLike, *, return_X_y: bool = False, as_frame: bool = False
) -> Any:
    """Load a folder that holds one folder of images for each class.

    The folder names are the class names and the labels::

        root/golden_retriever/1.jpg
        root/golden_retriever/2.jpg
        root/pug/1.jpg

    Images are listed, not opened: one that is damaged is an error of the transformer that
    reads it.

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
            Absolute paths of the images, as strings: sorted by class, then by name. Bytes of a
            name that are not text are kept as Python keeps them, see `os.fsdecode`.
        target : ndarray of shape (n,), or Series
            Label of each image: the name of its folder.
        target_names : ndarray of shape (C,)
            The folder names, sorted.
        frame : DataFrame of shape (n, 2) or None
            The columns ``path`` and ``target``; None with ``as_frame=False``.
        DESCR : str
            What was found, and how many files of which kinds were left out.

    (data, target) : tuple, with ``return_X_y=True``
        The first two of these.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a link in it leads nowhere.

    NotADirectoryError
        If `root` is a file.

    ValueError
        If there are no class folders, some hold no images, images lie outside of them, or the
        name of a folder is not text.

    ImportError
        If ``as_frame=True`` and pandas is not installed.

    See Also
    --------
    load_dataset : The paper's data sets.
    sktip.model_selection.FewShotSplit : Draws shots from the images.

    Notes
    -----
    Images are the files with the suffixes of the raster formats that sktip reads, in small or
    capital letters: avif, bmp, dib, gif, j2k, jfif, jp2, jpe, jpeg, jpg, mpo, pbm, pgm,
    png, pnm, ppm, tga, tif, tiff and webp. Files with others, files and folders whose names
    begin with a dot, and folders inside of class folders are left out.

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
    if found.left_out:
        descr += f" Left out: {_kinds(found.left_out)}."
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
    """List the images in each folder of `root`; a folder is read once, a file never."""
    shown = printable(root)
    layout = (
        f"Expected is a folder of images for each class: {os.path.join(shown, 'CLASS', 'IMAGE')}."
    )
    if not os.path.isdir(root):
        if os.path.exists(root):
            raise NotADirectoryError(f"{shown} is not a folder. {layout}")
        raise FileNotFoundError(f"{shown}: no such folder. {layout}")
    top = _listing(root)
    if top.images:
        raise ValueError(
            f"{len(top.images):,} images lie in {shown} itself, outside of any class folder: "
            f"{some(top.images)}. {layout}"
        )
    if not top.folders:
        raise ValueError(f"{shown} holds no class folders. {layout}")
    images: dict[str, list[str]] = {}
    left_out: Counter[str] = Counter()
    empty = []
    for name in top.folders:
        folder = os.path.join(root, name)
        content = _listing(folder)
        images[name] = [os.path.join(folder, image) for image in content.images]
        left_out.update(content.others)
        if not content.images:
            empty.append(f"{name!r} ({_instead_of_images(content)})")
    if empty:
        raise ValueError(
            f"{len(empty):,} of {len(top.folders):,} class folders in {shown} hold no images: "
            f"{', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}. Remove them or fill them; if "
            f"they are the parts of a data set, such as train and test, pass one of the parts. {layout}"
        )
    return ClassFolders(images, left_out)


def printable(path: str | os.PathLike) -> str:
    """Return a path with the bytes escaped that are not text: they cannot be printed."""
    return os.fspath(path).encode("utf-8", "backslashreplace").decode()


def some(names: Iterable[Any]) -> str:
    """Name the first few of many."""
    shown = [repr(name) for name in names]
    return ", ".join(shown[:3]) + (", ..." if len(shown) > 3 else "")


def _listing(folder: str) -> _Listing:
    listing = _Listing([], [], Counter())
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                listing.folders.append(entry.name)
            elif suffix in IMAGE_SUFFIXES:
                listing.images.append(entry.name)
            elif entry.is_symlink() and not os.path.exists(entry.path):
                raise FileNotFoundError(
                    f"{printable(entry.path)}: a link that leads nowhere. Mend it or remove it."
                )
            else:
                listing.others[suffix] += 1
    listing.folders.sort()
    listing.images.sort()
    return listing


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads back to itself.
        return False


def _instead_of_images(content: _Listing) -> str:
    if content.others:
        return f"only {_kinds(content.others)}"
    return "only folders" if content.folders else "empty"


def _kinds(suffixes: Counter[str]) -> str:
    return ", ".join(
        f"{n:,} {printable(suffix) or 'without suffix'}" for suffix, n in sorted(suffixes.items())
    )
