"""Labels, classes and their names; weights and groups of shots."""

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, column_or_1d
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import type_of_target

from sktip._utils.messages import some

TEXT, NUMBERS, BOOLEANS = "text", "numbers", "booleans"
_KINDS = {"U": TEXT, "O": TEXT, "b": BOOLEANS, "i": NUMBERS, "u": NUMBERS, "f": NUMBERS}
#: Bound of the sum of weights. Products of it with class weights do not overflow float32.
MOST_WEIGHT = 1e12


class Classes(NamedTuple):
    """The classes of a classifier, sorted by label."""

    labels: NDArray[Any]  # (C,)
    names: list[str] | None  # None if they are not known
    #: Row of each class in `text_features`, (C,). None if the rows are in the order of the labels.
    rows: NDArray[np.intp] | None


def check_labels(y: Any, name: str = "y") -> NDArray[Any]:
    """Check labels, and return them as an array, (n,), without changing their type.

    They are text (of dtype str, or object if it was given so), booleans, integers or whole floating-point
    numbers. ValueError if some are missing, or of another kind than the others.
    """
    if isinstance(y, list | tuple) and any(isinstance(item, list | tuple | set) for item in y):
        raise ValueError(
            f"{name} has several labels per item. For several tags per photo use FewShotTagger, with the matrix of "
            f"sklearn.preprocessing.MultiLabelBinarizer().fit_transform({name})."
        )
    if getattr(y, "ndim", 1) == 2:
        rows = np.asarray(y)
        if rows.size and rows.dtype.kind in "biuf" and (np.sort(rows)[:, -2:] == [0, 1]).all():
            raise ValueError(
                f"{name} is one-hot, of shape {rows.shape}; pass {name}.argmax(axis=1), one label per shot. "
                "The keys of a cache of the official Tip-Adapter are transposed, too: X is keys.T."
            )
    # As object or float, columns of pandas' own types would be converted first.
    y = y.to_numpy() if hasattr(y, "to_numpy") else y
    labels: NDArray[Any] = column_or_1d(y, warn=True, input_name=name)
    if labels.dtype.kind in "OUf":
        # NumPy has made text of [3, "cat"] already.
        items = y if isinstance(y, list | tuple) else labels.tolist()
        _check_present(items, name)
        is_text = [isinstance(item, str) for item in items]
        if any(is_text) and not all(is_text):
            text, other = is_text.index(True), is_text.index(False)
            raise ValueError(
                f"{name} mixes text with other labels: {plain(items[text])!r} at index {text}, "
                f"{plain(items[other])!r} at index {other}. Make them all strings, or all integers."
            )
        if not any(is_text):
            labels = np.array(labels.tolist())
    if not len(labels):
        return labels
    found = type_of_target(labels, input_name=name)
    if found not in ("binary", "multiclass") or labels.dtype.kind not in _KINDS:
        raise ValueError(
            f"Unknown label type: {found}. Labels must be strings or integers; {name} looks like the target "
            "of a regression."
        )
    return labels


