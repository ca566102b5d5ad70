"""Labels: of one kind, without gaps, and never turned into something else."""

from collections.abc import Mapping, Sequence
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


def check_labels(y: Any, name: str = "y") -> NDArray[Any]:
    """Check labels, and return them as an array that says the same.

    Parameters
    ----------
    y : array-like of shape (n,)
        Labels as users give them: a list, an array, a column of a table. A table of one column
        is taken with a warning, as scikit-learn does.

    name : str, default="y"
        What messages call them.

    Returns
    -------
    labels : ndarray of shape (n,)
        Text (of dtype str, or object if it was given so), booleans, integers, or whole
        floating-point numbers.

    Raises
    ------
    ValueError
        If they are of several kinds, some are missing, or they are no labels at all.
    """
    labels = _as_array(y, name)
    if not len(labels):
        return labels
    if labels.dtype != object:
        assert_all_finite(labels, input_name=name)
    found = type_of_target(labels, input_name=name)
    if found not in ("binary", "multiclass") or labels.dtype.kind not in _KINDS:
        raise ValueError(
            f"Unknown label type: {found}. Labels are strings or integers; {name} looks like the numbers of "
            "a regression."
        )
    return labels


def plain(label: Any) -> Any:
    """Return a label of NumPy as Python's own: a message shows 'cat', not np.str_('cat')."""
    return label.item() if isinstance(label, np.generic) else label


def kind_of(labels: NDArray[Any]) -> str:
    """Say what labels that were checked are, in words."""
    return _KINDS.get(labels.dtype.kind, str(labels.dtype))


def join_labels(known: NDArray[Any], new: NDArray[Any], name: str = "y") -> NDArray[Any]:
    """Join labels of the same kind: sorted, each once, of a type that holds them all.

    Parameters
    ----------
    known : ndarray of shape (n_known,)
        The classes so far. Their type is kept if it holds the new ones.

    new : ndarray of shape (n_new,)
        More labels.

    name : str, default="y"
        What messages call the new ones.

    Returns
    -------
    joined : ndarray
        The sorted union.

    Raises
    ------
    ValueError
        If the new ones are of another kind.
    """
    if not len(new) or not len(known):
        return np.unique(known if len(known) else new)
    if kind_of(known) != kind_of(new):
        raise ValueError(
            f"{name} holds {kind_of(new)}, such as {plain(new[0])!r}, but the classes are {kind_of(known)}, such as "
            f"{plain(known[0])!r}. Labels are all of one kind."
        )
    if kind_of(new) == INTEGERS:
        # As Python's, since NumPy makes floats of signed integers beside unsigned ones.
        both = sorted({*known.tolist(), *new.tolist()})
        return np.array(both, integer_type(known.dtype, both[0], both[-1]))
    return np.union1d(known, new)


def integer_type(dtype: np.dtype, least: int, largest: int) -> np.dtype:
    """Choose the integer type: `dtype` if it holds the numbers, else the next that does."""
    own = [dtype] if dtype.kind in "iu" else []
    for wanted in (*own, *map(np.dtype, ("i2", "i4", "i8", "u8"))):
        limits = np.iinfo(wanted)
        if limits.min <= least and largest <= limits.max:
            return wanted
    raise ValueError(
        f"the integer labels {least} and {largest} fit into no one integer type; make labels strings."
    )


def codes_of(labels: ArrayLike, classes: NDArray[Any]) -> NDArray[np.intp]:
    """Place of each label in the sorted classes, which have all of them."""
    # Of two types NumPy would compare a third, such as floats of large integers.
    return np.searchsorted(classes, np.asarray(labels).astype(classes.dtype, copy=False))


def check_weights(
    sample_weight: ArrayLike, n_shots: int, name: str = "sample_weight"
) -> NDArray[np.float64]:
    """Check the weights of shots: (n_shots,), none of them negative. They may all be 0."""
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
            f"Negative {name}: {weights[negative[0]]:g} at index {negative[0]}. Weights are 0 or more."
        )
    return weights


def weights_of_classes(
    class_weight: Mapping[Any, float] | str,
    codes: NDArray[Any],
    weights: NDArray[Any],
    classes: NDArray[Any],
) -> NDArray[np.float64]:
    """Weights of the classes: (C,); ``"balanced"`` makes all that have shots count the same.

    Parameters
    ----------
    class_weight : mapping or "balanced"
        Weights by label; a class that is not in the mapping has 1.

    codes, weights : ndarray of shape (m,)
        Class codes of the shots, and their own weights.

    classes : ndarray of shape (C,)
        The classes.
    """
    if isinstance(class_weight, Mapping):
        given = [class_weight.get(label, 1) for label in classes.tolist()]
        return check_weights(given, len(given), "class_weight")
    counts = np.bincount(codes, weights, minlength=len(classes))
    even = counts.sum() / np.count_nonzero(counts)
    balanced: NDArray[np.float64] = np.ones(len(classes))
    np.divide(even, counts, out=balanced, where=counts > 0)
    return balanced


