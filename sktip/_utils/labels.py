"""Checks of labels, sample weights and groups."""

import difflib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.multiclass import type_of_target

from sktip._utils.warn import warn

TEXT, BOOLEANS, INTEGERS, FLOATS = "text", "booleans", "integers", "floating-point numbers"
_KINDS = {"U": TEXT, "O": TEXT, "b": BOOLEANS, "i": INTEGERS, "u": INTEGERS, "f": FLOATS}
#: Longest label, in characters. NumPy reserves the length of the longest label for every row.
LONGEST_LABEL = 1000
#: Bound of the sum of weights. Products of it with class weights do not overflow float32.
MOST_WEIGHT = 1e12


def check_labels(y: Any, name: str = "y") -> NDArray[Any]:
    """Check labels, and return them as an array, (n,), without changing their type.

    They are text (of dtype str, or object if it was given so), booleans, integers, or whole floating-point
    numbers: a list, an array or a column of a table. A text that occurs in several Unicode spellings gets the
    composed one. ValueError if some are missing, of another kind than the others, or longer than 1,000
    characters, or if they are not class labels.
    """
    labels = _as_array(y, name)
    if not len(labels):
        return labels
    if labels.dtype != object:
        assert_all_finite(labels, input_name=name)
    found = type_of_target(labels, input_name=name)
    if found not in ("binary", "multiclass") or labels.dtype.kind not in _KINDS:
        raise ValueError(
            f"Unknown label type: {found}. Labels must be strings or integers; {name} looks like the target "
            "of a regression."
        )
    if not _is_ascii(labels):
        distinct = set(labels.tolist())
        if len(set(map(composed, distinct))) < len(distinct):
            # Two Unicode forms of a text are one class.
            return _replaced(labels, composed)
    return labels


def composed(label: Any) -> Any:
    """Return a text in Unicode's composed form (NFC), in which "é" is one character; else the label."""
    return unicodedata.normalize("NFC", label) if isinstance(label, str) else label


def spelled_as(known: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Return the labels; texts that differ from a known one in their Unicode form only are spelled as it."""
    if kind_of(known) != TEXT or _is_ascii(labels):
        return labels
    spelling = {composed(label): label for label in known.tolist()}
    return _replaced(labels, lambda label: spelling.get(composed(label), label))


def unknown_labels(labels: Iterable[Any], known: Iterable[Any]) -> list[Any]:
    """Return the distinct labels that are not among the known ones. Unicode forms may differ."""
    among = set(map(composed, known))
    return [label for label in dict.fromkeys(map(plain, labels)) if composed(label) not in among]


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

    The type of the known labels is kept if it holds the new ones.
    """
    if not len(new) or not len(known):
        return np.unique(known if len(known) else new)
    if kind_of(known) != kind_of(new):
        raise ValueError(
            f"{name} holds {kind_of(new)}, such as {plain(new[0])!r}, but the classes are {kind_of(known)}, such as "
            f"{plain(known[0])!r}. Labels must be of one kind."
        )
    if kind_of(new) == INTEGERS:
        # As Python integers, since NumPy converts signed and unsigned integers together to floats.
        both = sorted({*known.tolist(), *new.tolist()})
        return np.array(both, integer_type(known.dtype, both[0], both[-1]))
    return np.union1d(known, spelled_as(known, new))


def integer_type(dtype: np.dtype, least: int, largest: int) -> np.dtype:
    """Return the integer type `dtype` if it holds the numbers, else the smallest one that does."""
    own = [dtype] if dtype.kind in "iu" else []
    for wanted in (*own, *map(np.dtype, ("i2", "i4", "i8", "u8"))):
        limits = np.iinfo(wanted)
        if limits.min <= least and largest <= limits.max:
            return wanted
    raise ValueError(
        f"no integer type holds both labels {least} and {largest}; use strings as labels."
    )


def codes_of(labels: ArrayLike, classes: NDArray[Any]) -> NDArray[np.intp]:
    """Index of each label in the sorted classes, which include all labels."""
    labels = spelled_as(classes, np.asarray(labels))
    # Converted first: NumPy would compare two integer types as floats, which are not exact.
    return np.searchsorted(classes, labels.astype(classes.dtype, copy=False))


def check_weights(
    sample_weight: ArrayLike, n_shots: int, name: str = "sample_weight"
) -> NDArray[np.float64]:
    """Check the weights of shots, (n_shots,). They must not be negative, huge or tiny, and may all be 0."""
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_shots, sample_weight)
    weights: NDArray[np.float64] = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, copy=True, input_name=name
    )
    if weights.shape != (n_shots,):
        raise ValueError(
            f"{name} has the shape {weights.shape}, expected {(n_shots,)}: one weight per shot."
        )
    negative = np.flatnonzero(weights < 0)
    if len(negative):
        raise ValueError(
            f"Negative {name}: {weights[negative[0]]:g} at index {negative[0]}. Weights must be 0 or more."
        )
    if weights.any() and not 1 / MOST_WEIGHT < weights.sum() < MOST_WEIGHT:
        raise ValueError(
            f"{name} sums to {weights.sum():g}; a weight is the number of times that a shot counts. Multiply all of "
            "them by a constant, so that they are about 1."
        )
    return weights


