"""Which shots are held out together."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sktip._maths.copies import joined, mean_squared_distance, near_groups

#: Default of `copies`. Copies with noise of a tenth of their length are found; of 43,000 pairs of
#: different photos of one class (Cars, ImageNet, textures), 3 count as copies.
COPIES = 0.04
#: Number of held-out shots on which one or two numbers can be chosen.
ENOUGH_SHOTS = 512
#: Folds at most, where the choice of a weight is all that they are for.
MAX_FOLDS = 8


class Split(NamedTuple):
    """Rows of the cached shots, (v,), and of those that are held out together and query them, (q,)."""

    cached: NDArray[Any]
    held_out: NDArray[Any]


def balanced_folds(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    *,
    max_folds: int | None = None,
    staggered: bool = False,
    copies: float = COPIES,
) -> NDArray[Any]:
    """Fold of each shot, (m,): each fold has one shot of every class, so that all lose equally many.

    Folds are numbered from 0, and earlier folds hold at least as many classes. They depend on the distances
    between shots alone, not on the order of the rows or the columns, and hardly on rounding. Copies of a shot
    share a fold, and so do the shots of a group.

    Features, (m, d), have a length of about 1; codes, weights and groups are (m,). A shot of weight 2 is dealt like
    one that is given twice. Without `max_folds`, a class of k different shots makes k folds. With `staggered`, each
    class begins in the fold after that of the class before, so that classes of one shot are held out in `max_folds`
    parts. Two shots of a class are copies if their squared distance is below the fraction `copies` of the mean
    squared distance between shots; with 0, only shots that are equal but for rounding.
    """
    if not len(codes):
        return np.zeros(0, np.intp)
    keys = _content_keys(features, weights)
    together = _photos(features, codes, keys, weights, groups=groups, copies=copies)
    keys = _smallest(keys, together)
    # The place of a shot is the number of different shots of its class before it.
    order = np.lexsort((together, keys, codes))
    first = np.diff(codes[order], prepend=-1) != 0
    distinct = np.cumsum(first | (np.diff(together[order], prepend=-1) != 0))
    places = np.empty(len(order), np.intp)
    places[order] = distinct - np.maximum.accumulate(np.where(first, distinct, 0))
    # A group of several classes has one place, which may leave other places empty.
    places = np.unique(_smallest(places, together), return_inverse=True)[1]
    result: NDArray[Any] = places if max_folds is None else places % max_folds
    if staggered and max_folds is not None:
        n_folds = min(max_folds, places.max() + 1) if places.any() else max_folds
        result = (places + _smallest(codes, together)) % n_folds
        result = np.unique(result, return_inverse=True)[1]
    return result


def photo_weights(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Weights of shots, (m,), whose sum over a class is its number of distinct photos.

    Copies of a shot and the shots of a group are one photo of a class. Of photos with uneven weights, the number is
    that of even ones with the same information (Kish's effective sample size), so that only the ratios within a
    class count, and a photo may be given any number of times.
    """
    weights = np.ones(len(codes)) if weights is None else weights.astype(np.float64)
    rows = np.flatnonzero(weights)
    if not len(rows):
        return weights
    features, kept_weights, codes = features[rows], weights[rows], codes[rows]
    groups = None if groups is None else groups[rows]
    kept_weights = kept_weights / np.bincount(codes, kept_weights)[codes]
    keys = _content_keys(features, kept_weights)
    together = _photos(features, codes, keys, kept_weights, groups=groups, copies=COPIES)
    pairs, photos = np.unique(np.stack([codes, together]), axis=1, return_inverse=True)
    squares = np.bincount(pairs[0], np.bincount(photos.ravel(), kept_weights) ** 2)
    result = np.zeros(len(weights))
    result[rows] = kept_weights / squares[codes]
    return result


