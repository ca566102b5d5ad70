"""The classes of a classifier, and their names."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import InvalidParameterError

from sktip._utils.labels import (
    FLOATS,
    INTEGERS,
    TEXT,
    check_labels,
    codes_of,
    composed,
    integer_type,
    join_labels,
    kind_of,
    plain,
    unknown_labels,
    with_nearest,
)


class Classes(NamedTuple):
    """The classes of a classifier, sorted by label."""

    labels: NDArray[Any]  # (C,)
    names: list[str] | None  # None if they are not known
    #: Row of each class in `text_features`, (C,). None if the rows are in the order of the labels.
    rows: NDArray[np.intp] | None


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
        return list(map(_checked_name, class_names))
    keys = list(map(plain, class_names.keys()))
    if getattr(class_names, "ndim", 1) != 1:
        raise InvalidParameterError(
            "class_names is a table. Pass a mapping {label: name}, such as table.set_index(labels)[names]."
        )
    twice = [key for key, n in Counter(map(composed, keys)).items() if n > 1]
    if twice:
        raise InvalidParameterError(
            f"class_names has the label {twice[0]!r} more than once in its index; remove one."
        )
    return {key: _checked_name(class_names[key]) for key in keys}


def _checked_name(name: Any) -> str:
    name = plain(name)
    if isinstance(name, str):
        return name
    raise TypeError(f"class_names holds {name!r}; names must be strings.")


def resolve_classes(
    labels: NDArray[Any] | None,
    class_names: Any,
    n_text_rows: int | None = None,
    *,
    needs_names: bool = False,
) -> Classes:
    """Return the sorted classes, their names if they are known, and the order of the text features.

    `labels` are the distinct labels seen, sorted; None if the parameters alone define the classes. `class_names` is
    the parameter, `n_text_rows` the length of `text_features` or None, and `needs_names` says whether names will
    be encoded.
    """
    given = given_names(class_names)
    if labels is None:
        labels = _labels_of(given, n_text_rows)
    names: list[str] | None = None
    rows = None
    if isinstance(given, dict):
        classes = _union(labels, given, is_series=not isinstance(class_names, Mapping))
        of_label = {composed(label): name for label, name in given.items()}
        names = [_own_name(label, of_label) for label in classes.tolist()]
    elif given is not None and kind_of(labels) == TEXT and not unknown_labels(labels, given):
        own = check_labels(given, "class_names")
        classes = join_labels(labels, own)
        if len(classes) < len(own):
            twice = Counter(map(composed, given)).most_common(1)[0][0]
            raise ValueError(
                f"class_names has {twice!r} more than once, and the names are the labels. Remove one, or pass a "
                "mapping {label: name}."
            )
        rows = np.argsort(codes_of(own, classes))
        names = [given[row] for row in rows]
    elif given is not None:
        classes, names = _indexed(labels, given, len(given), "class_names"), given
    elif n_text_rows is not None:
        classes = _indexed(labels, (), n_text_rows, "text_features")
    else:
        classes = labels
        if kind_of(classes) == TEXT:
            names = classes.astype(str).tolist()
        elif needs_names:
            raise ValueError(
                f"the labels are of dtype {labels.dtype}, but CLIP needs class names to read. Pass string "
                "labels, or class_names: a sequence that integer labels index, or a mapping from label to "
                "name. Tools that encode labels as integers (calibration, stacking, voting) need the "
                "sequence: class_names=sorted(set(labels))."
            )
    if n_text_rows is not None and n_text_rows != len(classes):
        order = "names in class_names" if rows is not None else f"sorted classes {_some(classes)}"
        raise ValueError(
            f"text_features has {n_text_rows} rows for {len(classes)} classes; pass one row for each of the {order}."
        )
    if len(classes) < 2:
        raise ValueError(
            f"found one class, {classes.tolist()!r}; a classifier needs at least two classes. To add classes "
            "without images, pass class_names as a mapping."
        )
    return Classes(classes, names, rows)


def _labels_of(names: dict[Any, str] | list[str] | None, n_text_rows: int | None) -> NDArray[Any]:
    """Return the labels that the parameters define: keys of a mapping, names of a sequence, or indices."""
    if names is not None:
        what = "the keys of class_names" if isinstance(names, dict) else "class_names"
        return np.unique(check_labels(list(names), what))
    if n_text_rows is not None:
        return np.arange(n_text_rows)
    raise ValueError("without X and y, the classes are not known: pass class_names.")


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


def _own_name(label: Any, of_label: dict[Any, str]) -> str:
    if composed(label) in of_label:
        return of_label[composed(label)]
    if isinstance(label, str):
        return str(label)
    raise ValueError(f"class_names has no name for the label {label!r}; add one.")


def _indexed(
    labels: NDArray[Any], names: Sequence[Any], n_rows: int, parameter: str
) -> NDArray[Any]:
    """Return the classes of a sequence that integer labels index, or that follows the sorted labels."""
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
    unknown, hint = unknown_labels(labels, names), ""
    if kind_of(labels) == TEXT and len(unknown) < len(labels):
        hint = f" Some labels are in class_names, but not {with_nearest(unknown, names)}."
    if len(labels) != n_rows:
        raise ValueError(
            f"{parameter} has length {n_rows}, but there are {len(labels)} distinct labels, {_some(labels)}; "
            "it must have one entry per sorted label. If some classes have no images, pass class_names as a "
            f"mapping {{label: name}}.{hint}"
        )
    forms = list(map(composed, labels.tolist()))
    among = set(forms)
    for label, name in zip(forms, map(composed, names), strict=False):
        if name != label and name in among:
            raise ValueError(
                f"class_names names the sorted labels, so {label!r} would be called {name!r}, which is another "
                f"label.{hint} Add it to class_names, or pass a mapping {{label: name}}."
            )
    return labels


def _some(values: Sequence[Any] | NDArray[Any]) -> str:
    shown = [str(value) for value in list(values)[:5]]
    return "[" + ", ".join(shown) + (", ...]" if len(values) > 5 else "]")