def class_weighted(
    class_weight: Mapping[Any, float] | str | None,
    codes: NDArray[Any],
    weights: NDArray[Any] | None,
    classes: NDArray[Any],
) -> NDArray[np.float64] | None:
    """Multiply the weights of shots, (m,) or None for ones, by those of their classes.

    The result is None if nothing is weighted. A class that is not in the mapping has the weight 1. As in
    scikit-learn, keys that are no classes are only accepted if every class has a weight.
    """
    if class_weight is None or not len(codes):
        return weights
    own = np.ones(len(codes)) if weights is None else weights
    if isinstance(class_weight, Mapping):
        unknown = unknown_labels(class_weight, classes)
        if unknown and len(class_weight) - len(unknown) < len(classes):
            raise ValueError(
                f"class_weight has weights of {with_nearest(unknown, classes)}, which are not classes. Correct or "
                "remove them; classes without shots are named by class_names, or by the classes of partial_fit."
            )
        by_label = {composed(label): weight for label, weight in class_weight.items()}
        given = [by_label.get(composed(label), 1) for label in classes.tolist()]
        of_classes = check_weights(given, len(given), "class_weight")
    else:
        counts = np.bincount(codes, own, minlength=len(classes))
        of_classes = counts.sum() / np.count_nonzero(counts) / np.where(counts > 0, counts, 1)
    weighted: NDArray[np.float64] = own * of_classes[codes]
    return weighted


def check_groups(groups: ArrayLike | None, n_shots: int) -> NDArray[Any] | None:
    """Check the groups of shots, (n_shots,) or None."""
    if groups is None:
        return None
    labels = _as_array(groups, "groups")
    if labels.dtype.kind in "fmM":
        _check_present(list(labels), "groups")
    if len(labels) != n_shots:
        raise ValueError(
            f"groups has the shape {labels.shape}, expected {(n_shots,)}: one group per shot."
        )
    return labels


def joined_groups(old: NDArray[Any] | None, new: NDArray[Any] | None) -> NDArray[Any] | None:
    """Join the groups of old and new shots; both or none of them must have groups."""
    if (old is None) != (new is None):
        raise ValueError(
            "groups must be given for all shots or for none, and the earlier shots have "
            f"{'none' if old is None else 'groups'}; call fit with all shots."
        )
    # Not `np.concatenate`, which would convert signed and unsigned integers together to floats.
    return None if old is None or new is None else _as_array([*old, *new], "groups")


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
    if kind_of(np.asarray([given])) not in (kind, INTEGERS if kind == FLOATS else kind):
        raise ValueError(
            f"unknown_label={given!r}, but y holds {kind}, such as {classes.tolist()[0]!r}; pass a label of that kind."
        )
    if given in classes.tolist():
        raise ValueError(
            f"unknown_label={given!r} is one of the classes. Pass another one; if this class holds images of "
            "unknown classes, pass them as X_unknown instead."
        )
    return given


def type_with(classes: NDArray[Any], label: Any) -> np.dtype:
    """Type of an array of labels from the sorted classes and one more label of their kind."""
    if kind_of(classes) == INTEGERS:
        least, largest = int(classes[0]), int(classes[-1])
        return integer_type(classes.dtype, min(least, label), max(largest, label))
    if kind_of(classes) == FLOATS or classes.dtype == object:
        return classes.dtype
    # With room for the longest text: in the type of "cat", "unknown" would become "unk".
    return np.result_type(classes, np.asarray(label))