def held_out_folds(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    *,
    max_folds: int | None = None,
    enough: float = ENOUGH_SHOTS,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Folds of `balanced_folds` to hold out one after another, and the number of each shot, (m,) both.

    The fold is -1 for shots that are never held out: those of a class that would be left without a shot, and
    those of further folds once `enough` different shots are held out. Copies, and shots of a class and group,
    have the same number.
    """
    places = balanced_folds(features, codes, weights, groups)
    pairs = np.stack([codes, places])
    shots = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
    folds = places if max_folds is None else places % max_folds
    of_folds = np.unique(np.stack([codes, folds]), axis=1)[0]
    folds = np.where(np.bincount(of_folds)[codes] > 1, folds, -1)
    if (folds >= 0).any():
        first = np.unique(shots, return_index=True)[1]
        sizes = np.cumsum(np.bincount(folds[first] + 1)[1:])
        folds[folds >= max(1, int((sizes <= enough).sum()))] = -1
    return folds, shots


def scored_folds(
    features: NDArray[Any],
    codes: NDArray[Any],
    weights: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    max_folds: int,
) -> NDArray[Any]:
    """Folds of `balanced_folds` that have `ENOUGH_SHOTS` shots, (m,); -1 for the other shots.

    The only shot of a class is held out too: it stands for the classes that have no shots. If fewer
    shots than classes have another shot of their class in another fold, no shot is held out.
    """
    folds = balanced_folds(features, codes, weights, groups, max_folds=max_folds)
    _, classes = np.unique(codes, return_inverse=True)
    counts = np.zeros((classes.max() + 1, folds.max() + 1))
    np.add.at(counts, (classes, folds), 1)
    shared = counts[classes, folds] < counts.sum(axis=1)[classes]
    if weights[shared].sum() < len(counts):
        return np.full(len(codes), -1)
    # By weight, since a shot of weight 2 counts like one that is given twice.
    before = np.cumsum(np.bincount(folds, weights)) - np.bincount(folds, weights)
    return np.where(before[folds] < ENOUGH_SHOTS, folds, -1)


def class_balanced_weights(
    codes: NDArray[Any], weights: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Weights of shots that give every class the same total, as queries are assumed to have.

    Codes and weights are (q,); without weights, the shots count alike. The sum is the size of a balanced sample
    with the same information. A class whose weights have a sum below 1 counts in proportion.
    """
    weights = np.ones(len(codes)) if weights is None else weights
    counts = np.bincount(codes, weights)
    there = np.minimum(counts, 1)
    shares = np.divide(there, counts, out=np.zeros(len(counts)), where=counts > 0)
    information = there.sum() / (there * shares).sum()
    return weights * information * shares[codes]


def content_order(features: NDArray[Any], codes: NDArray[Any]) -> NDArray[Any]:
    """Return an order of the shots, (m,), that does not depend on the order of the rows."""
    return np.lexsort((_content_keys(features), codes))


def distinct_rows(features: NDArray[Any]) -> NDArray[np.intp]:
    """Rows of which no two are equal, in an order that does not depend on that of `features`."""
    return np.unique(_content_keys(features), return_index=True)[1]


def _content_keys(features: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[np.intp]:
    """Return a number for each row, (m,), by which they can be sorted; equal rows have the same number."""
    # Digits of the distance to the mean are an order that no property of the features decides, and that stays when they
    # are rotated. Later digits would differ between computers, whose features differ by rounding. Rows at
    # the same distance are told apart by a projection.
    features = features.astype(np.float64)
    distances = ((features - np.average(features, axis=0, weights=weights)) ** 2).sum(axis=1)
    mix = np.random.RandomState(0).normal(size=features.shape[1])
    keys = np.round(np.stack([64 * distances, 4 * (features @ mix)]) % 1, 9)
    return np.unique(keys, axis=1, return_inverse=True)[1].ravel()


def _photos(
    features: NDArray[Any],
    codes: NDArray[Any],
    keys: NDArray[Any],
    weights: NDArray[Any] | None,
    *,
    groups: NDArray[Any] | None,
    copies: float,
) -> NDArray[Any]:
    """Return the number of the photo of each shot, (m,): copies and the shots of a group are one photo."""
    together = _copies(features, codes, keys, weights, copies)
    if groups is None:
        return together
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    return joined(together, together, together[first[number]])


def _copies(
    features: NDArray[Any],
    codes: NDArray[Any],
    keys: NDArray[Any],
    weights: NDArray[Any] | None,
    fraction: float,
) -> NDArray[Any]:
    """Row of the shot that each shot is a copy of, (m,); of several, the one with the smallest key."""
    # The second term is rounding, for shots that are all equal.
    limit = fraction * mean_squared_distance(features, weights) + 2e-6
    result = np.arange(len(codes))
    order = np.lexsort((keys, codes))
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        groups = near_groups(features[rows], limit)
        result[rows] = rows[np.unique(groups, return_index=True)[1]][groups]
    return result


def _smallest(values: NDArray[Any], parts: NDArray[Any]) -> NDArray[Any]:
    """Smallest value in the part of each row."""
    smallest = np.full(parts.max() + 1, values.max())
    np.minimum.at(smallest, parts, values)
    return smallest[parts]
