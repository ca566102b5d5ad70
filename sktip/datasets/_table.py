"""Load images and labels that are listed in a CSV file."""

import csv
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._images.folders import check_files
from sktip._utils.messages import LONGEST_LABEL, composed, unescaped
from sktip._utils.paths import check_input
from sktip.datasets._bunch import as_bunch

#: Delimiters of columns: comma, semicolon (where a comma is the decimal mark) or tab.
DELIMITERS = ",;\t"


def load_image_table(
    path: str | os.PathLike,
    *,
    path_column: str = "path",
    label_column: str = "label",
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    r"""Load your own photos whose labels are in a CSV file.

    The file has a column of paths and a column of labels::

        path,label
        img_0001.jpg,golden retriever
        img_0002.jpg,pug

    The images must exist, but they are not opened: a damaged image raises an error when it is encoded.

    Read more in the :ref:`User Guide <guide_own_photos>`.

    Parameters
    ----------
    path : str or path
        The CSV file, in UTF-8. Its first line has the column names. Columns are separated by commas,
        semicolons or tabs.

    path_column : str, default="path"
        Name of the column of paths. Relative paths start at the folder of the file, and may have
        backslashes, as on Windows.

    label_column : str, default="label"
        Name of the column of labels.

    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        Whether to return `data` and `target` as pandas Series, and `frame` as a DataFrame.

    Returns
    -------
    data : Bunch
        Dictionary-like object with the attributes:

        data : ndarray of shape (n,), or Series
            Absolute paths of the images, as strings, in the order of the file.
        target : ndarray of shape (n,), or Series
            Label of each image: the text in the file, without spaces around it, in Unicode's composed
            form (NFC). For integers that index `class_names`, use ``target.astype(int)``.
        target_names : ndarray of shape (C,)
            The distinct labels, sorted.
        frame : DataFrame of shape (n, 2) or None
            Table with the columns ``path`` and ``target``. None with ``as_frame=False``.
        DESCR : str
            What was found.

    (data, target) : tuple, with ``return_X_y=True``
        The first two attributes.

    Raises
    ------
    FileNotFoundError
        If the file or some of the images do not exist. The message counts the images, and gives the
        lines of the first ones.

    ValueError
        If the file is not a CSV file in UTF-8, lacks a column, has no rows, has a row without path or
        label or with a label of more than 1,000 characters, or has two labels for one image.

    See Also
    --------
    load_image_folder : Load images from a folder with one subfolder per class.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from sktip.datasets import load_image_table
    >>> with TemporaryDirectory() as photos:
    ...     for name in ("1.png", "2.png"):
    ...         Image.new("RGB", (8, 8)).save(Path(photos, name))
    ...     labels = Path(photos, "labels.csv")
    ...     _ = labels.write_text("path,label\n1.png,pug\n2.png,beagle\n")
    ...     X, y = load_image_table(labels, return_X_y=True)
    >>> print(y)
    ['pug' 'beagle']
    >>> [Path(path).name for path in X]
    ['1.png', '2.png']
    """
    file = os.path.abspath(os.path.expanduser(path))
    rows = read_rows(file, path_column, label_column)
    paths = [absolute(os.path.dirname(file), path) for _, path, _ in rows]
    named = [f"{path} (line {line})" for line, path, _ in rows]
    check_files(paths, named, file, os.path.dirname(file))
    target = np.array([label for _, _, label in rows])
    _check_one_label(paths, named, target, file)
    names = np.unique(target)
    return as_bunch(
        paths,
        target,
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=names,
        DESCR=f"{len(rows):,} images of {len(names):,} classes, listed in {file!r}.",
    )


def read_rows(file: str, path_column: str, label_column: str) -> list[tuple[int, str, str]]:
    """Line number, path and label of each row."""
    names, lines = read_cells(file, path_column=path_column, label_column=label_column)
    rows = []
    for line, cells in lines:
        path = cells[names.index(path_column)]
        label = composed(cells[names.index(label_column)].strip())
        if not path.strip() or not 0 < len(label) <= LONGEST_LABEL:
            raise ValueError(
                f"{file}, line {line}: the path is {path[:100]!r} and the label {label[:100]!r}, of {len(label):,} "
                f"characters. Each row needs a path and a label of at most {LONGEST_LABEL:,} characters."
            )
        rows.append((line, path, label))
    return rows


def read_cells(file: str, **columns: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns of a CSV file, and number and cells of each line below them."""
    if os.path.isdir(file):
        raise ValueError(f"{file} is a folder; use load_image_folder.")
    wanted = " and ".join(map(repr, columns.values()))
    check_input(file, f"a CSV file with the columns {wanted}")
    try:
        # Names of files may be no text.
        with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            header = text.readline()
            text.seek(0)
            reader = csv.reader(text, delimiter=max(DELIMITERS, key=header.count), strict=True)
            lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise ValueError(f"{file} is not a CSV file: {error}.") from error
    folder = os.path.dirname(file)
    for line, cells in lines:
        odd = [text for text in cells if text.encode("utf-8", "ignore").decode() != text]
        # A file whose name is no text is found by its bytes.
        if odd and not all(os.path.lexists(os.path.join(folder, text)) for text in odd):
            raise ValueError(
                f"{file} is not a text file in UTF-8 (line {line}: {odd[0][:100]!r}). Save it as 'CSV UTF-8', "
                "or as UTF-8."
            )
    if len(lines) < 2:
        raise ValueError(f"{file} has no rows below a line of column names.")
    names = [name.strip() for name in lines[0][1]]
    for parameter, name in columns.items():
        if names.count(name) != 1:
            raise ValueError(
                f"{file} has {names.count(name) or 'no'} columns {name!r}; its first line names "
                f"{', '.join(map(repr, names))}. Pass {parameter}, the name of the column."
            )
    for line, cells in lines[1:]:
        if len(cells) != len(names):
            raise ValueError(
                f"{file}, line {line}: {len(cells)} columns, but the first line names {len(names)}."
            )
    return names, lines[1:]


def absolute(folder: str, path: str) -> str:
    """Absolute path of an image, which may have been written on Windows or by `predict_images`."""
    # As it is written, without blanks around it, without escapes, with the other separator: the first that exists.
    bare = path.strip()
    forms = [path, bare, unescaped(path), bare.replace("\\", "/")]
    found = [os.path.normpath(os.path.join(folder, form)) for form in forms]
    return next(filter(os.path.isfile, found), found[1])


def _check_one_label(paths: list[str], named: list[str], target: NDArray, file: str) -> None:
    """Refuse an image that has two labels."""
    first: dict[str, int] = {}
    for row, path in enumerate(paths):
        known = first.setdefault(path, row)
        if target[known] != target[row]:
            raise ValueError(
                f"{file} gives one image two labels: {named[known]} is {str(target[known])!r}, and {named[row]} is "
                f"{str(target[row])!r}; keep one of them."
            )
