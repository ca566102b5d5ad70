"""The classes of a classifier, and their names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import InvalidParameterError

from sktip._utils.labels import (
    FLOATS,
    INTEGERS,
    TEXT,
    check_labels,
    integer_type,
    join_labels,
    kind_of,
    plain,
)


def given_names(class_names: Any) -> dict[Any, str] | list[str] | None:
    """Read the parameter `class_names`: a mapping from label to name, a sequence of names, or None.

    Any object with keys is a mapping; a pandas Series maps its index to its values.
    """
    if class_names is None:
        return None
    if isinstance(class_names, set | frozenset):
        raise InvalidParameterError(
            f"class_names is a {type(class_names).__name__}, whose names have no order. Pass a list, or a "
            "mapping {label: name}."
        )
    if not hasattr(class_names, "keys"):
        return list(map(plain, class_names))
    keys = list(map(plain, class_names.keys()))
    if getattr(class_names, "ndim", 1) != 1:
        raise InvalidParameterError(
            "class_names is a table. Pass a mapping {label: name}, such as table.set_index(labels)[names]."
        )
    twice = [key for key, n in Counter(keys).items() if n > 1]
    if twice:
        raise InvalidParameterError(
            f"class_names has the label {twice[0]!r} more than once in its index; remove one."
        )
    return {key: class_names[key] for key in keys}


def resolve_classes(
    labels: NDArray[Any], class_names: Any, n_text_rows: int | None, *, needs_names: bool
) -> tuple[NDArray[Any], list[str] | None]:
    """Return the sorted classes, and their names if they are known.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        The distinct labels seen, sorted.

    class_names : mapping, sequence of str or None
        The estimator's parameter.

    n_text_rows : int or None
        Number of rows of the `text_features` parameter. None without it.

    needs_names : bool
        Whether names will be encoded as text.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted.

    names : list of str of length n_classes, or None
        Names of the classes. None if they are not known.
    """
    names: list[str] | None
    given = given_names(class_names)
    if isinstance(given, dict):
        classes = _union(labels, given, is_series=not isinstance(class_names, Mapping))
        names = [_own_name(label, given) for label in classes.tolist()]
    elif given is not None:
        classes = _indexed(labels, len(given), "class_names")
        names = given
    elif n_text_rows is not None:
        classes, names = _indexed(labels, n_text_rows, "text_features"), None
    else:
        classes = labels
        names = classes.astype(str).tolist() if kind_of(classes) == TEXT else None
        if needs_names and names is None:
            raise ValueError(
                f"the labels are of dtype {labels.dtype}, but CLIP needs class names to read. Pass string "
                "labels, or class_names: a sequence that integer labels index, or a mapping from label to "
                "name. Tools that encode labels as integers (calibration, stacking, voting) need the "
                "sequence: class_names=sorted(set(labels))."
            )
    if n_text_rows is not None and n_text_rows != len(classes):
        raise ValueError(
            f"text_features has {n_text_rows} rows for {len(classes)} classes; pass one row for each of the "
            f"sorted classes {_some(classes)}."
        )
    for name in names or ():
        if not isinstance(name, str):
            raise TypeError(f"class_names holds {plain(name)!r}; names must be strings.")
    if len(classes) < 2:
        raise ValueError(
            f"found one class, {classes.tolist()!r}; a classifier needs at least two classes. To add classes "
            "without images, pass class_names as a mapping."
        )
    return classes, names


def _union(labels: NDArray[Any], class_names: dict[Any, str], *, is_series: bool) -> NDArray[Any]:
    if not class_names:
        raise ValueError("class_names is an empty mapping; add the classes.")
    keys = check_labels(list(class_names), "the keys of class_names")
    if {kind_of(labels), kind_of(keys)} == {INTEGERS, FLOATS}:
        # Both are whole numbers, and equal as keys. The classes get the type of the labels.
        keys = keys.astype(np.int64 if kind_of(labels) == INTEGERS else labels.dtype)
    if kind_of(labels) != kind_of(keys):
        hint = (
            " A Series maps its index to its values; for a sequence of names, pass class_names.tolist()."
            if is_series
            else ""
        )
        raise ValueError(
            f"the labels are {kind_of(labels)}, but the keys of class_names are {kind_of(keys)}; the mapping "
            f"must go from label to name.{hint}"
        )
    return join_labels(labels, keys, "class_names")


def _own_name(label: Any, class_names: dict[Any, str]) -> str:
    if label in class_names:
        return class_names[label]
    if isinstance(label, str):
        own: str = label
        return own
    raise ValueError(f"class_names has no name for the label {label!r}; add one.")


def _indexed(labels: NDArray[Any], n_rows: int, parameter: str) -> NDArray[Any]:
    if n_rows == 0:
        raise ValueError(f"{parameter} is empty; pass one entry per class.")
    if labels.dtype.kind in "iu":
        outside = labels[(labels < 0) | (labels >= n_rows)]
        if len(outside):
            raise ValueError(
                f"the integer labels {_some(outside)} are not indices of {parameter}, which has length "
                f"{n_rows}; labels must be from 0 to {n_rows - 1}."
            )
        return np.arange(n_rows, dtype=integer_type(labels.dtype, 0, n_rows - 1))
    if len(labels) != n_rows:
        raise ValueError(
            f"{parameter} has length {n_rows}, but there are {len(labels)} distinct labels, {_some(labels)}; "
            "it must have one entry per sorted label. If some classes have no images, pass class_names as a "
            "mapping {label: name}."
        )
    return labels


def _some(values: Sequence[Any] | NDArray[Any]) -> str:
    shown = [str(value) for value in list(values)[:5]]
    return "[" + ", ".join(shown) + (", ...]" if len(values) > 5 else "]")