def check_groups(groups: ArrayLike | None, n_shots: int) -> NDArray[Any] | None:
    """Check the groups of shots: (n_shots,), or None if there are none."""
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n_shots,):
        raise ValueError(
            f"groups has the shape {labels.shape}, expected {(n_shots,)}: one group per shot."
        )
    return labels


def numbered(groups: NDArray[Any] | None) -> NDArray[np.intp] | None:
    """Give groups numbers as they come, from 0."""
    if groups is None:
        return None
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    numbers: NDArray[np.intp] = np.argsort(np.argsort(first))[inverse]
    return numbers


def joined_groups(old: NDArray[Any] | None, new: NDArray[Any] | None) -> NDArray[Any] | None:
    """Join the groups of old and new shots, which both have some or both have none."""
    if (old is None) != (new is None):
        raise ValueError(
            "groups are given for all shots or for none, and for the earlier ones it was "
            f"{'none' if old is None else 'all'}; call fit with all shots."
        )
    return None if old is None or new is None else np.concatenate([old, new])


def joined_weights(
    old: NDArray[Any] | None, n_old: int, new: NDArray[Any] | None, n_new: int
) -> NDArray[Any] | None:
    """Weights of old and new shots; None, where all weigh the same, is a weight of 1."""
    if old is None and new is None:
        return None
    return np.concatenate(
        [np.ones(n) if own is None else own for own, n in ((old, n_old), (new, n_new))]
    )


def label_of_unknown(given: Any, labels: NDArray[Any]) -> Any:
    """Check the answer to images that show no class; None is a usual one of the labels' kind."""
    kind = kind_of(labels)
    if kind == BOOLEANS:
        raise ValueError(
            "y holds booleans, which leave no third answer for images of nothing known; use strings or "
            "integers."
        )
    if given is None:
        given = "unknown" if kind == TEXT else -1
    if isinstance(given, str) != (kind == TEXT):
        raise ValueError(
            f"unknown_label={given!r}, but y holds {kind}, such as {labels.tolist()[0]!r}; they must be of one kind."
        )
    if given in labels.tolist():
        raise ValueError(
            f"unknown_label={given!r} is the label of shot {labels.tolist().index(given)}; give another one, or "
            "pass images of nothing known as X_unknown."
        )
    return given


def _as_array(y: Any, name: str) -> NDArray[Any]:
    """Labels in one dimension, of the type that each of them has."""
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
                f"{name} should be a 1d array, got an array of shape {given.shape} instead."
            )
        if given.dtype.kind not in "OT":
            return given
    # One by one: NumPy would turn 3 beside "cat" into "3", and True beside 2 into 1.
    items = list(given)
    kinds = _kinds(items, name)
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
        # Integers of more than 63 bits, of which NumPy makes floats.
        return np.array(items, integer_type(array.dtype, min(items), max(items)))
    return array


def _kinds(items: list[Any], name: str) -> set[str]:
    """Kinds of labels given one by one; raise an error where one is missing, or of another kind."""
    kind_of_type = {kind: _kind_of_type(kind) for kind in set(map(type, items))}
    kinds = set(kind_of_type.values())
    if not kinds <= {TEXT, BOOLEANS, INTEGERS}:
        missing = [index for index, item in enumerate(items) if _is_missing(item)]
        if missing:
            raise ValueError(
                f"{name} contains NaN or None: {plain(items[missing[0]])!r} at index {missing[0]} ({len(missing)} in "
                "all) is no label. Remove these rows."
            )
    for kind in (TEXT, BOOLEANS):
        if kind in kinds and len(kinds) > 1:
            first = kind_of_type[type(items[0])]
            odd = next(i for i, item in enumerate(items) if kind_of_type[type(item)] != first)
            raise ValueError(
                f"{name} mixes {kind} with other labels: {plain(items[0])!r} at index 0, {plain(items[odd])!r} at index "
                f"{odd}. Make them all strings, or all integers with class_names."
            )
    return kinds


def _kind_of_type(kind: type) -> str:
    known = ((TEXT, str), (BOOLEANS, bool | np.bool_), (INTEGERS, Integral), (FLOATS, Real))
    return next((name for name, types in known if issubclass(kind, types)), kind.__name__)


def _is_missing(item: Any) -> bool:
    if item is None:
        return True
    if hasattr(item, "__len__"):
        return False
    try:
        return bool(item != item)  # noqa: PLR0124
    except TypeError:
        # pandas.NA is neither equal to itself nor different.
        return True
