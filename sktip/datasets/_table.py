"""Load images and labels that are listed in a CSV file."""

import csv
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sktip._utils.labels import LONGEST_LABEL, composed
from sktip.datasets._bunch import as_bunch
from sktip.datasets._walk import printable, some

#: Delimiters of columns: comma, semicolon (where a comma is the decimal mark) or tab.
DELIMITERS = ",;\t"


class _Row(NamedTuple):
    line: int
    path: str
    label: str


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

    ImportError
        If ``as_frame=True`` and pandas is not installed.

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
    rows = _read(file, path_column, label_column)
    paths = _existing(rows, file)
    _check_labels(rows, paths, file)
    target = np.array([row.label for row in rows])
    names = np.unique(target)
    return as_bunch(
        paths,
        target,
        return_X_y=return_X_y,
        as_frame=as_frame,
        target_names=names,
        DESCR=f"{len(rows):,} images of {len(names):,} classes, listed in {printable(file)}.",
    )


def _read(file: str, path_column: str, label_column: str) -> list[_Row]:
    shown = printable(file)
    if os.path.isdir(file):
        raise ValueError(f"{shown} is a folder; use load_image_folder.")
    if os.path.exists(file) and not os.path.isfile(file):
        # Reading a pipe may never end.
        raise ValueError(f"{shown} is a device or a pipe; pass the path of a CSV file.")
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            header = text.readline()
            text.seek(0)
            delimiter = max(DELIMITERS, key=header.count)
            lines = list(_numbered(csv.reader(text, delimiter=delimiter, strict=True)))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{shown}: no such file. Expected a CSV file with the columns {path_column!r} and "
            f"{label_column!r}."
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shown} is not a text file in UTF-8 ({error}). Save it as 'CSV UTF-8', or as UTF-8."
        ) from error
    except csv.Error as error:
        raise ValueError(f"{shown} is not a CSV file: {error}.") from error
    if not lines:
        raise ValueError(f"{shown} is empty.")
    (_, names), *body = lines
    names = [name.strip() for name in names]
    for parameter, name in (("path_column", path_column), ("label_column", label_column)):
        if names.count(name) != 1:
            fault = "has no column" if name not in names else "has more than one column"
            raise ValueError(
                f"{shown} {fault} {name!r}; its first line names {', '.join(map(repr, names))}. Pass "
                f"{parameter}, the name of the column."
            )
    at, label_at = names.index(path_column), names.index(label_column)
    rows = []
    for line, cells in body:
        if len(cells) != len(names):
            raise ValueError(
                f"{shown}, line {line}: {len(cells)} columns, but the first line names {len(names)}."
            )
        row = _Row(line, cells[at].strip(), composed(cells[label_at].strip()))
        rows.append(_checked(row, shown))
    if not rows:
        raise ValueError(f"{shown} has a line of column names, but no rows.")
    return rows


def _checked(row: _Row, shown: str) -> _Row:
    """Return a row that has a path and a label of a sensible length."""
    if not row.path or not row.label:
        raise ValueError(
            f"{shown}, line {row.line}: the {'label' if row.path else 'path'} is missing. Add it, or remove the "
            "line."
        )
    if len(row.label) > LONGEST_LABEL:
        raise ValueError(
            f"{shown}, line {row.line}: the label has {len(row.label):,} characters, and begins with "
            f"{row.label[:40]!r}. Labels have at most {LONGEST_LABEL:,}; shorten it, or check the quotation marks."
        )
    return row


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows, each with the number of its last line. Empty rows are skipped."""
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _existing(rows: Sequence[_Row], file: str) -> list[str]:
    """Absolute paths of the images; raise an error if some do not exist."""
    folder = os.path.dirname(file)
    paths, missing = [], []
    for row in rows:
        path = os.path.normpath(os.path.join(folder, row.path))
        if not os.path.isfile(path) and "\\" in row.path:
            path = os.path.normpath(os.path.join(folder, row.path.replace("\\", "/")))
        if not os.path.isfile(path):
            missing.append(row)
        paths.append(path)
    if missing:
        named = ", ".join(f"{row.path!r} (line {row.line})" for row in missing[:3])
        raise FileNotFoundError(
            f"{len(missing):,} of {len(rows):,} images that {printable(file)} lists do not exist: "
            f"{named}{', ...' if len(missing) > 3 else ''}.{_other_spelling(paths, missing, rows)} Relative paths "
            f"start at {printable(folder)}."
        )
    return paths


def _other_spelling(paths: Sequence[str], missing: Sequence[_Row], rows: Sequence[_Row]) -> str:
    """Hint at a file whose name differs only in case, which Windows and macOS would open."""
    path = paths[rows.index(missing[0])]
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        return ""
    alike = [other for other in sorted(os.listdir(folder)) if other.lower() == name.lower()]
    return f" There is {some(alike)}, but case matters here." if alike else ""


def _check_labels(rows: Sequence[_Row], paths: Sequence[str], file: str) -> None:
    """Refuse an image that has two labels."""
    first: dict[str, _Row] = {}
    for row, path in zip(rows, paths, strict=True):
        known = first.setdefault(path, row)
        if known.label != row.label:
            raise ValueError(
                f"{printable(file)} gives {row.path!r} the label {known.label!r} in line {known.line} and "
                f"{row.label!r} in line {row.line}; keep one of them."
            )