def resolve_classes(
    labels: NDArray[Any] | None,
    class_names: Any,
    n_text_rows: int | None = None,
    *,
    needs_names: bool = False,
) -> Classes:
    """Return the sorted classes, their names if they are known, and the order of the text features.

    `class_names` is a mapping from label to name, a sequence that contains the labels, or one that integer labels
    index. `labels` are the distinct labels seen, sorted; None if the parameters alone define the classes.
    `n_text_rows` is the length of `text_features` or None, and `needs_names` says whether names will be encoded.
    """
    given = _given_names(class_names)
    if labels is None:
        if given is None and n_text_rows is None:
            raise ValueError("without X and y, the classes are not known: pass class_names.")
        labels = np.unique(check_labels(list(range(n_text_rows or 0) if given is None else given)))
    is_integer = labels.dtype.kind in "iu"
    names: list[str] | None = None
    rows = None
    if isinstance(given, dict):
        classes, names = _mapped(labels, given)
    elif given is not None and is_integer:
        classes, names = _indexed(labels, len(given), "class_names"), given
    elif given is not None:
        classes, names, rows = _named_by_value(labels, given)
    elif n_text_rows is not None and is_integer:
        classes = _indexed(labels, n_text_rows, "text_features")
    else:
        classes = labels
        if kind_of(classes) == TEXT:
            names = classes.astype(str).tolist()
        elif needs_names:
            raise ValueError(
                f"the labels are {kind_of(labels)}, but CLIP needs class names to read. Pass "
                f"class_names={_shown_mapping(labels)}, or a sequence of names that integer labels index. "
                "Tools that encode string labels as integers (calibration, stacking, voting) need the "
                "sequence: class_names=sorted(set(labels))."
            )
    if n_text_rows is not None and n_text_rows != len(classes):
        order = (
            "names in class_names"
            if rows is not None
            else f"sorted classes {some(classes.tolist())}"
        )
        raise ValueError(
            f"text_features has {n_text_rows} rows for {len(classes)} classes; pass one row for each of the {order}."
        )
    if len(classes) < 2:
        raise ValueError(
            f"found one class, {classes.tolist()!r}; a classifier needs at least two classes. To add classes "
            "without images, pass class_names as a mapping."
        )
    return Classes(classes, names, rows)


def _given_names(class_names: Any) -> dict[Any, str] | list[str] | None:
    """Read the parameter `class_names`. Any object with keys is a mapping, as a Series from its index."""
    if class_names is None:
        return None
    if isinstance(class_names, set | frozenset):
        raise InvalidParameterError(
            f"class_names is a {type(class_names).__name__}, whose names have no order. Pass a list, or a "
            "mapping {label: name}."
        )
    if getattr(class_names, "ndim", 1) != 1:
        raise InvalidParameterError(
            "class_names is a table. Pass a mapping {label: name}, such as table.set_index(labels)[names]."
        )
    names: dict[Any, str] | list[str]
    if hasattr(class_names, "keys"):
        keys = list(map(plain, class_names.keys()))
        if len(set(keys)) < len(keys):
            raise InvalidParameterError(
                f"class_names has the label {_twice(keys)!r} more than once in its index; remove one."
            )
        names = {key: plain(class_names[key]) for key in keys}
    else:
        names = list(map(plain, class_names))
    if not names:
        raise InvalidParameterError("class_names is empty; name the classes.")
    for name in names.values() if isinstance(names, dict) else names:
        if not isinstance(name, str):
            raise TypeError(f"class_names holds {name!r}; names must be strings.")
    return names


def _mapped(labels: NDArray[Any], given: dict[Any, str]) -> tuple[NDArray[Any], list[str]]:
    """Classes and names of a mapping: the labels and its keys."""
    keys = check_labels(list(given), "the keys of class_names")
    if kind_of(labels) != kind_of(keys):
        raise ValueError(
            f"the labels are {kind_of(labels)}, but the keys of class_names are {kind_of(keys)}; the mapping "
            "must go from label to name. A Series maps its index to its values; for a sequence of names, pass "
            "class_names.tolist()."
        )
    classes = join_labels(labels, keys, "class_names")
    names = [given.get(label, label) for label in classes.tolist()]
    if kind_of(classes) != TEXT and len(classes) > len(given):
        missing = next(label for label in classes.tolist() if label not in given)
        raise ValueError(f"class_names has no name for the label {missing!r}; add one.")
    return classes, names


def _named_by_value(
    labels: NDArray[Any], given: list[str]
) -> tuple[NDArray[Any], list[str], NDArray[np.intp]]:
    """Classes, names and rows of text features of a sequence of names that are the labels."""
    unknown = unknown_labels(labels, given)
    if unknown:
        hint = ""
        if len(unknown) < len(labels):
            hint = f" Not in class_names: {with_nearest(unknown, given)}."
        raise ValueError(
            f"the labels {some(labels.tolist())} are neither in class_names nor integers, which would index "
            f"it.{hint} Pass a mapping: class_names={_shown_mapping(labels, given)}."
        )
    if len(set(given)) < len(given):
        raise ValueError(
            f"class_names has {_twice(given)!r} more than once, and the names are the labels. Remove one, or pass a "
            "mapping {label: name}."
        )
    classes = join_labels(labels, np.array(given))
    rows = np.argsort(np.array(given))
    return classes, [given[row] for row in rows], rows