def _as_array(y: Any, name: str) -> NDArray[Any]:
    """Labels as a 1-D array, without changing their types."""
    given = y
    if not isinstance(y, Sequence) or isinstance(y, str | bytes):
        given = np.asarray(y)
        if given.ndim == 2 and given.shape[1] == 1:
            warn(
                f"A column-vector {name} was passed when a 1d array was expected. Please change the shape of "
                f"{name} to (n_samples,), for example using ravel().",
                DataConversionWarning,
            )
            given = given[:, 0]
        if given.ndim != 1:
            raise ValueError(
                f"{name} should be a 1d array, got an array of shape {given.shape} instead. Several tags per photo are for "
                "FewShotTagger."
            )
        if given.dtype.kind not in "OT":
            if given.dtype.kind == "U" and given.dtype.itemsize > 4 * LONGEST_LABEL:
                _check_lengths(given.tolist(), name)
            return given
    # Checked one by one: NumPy would convert [3, "cat"] to strings, and [True, 2] to integers.
    items = list(given)
    if any(isinstance(item, list | tuple | set) for item in items):
        raise ValueError(
            f"{name} should be a 1d array, and has several labels per item. For several tags per photo use FewShotTagger, with "
            f"the matrix of sklearn.preprocessing.MultiLabelBinarizer().fit_transform({name})."
        )
    kinds = _kinds(items, name)
    if kinds == {TEXT}:
        _check_lengths(items, name)
    if not kinds <= {TEXT, BOOLEANS, INTEGERS, FLOATS}:
        try:
            array = np.asarray(items)
        except ValueError:
            array = np.empty(len(items), dtype=object)
        return _as_array(array, name) if array.dtype != object else array
    if kinds == {TEXT} and getattr(getattr(given, "dtype", None), "kind", "") == "O":
        return np.array(items, dtype=object)
    array = np.array(items)
    if kinds == {INTEGERS} and array.dtype.kind not in "iu":
        # NumPy converts integers of more than 63 bits to floats.
        return np.array(items, integer_type(array.dtype, min(items), max(items)))
    return array


def _kinds(items: list[Any], name: str) -> set[str]:
    """Kinds of the labels; raise an error if one is missing, or if text or booleans are mixed in."""
    kind_of_type = {kind: _kind_of_type(kind) for kind in set(map(type, items))}
    kinds = set(kind_of_type.values())
    if not kinds <= {TEXT, BOOLEANS, INTEGERS}:
        _check_present(items, name)
    for kind in (TEXT, BOOLEANS):
        if kind in kinds and len(kinds) > 1:
            first = kind_of_type[type(items[0])]
            odd = next(i for i, item in enumerate(items) if kind_of_type[type(item)] != first)
            raise ValueError(
                f"{name} mixes {kind} with other labels: {plain(items[0])!r} at index 0, {plain(items[odd])!r} at index "
                f"{odd}. Make them all strings{'' if name == 'groups' else ', or all integers with class_names'}."
            )
    return kinds


def _check_present(items: list[Any], name: str) -> None:
    missing = [index for index, item in enumerate(items) if is_missing(item)]
    if missing:
        advice = "is not a label. Remove these rows"
        if name == "groups":
            advice = "is not a group. Give each of these shots a group of its own"
        raise ValueError(
            f"{name} contains NaN or None: {plain(items[missing[0]])!r} at index {missing[0]} ({len(missing)} in "
            f"all) {advice}."
        )


def _check_lengths(items: list[str], name: str) -> None:
    longest = max(items, key=len)
    if len(longest) > LONGEST_LABEL:
        raise ValueError(
            f"{name} holds a text of {len(longest):,} characters at index {items.index(longest)}: "
            f"{longest[:40] + '...'!r}. Labels have at most {LONGEST_LABEL:,} characters; shorten it."
        )


def _is_ascii(labels: NDArray[Any]) -> bool:
    return kind_of(labels) != TEXT or "".join(labels.tolist()).isascii()


def _replaced(labels: NDArray[Any], replace: Callable[[Any], Any]) -> NDArray[Any]:
    dtype = object if labels.dtype == object else None
    return np.array(list(map(replace, labels.tolist())), dtype)


def _kind_of_type(kind: type) -> str:
    known = ((TEXT, str), (BOOLEANS, bool | np.bool_), (INTEGERS, Integral), (FLOATS, Real))
    return next((name for name, types in known if issubclass(kind, types)), kind.__name__)


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
