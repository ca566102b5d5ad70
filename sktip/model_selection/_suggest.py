"""Which images to label next."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_consistent_length, check_random_state, gen_batches

from sktip._few_shot import FewShotClassifier
from sktip._images.inputs import looks_like_images
from sktip._maths.copies import distance_of_copies, near_groups
from sktip._maths.unit import unit_norm
from sktip._utils.labels import check_labels, unknown_labels

#: Size of the random sample: 5,000 images, or 5 per chosen image if that is more.
MOST_ROWS, ROWS_PER_SHOT = 5000, 5
#: Number of images whose gains are computed together.
BATCH = 256


def suggest_shots(
    X: ArrayLike,
    n: int,
    *,
    X_labeled: ArrayLike | None = None,
    y: ArrayLike | None = None,
    text_features: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    query: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> NDArray[np.intp]:
    r"""Choose which unlabelled images to label next.

    The chosen images represent all others: every image should be similar to one of them, in its
    features and in the class probabilities of `sktip.FewShotClassifier`. Images that are similar to a
    labelled image are chosen last.

    Read more in the :ref:`User Guide <guide_what_to_label>`.

    Parameters
    ----------
    X : array-like of shape (m, d)
        Features of the unlabelled images.

    n : int
        Number of images to choose, at most m.

    X_labeled : array-like of shape (m_labeled, d), default=None
        Features of the images that are labelled already.

    y : array-like of shape (m_labeled,), default=None
        Labels of `X_labeled`.

    text_features : array-like of shape (C, d), default=None
        Text features of the classes, from ``encoder.encode_text(names)``. Without text features and
        labels, images are compared by their features only.

    class_names : sequence of length C, default=None
        Label of each row of `text_features`. If None, labels are integers that index the rows.

    query : array-like of shape (d,), default=None
        Feature of what to label, such as ``encoder.encode_text(["a lynx"])[0]`` or that of a photo, to find the first
        images of a rare class. The most similar images are chosen, without near copies of a chosen or labelled one.

    random_state : int, RandomState instance or None, default=None
        Seed of the random sample that is used if there are more than 5,000 images. With fewer images,
        the result does not depend on it.

    Returns
    -------
    rows : ndarray of shape (n,), int
        Distinct row indices of `X`. Images that represent most others come first.

    Raises
    ------
    ValueError
        If `n` is larger than m, or if labels, images and text do not match.

    See Also
    --------
    sktip.rank_images : Find images by words or by example.
    held_out_proba : Find wrong labels among labelled images.
    check_class_names : Find class names that CLIP misreads.
    forecast_accuracy : Forecast the accuracy with more photos.

    Notes
    -----
    The similarity of two images is the dot product of their unit features, plus that of the square
    roots of their class probabilities. Both vectors have unit length, so both count the same. The
    probabilities are used if text or labels are given. They are those of `sktip.FewShotClassifier` with
    the images of X as unlabelled images.

    Images are chosen one by one. Each choice maximises the sum, over all images, of the similarity to
    the nearest chosen or labelled image [1]_.

    With more than 5,000 images, a random sample of 5,000 (or of 5 per chosen image, if that is more)
    stands for all. Memory beyond X does not grow with m.

    References
    ----------
    .. [1] K. Wei, R. Iyer and J. Bilmes, "Submodularity in data subset selection and active learning",
       ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import CLIPFeatureTransformer
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import suggest_shots
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> clip = CLIPFeatureTransformer("tiny")
    >>> X, names = clip.transform(images[:300]), sorted(set(labels))
    >>> text = clip.encode_text(names, "the digit {}")
    >>> rows = suggest_shots(X, 10, text_features=text)
    >>> rows.shape, len(set(labels[rows])) > 5
    ((10,), True)
    """
    rng = check_random_state(random_state)
    X = _features(X, "X")
    if not isinstance(n, Integral) or not 1 <= n <= len(X):
        raise ValueError(f"n={n!r} must be an integer from 1 to the number of images, {len(X)}.")
    if (X_labeled is None) != (y is None):
        raise ValueError(
            "X_labeled and y must be passed together: labelled images and their labels."
        )
    labelled = X[:0] if X_labeled is None else _features(X_labeled, "X_labeled", X.shape[1])
    if query is not None:
        target = _features(np.atleast_2d(query), "query", X.shape[1])
        return _most_similar(X, labelled, target[0], int(n))
    n_rows = max(MOST_ROWS, ROWS_PER_SHOT * int(n))
    sample = np.sort(rng.permutation(len(X))[:n_rows])
    classifier = _classifier(X[sample], labelled, y, text_features, class_names)
    rows, known = (_with_classes(part, classifier) for part in (X[sample], labelled))
    return sample[_representatives(rows, known, int(n))]


def _most_similar(
    X: NDArray[np.float32], known: NDArray[np.float32], target: NDArray[np.float32], n: int
) -> NDArray[np.intp]:
    """Choose the rows that are most similar to a target, those without an earlier or known copy first."""
    rows = np.argsort(-(X @ target), kind="stable")
    pool = rows[: max(MOST_ROWS, ROWS_PER_SHOT * n)]
    groups = near_groups(np.vstack([known, X[pool]]), distance_of_copies(X))
    firsts = np.unique(groups, return_index=True)[1] - len(known)
    chosen = pool[np.sort(firsts[firsts >= 0])[:n]]
    rest = rows[~np.isin(rows, chosen)]
    return np.concatenate([chosen, rest[: n - len(chosen)]])


def _with_classes(X: NDArray, classifier: FewShotClassifier | None) -> NDArray[np.float32]:
    """Append the square roots of the probabilities to unit features."""
    if classifier is None or not len(X):
        return X
    return np.concatenate([X, np.sqrt(classifier.predict_proba(X), dtype=np.float32)], axis=1)


def _features(X: Any, name: str, width: int | None = None) -> NDArray[np.float32]:
    if looks_like_images(X):
        raise ValueError(f"{name} looks like images; pass encoder.transform({name}).")
    rows = check_array(X, dtype=np.float32, input_name=name)
    if width is not None and rows.shape[1] != width:
        raise ValueError(f"{name} has {rows.shape[1]} features, but X has {width}.")
    return unit_norm(rows)


def _classifier(
    sample: NDArray, labelled: NDArray, y: Any, text_features: Any, class_names: Any
) -> FewShotClassifier | None:
    """Fit the classifier of the images. None if there are neither text features nor labels."""
    labels = None if y is None else check_labels(y)
    check_consistent_length(labelled if labels is not None else None, labels)
    if text_features is None:
        if class_names is not None:
            raise ValueError(
                "class_names are the labels of the rows of text_features, but text_features was not passed."
            )
        if labels is None or len(np.unique(labels)) < 2:
            return None
        with warnings.catch_warnings():
            # The user knows that there is no text, and the classifier is not kept.
            warnings.filterwarnings("ignore", "neither `encoder` nor")
            warnings.filterwarnings("ignore", "X_unlabeled: ")
            return FewShotClassifier().fit(labelled, labels, X_unlabeled=sample)
    unknown = [] if class_names is None or labels is None else unknown_labels(labels, class_names)
    if unknown:
        raise ValueError(f"y holds the label {unknown[0]!r}, which is not in class_names; add it.")
    clf = FewShotClassifier(text_features=text_features, class_names=class_names)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X_unlabeled: ")
        return clf.fit(None if labels is None else labelled, labels, X_unlabeled=sample)


def _representatives(
    rows: NDArray[np.float32], known: NDArray[np.float32], n: int
) -> NDArray[np.intp]:
    """Choose n rows greedily, so that each row has a similar one among them or the `known`."""
    if len(known):
        chosen: list[int] = []
        batches = gen_batches(len(known), BATCH)
        nearest = np.max([(known[batch] @ rows.T).max(axis=0) for batch in batches], axis=0)
    else:
        # Start with the row that is most similar to all rows.
        chosen = [int((rows @ rows.sum(axis=0)).argmax())]
        nearest = rows @ rows[chosen[0]]

    def gains_of(candidates: Any) -> Any:
        closer = rows[candidates] @ rows.T
        closer -= nearest
        return np.maximum(closer, 0, out=closer).sum(axis=1)

    gains = np.concatenate([gains_of(batch) for batch in gen_batches(len(rows), BATCH)])
    gains[chosen] = -np.inf
    up_to_date = np.ones(len(rows), bool)
    while len(chosen) < n:
        # Gains only shrink as more rows are chosen: only the largest have to be recomputed.
        while not up_to_date[gains.argmax()]:
            largest = np.argsort(-gains)[:BATCH]
            largest = largest[~up_to_date[largest] & np.isfinite(gains[largest])]
            gains[largest], up_to_date[largest] = gains_of(largest), True
        chosen.append(int(gains.argmax()))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
        gains[chosen[-1]] = -np.inf
        up_to_date[:] = False
    return np.array(chosen, np.intp)