def _indexed(labels: NDArray[Any], n_rows: int, parameter: str) -> NDArray[Any]:
    """Classes of integer labels that index a parameter, of which every index is a class."""
    outside = labels[(labels < 0) | (labels >= n_rows)]
    if len(outside):
        raise ValueError(
            f"the integer labels {some(outside.tolist())} are not indices of {parameter}, which has length "
            f"{n_rows}; labels must be from 0 to {n_rows - 1}."
        )
    return join_labels(labels, np.arange(n_rows))


def _shown_mapping(labels: NDArray[Any], names: Sequence[str] = ()) -> str:
    """Write the mapping to pass, for a message, with the names in the order of the sorted labels."""
    fit = len(names) == len(labels)
    pairs = [
        f"{label!r}: {names[i] if fit else '...'!r}" for i, label in enumerate(labels[:5].tolist())
    ]
    return "{" + ", ".join(pairs) + (", ...}" if len(labels) > 5 else "}")


def _twice(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def unknown_labels(labels: Iterable[Any], known: Iterable[Any]) -> list[Any]:
    """Return the distinct labels that are not among the known ones."""
    among = set(known)
    return [label for label in dict.fromkeys(map(plain, labels)) if label not in among]


def with_nearest(names: Sequence[Any], known: Collection[Any]) -> str:
    """List up to five names for a message, each with the most similar one of the known names."""
    spelled = {str(name): plain(name) for name in known}
    near = [(name, difflib.get_close_matches(str(name), spelled, 1)) for name in names[:5]]
    shown = [
        f"{plain(name)!r}" + "".join(f" (there is {spelled[match]!r})" for match in matches)
        for name, matches in near
    ]
    return ", ".join(shown) + (", ..." if len(names) > 5 else "")


def plain(label: Any) -> Any:
    """Convert a NumPy scalar to Python's type, so that messages show 'cat', not np.str_('cat')."""
    return label.item() if isinstance(label, np.generic) else label


def kind_of(labels: NDArray[Any]) -> str:
    """Name the kind of checked labels, for messages."""
    return _KINDS.get(labels.dtype.kind, str(labels.dtype))


def join_labels(known: NDArray[Any], new: NDArray[Any], name: str = "y") -> NDArray[Any]:
    """Return the sorted union of labels; ValueError if the new ones are of another kind.

    The type of the known numbers is kept if it holds the new ones.
    """
    if not len(new) or not len(known):
        return np.unique(known if len(known) else new)
    if kind_of(known) != kind_of(new):
        raise ValueError(
            f"{name} holds {kind_of(new)}, such as {plain(new[0])!r}, but the classes are {kind_of(known)}, such as "
            f"{plain(known[0])!r}. Labels must be of one kind."
        )
    both = np.union1d(known, new)
    if kind_of(known) == NUMBERS and np.array_equal(as_known := both.astype(known.dtype), both):
        return as_known
    return both


def codes_of(labels: ArrayLike, classes: NDArray[Any]) -> NDArray[np.intp]:
    """Index of each label in the sorted classes, which include all labels."""
    return np.searchsorted(classes, np.asarray(labels).astype(classes.dtype, copy=False))


def check_weights(sample_weight: ArrayLike, n_shots: int) -> NDArray[np.float64]:
    """Check the weights of shots, (m,). They must not be negative, huge or tiny, and may all be 0."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_shots, sample_weight)
    weights: NDArray[np.float64] = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, copy=True, input_name="sample_weight"
    )
    if weights.shape != (n_shots,):
        raise ValueError(
            f"sample_weight has the shape {weights.shape}, expected {(n_shots,)}: one weight per shot."
        )
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        raise ValueError(
            f"Negative sample_weight: {weights[negative[0]]:g} at index {negative[0]}. Weights must be 0 or more."
        )
    if weights.any() and not 1 / MOST_WEIGHT < weights.sum() < MOST_WEIGHT:
        raise ValueError(
            f"sample_weight sums to {weights.sum():g}; a weight is the number of times that a shot counts. "
            "Multiply all of them by a constant, so that they are about 1."
        )
    return weights


def class_weighted(
    class_weight: Mapping[Any, float] | str | None,
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    classes: NDArray[Any],
) -> NDArray[np.float64] | None:
    """Multiply the weights of shots, (m,) or None for ones, by those of their classes.

    The result is None if nothing is weighted.
    """
    if class_weight is None or not len(codes):
        return weights
    weights = np.ones(len(codes)) if weights is None else weights
    if isinstance(class_weight, Mapping):
        of_classes = compute_class_weight(dict(class_weight), classes=classes, y=classes)
        if of_classes.min() < 0:
            raise ValueError(f"Negative class_weight: {of_classes.min():g}. Pass 0 or more.")
    else:  # "balanced", among the classes that have shots
        counts = np.bincount(codes, weights, minlength=len(classes))
        of_classes = counts.sum() / np.count_nonzero(counts) / np.where(counts > 0, counts, 1)
    return weights * of_classes[codes]


def check_groups(groups: ArrayLike | None, n_shots: int) -> NDArray[Any] | None:
    """Check the groups of shots, (n_shots,) or None."""
    if groups is None:
        return None
    _check_present(
        groups if isinstance(groups, list | tuple) else np.asarray(groups).tolist(), "groups"
    )
    labels: NDArray[Any] = column_or_1d(groups, warn=True, input_name="groups")
    if len(labels) != n_shots:
        raise ValueError(
            f"groups has the length {len(labels)}, expected {n_shots}: one group per shot."
        )
    return labels


def _check_present(items: Sequence[Any], name: str) -> None:
    missing = [index for index, item in enumerate(items) if is_missing(item)]
    if missing:
        raise ValueError(
            f"{name} contains NaN or None: {plain(items[missing[0]])!r} at index {missing[0]} ({len(missing)} in all). "
            "Remove these rows."
        )


def joined_groups(old: NDArray[Any] | None, new: NDArray[Any] | None) -> NDArray[Any] | None:
    """Join the groups of old and new shots; both or none of them must have groups."""
    if old is None and new is None:
        return None
    if old is None or new is None:
        raise ValueError(
            "groups must be given for all shots or for none, and the earlier shots have "
            f"{'none' if old is None else 'groups'}; call fit with all shots."
        )
    return np.concatenate([old, new])


def joined_weights(
    old: NDArray[Any] | None, n_old: int, new: NDArray[Any] | None, n_new: int
) -> NDArray[Any] | None:
    """Join the weights of old and new shots. None means a weight of 1 for all."""
    if old is None and new is None:
        return None
    old, new = np.ones(n_old) if old is None else old, np.ones(n_new) if new is None else new
    return np.concatenate([old, new])


def label_of_unknown(given: Any, classes: NDArray[Any]) -> Any:
    """Check the label of unknown images; None stands for a default of the same kind as the classes."""
    kind = kind_of(classes)
    if kind == BOOLEANS:
        raise ValueError(
            "y holds booleans, which leave no value for the label of unknown images; use strings or integers."
        )
    if given is None:
        given = "unknown" if kind == TEXT else -1
    if kind_of(np.asarray([given])) != kind:
        raise ValueError(
            f"unknown_label={given!r}, but y holds {kind}, such as {classes.tolist()[0]!r}; pass a label of that kind."
        )
    if given in classes.tolist():
        raise ValueError(
            f"unknown_label={given!r} is one of the classes. Pass another one; if this class holds images of "
            "unknown classes, pass them as X_unknown instead."
        )
    return given


def is_missing(item: Any) -> bool:
    """Whether an item of a list or table is None or NaN."""
    if item is None:
        return True
    if hasattr(item, "__len__"):
        return False
    try:
        return bool(item != item)  # noqa: PLR0124
    except TypeError:
        # pandas.NA is neither equal to itself nor different.
        return True
