"""Which classes there are, and what each is called."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def resolve_classes(
    labels: NDArray, class_names: Any, n_text_rows: int | None, *, needs_names: bool
) -> tuple[NDArray, list[str] | None]:
    """Return the sorted classes, and their names where these are known.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        The distinct labels seen, sorted.

    class_names : mapping, sequence of str or None
        The estimator's parameter.

    n_text_rows : int or None
        Rows of the `text_features` parameter, None without it.

    needs_names : bool
        Whether names will be encoded as text.

    Returns
    -------
    classes : ndarray of shape (n_classes,)
        Sorted.

    names : list of str of length n_classes, or None
        What each is called; None if nothing says so.
    """
    names: list[str] | None
    if isinstance(class_names, Mapping):
        classes = _union(labels, class_names)
        names = [_own_name(label, class_names) for label in classes.tolist()]
    elif class_names is not None:
        given = list(class_names)
        classes = _indexed(labels, len(given), "class_names")
        names = given
    elif n_text_rows is not None:
        classes, names = _indexed(labels, n_text_rows, "text_features"), None
    else:
        classes = labels
        is_text = all(isinstance(label, str) for label in classes.tolist())
        names = [str(label) for label in classes.tolist()] if is_text else None
        if needs_names and names is None:
            raise ValueError(
                f"the labels are of dtype {labels.dtype}, and CLIP needs class names to read. Pass string "
                "labels, or class_names: a sequence that integer labels index, or a mapping from label to "
                "name. Tools that encode labels as integers (calibration, stacking, voting) need the "
                "sequence: class_names=sorted(set(labels))."
            )
    if n_text_rows is not None and n_text_rows != len(classes):
        raise ValueError(
            f"text_features has {n_text_rows} rows for {len(classes)} classes; its rows follow the sorted "
            f"classes {_some(classes)}."
        )
    for name in names or ():
        if not isinstance(name, str):
            raise TypeError(f"class_names holds {name!r}; names are strings.")
    if len(classes) < 2:
        raise ValueError(
            f"found one class, {classes.tolist()!r}; a classifier needs at least two classes. Classes "
            "without images can be named by a mapping as class_names."
        )
    return classes, names


def _union(labels: NDArray, class_names: Mapping) -> NDArray:
    keys = np.array(list(class_names), dtype=object if labels.dtype == object else None)
    if not len(keys):
        raise ValueError("class_names is an empty mapping.")
    if (labels.dtype.kind in "US") != (keys.dtype.kind in "US") and labels.dtype != object:
        raise ValueError(
            f"the labels are of dtype {labels.dtype} but the keys of class_names of dtype {keys.dtype}; the "
            "mapping goes from label to name."
        )
    return np.union1d(labels, keys)


def _own_name(label: Any, class_names: Mapping) -> str:
    if label in class_names:
        return class_names[label]
    if isinstance(label, str):
        return label
    raise ValueError(f"class_names has no name for the label {label!r}.")


def _indexed(labels: NDArray, n_rows: int, parameter: str) -> NDArray:
    if n_rows == 0:
        raise ValueError(f"{parameter} is empty.")
    if labels.dtype.kind in "iu":
        outside = labels[(labels < 0) | (labels >= n_rows)]
        if len(outside):
            raise ValueError(
                f"the integer labels {_some(outside)} do not index {parameter} of length {n_rows} (0 to "
                f"{n_rows - 1})."
            )
        return np.arange(n_rows, dtype=labels.dtype)
    if len(labels) != n_rows:
        raise ValueError(
            f"{parameter} has length {n_rows}, but there are {len(labels)} distinct labels, "
            f"{_some(labels)}, to take it in sorted order. If some classes have no images here, pass "
            "class_names as a mapping {label: name}."
        )
    return labels


def _some(values: Sequence | NDArray) -> str:
    shown = [str(value) for value in list(values)[:5]]
    return "[" + ", ".join(shown) + (", ...]" if len(values) > 5 else "]")
