"""Which images to label next."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state, gen_batches

from sktip._few_shot import FewShotClassifier
from sktip._maths.unit import unit_norm
from sktip._utils.labels import check_labels, codes_of

#: Rows that clusters are made of, at least so many per cluster: more change them little.
MOST_ROWS, ROWS_PER_CLUSTER = 20_000, 20
#: Rounds of k-means; later ones hardly move a centre.
N_ROUNDS = 12
#: Rows that are looked at together.
BLOCK = 4096


def suggest_shots(
    X: ArrayLike,
    n: int,
    *,
    X_labeled: ArrayLike | None = None,
    y: ArrayLike | None = None,
    text_features: ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> NDArray[np.intp]:
    r"""Choose images to label next, so that few labels teach much.

    Images are clustered by what they look like and by what `sktip.FewShotClassifier` takes them for,
    and the image next to each centre is chosen: one of each kind, and a typical one. Clusters that
    have a labelled image are passed over.

    Read more in the :ref:`User Guide <guide_what_to_label>`.

    Parameters
    ----------
    X : array-like of shape (m, d)
        Features of the images without labels.

    n : int
        How many to choose, at most m.

    X_labeled : array-like of shape (m_labeled, d), default=None
        Features of the images that have labels already.

    y : array-like of shape (m_labeled,), default=None
        Their labels.

    text_features : array-like of shape (C, d), default=None
        Text features of the classes, ``encoder.encode_text(names)``. Without them, and without labels,
        only the looks of the images count.

    class_names : sequence of length C, default=None
        Label of each row of `text_features`. None: labels are integers that index the rows.

    random_state : int, RandomState instance or None, default=None
        Seed of the first centres.

    Returns
    -------
    rows : ndarray of shape (n,), int
        Rows of `X`, those of the largest clusters first. Each occurs once.

    Raises
    ------
    ValueError
        If there are not so many images, labels do not fit to images or text, or a row is zero.

    See Also
    --------
    held_out_proba : Finds wrong labels, once there are some.

    Notes
    -----
    The rows that are clustered are unit features beside the square roots of the class
    probabilities, which have unit length too, so that both count the same. Where text or labels are
    given, the probabilities are those of `sktip.FewShotClassifier` with a sample of X as unlabelled
    images. With more than 20,000 images (or 20 per cluster) the centres come from a random sample; memory
    beyond X does not grow with m.

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
    >>> rows = suggest_shots(X, 10, text_features=text, random_state=0)
    >>> rows.shape, len(set(labels[rows])) > 5
    ((10,), True)
    """
    rng = check_random_state(random_state)
    X = _features(X, "X")
    if not isinstance(n, Integral) or not 1 <= n <= len(X):
        raise ValueError(f"n={n!r}; it is an integer from 1 to the number of images, {len(X)}.")
    if (X_labeled is None) != (y is None):
        raise ValueError("X_labeled and y belong together: the labelled images and their labels.")
    labelled = X[:0] if X_labeled is None else _features(X_labeled, "X_labeled", X.shape[1])
    n_clusters = int(n) + len(labelled)
    n_rows = max(MOST_ROWS, ROWS_PER_CLUSTER * n_clusters)
    sample = np.sort(rng.permutation(len(X))[:n_rows])
    classifier = _classifier(X[sample], labelled, y, text_features, class_names)
    clusters = KMeans(n_clusters, init="random", n_init=1, max_iter=N_ROUNDS, random_state=rng)
    known = _looks_and_classes(labelled, classifier)
    with warnings.catch_warnings():
        # Fewer different images than clusters: what is missing is drawn at random.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters.fit(np.concatenate([known, _looks_and_classes(X[sample], classifier)]))
    nearest, sizes = _nearest_rows(X, classifier, clusters)
    if len(known):
        sizes[clusters.predict(known)] = 0
    order = np.argsort(-sizes, kind="stable")
    chosen = nearest[order][sizes[order] > 0][:n]
    rest = np.setdiff1d(rng.permutation(len(X)), chosen, assume_unique=True)
    return np.append(chosen, rest[: n - len(chosen)])


def _features(X: Any, name: str, width: int | None = None) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = check_array(X, dtype=np.float32, input_name=name)
    if width is not None and rows.shape[1] != width:
        raise ValueError(f"{name} has {rows.shape[1]} features, but X has {width}.")
    empty = np.flatnonzero(~rows.any(axis=1))
    if len(empty):
        raise ValueError(f"{name} has a row of zeros, row {empty[0]}; remove it.")
    return unit_norm(rows)


def _classifier(
    sample: NDArray, labelled: NDArray, y: Any, text_features: Any, class_names: Any
) -> FewShotClassifier | None:
    """Fit what says which classes images are taken for; None if nothing does."""
    labels = None if y is None else check_labels(y)
    if labels is not None and len(labels) != len(labelled):
        raise ValueError(f"X_labeled and y have the lengths {[len(labelled), len(labels)]}.")
    if text_features is None:
        if class_names is not None:
            raise ValueError(
                "class_names says what the rows of text_features are, which are missing."
            )
        if labels is None or len(np.unique(labels)) < 2:
            return None
        with warnings.catch_warnings():
            # That there is no text is what the user said.
            warnings.filterwarnings("ignore", "neither `encoder` nor")
            return FewShotClassifier().fit(labelled, labels, X_unlabeled=sample)
    if class_names is not None:
        names = check_labels(list(class_names), "class_names")
        order = np.argsort(names)
        if labels is not None:
            unknown = np.setdiff1d(labels, names)
            if len(unknown):
                raise ValueError(f"y holds {unknown.tolist()[0]!r}, which class_names lacks.")
            labels = order[codes_of(labels, names[order])]
        if len(names) != len(np.asarray(text_features)):
            raise ValueError(
                f"class_names has {len(names)} names for {len(np.asarray(text_features))} rows of text_features."
            )
    given = (None, None) if labels is None else (labelled, labels)
    return FewShotClassifier(text_features=text_features).fit(*given, X_unlabeled=sample)


def _looks_and_classes(X: NDArray, classifier: FewShotClassifier | None) -> NDArray[np.float32]:
    """Put the square roots of the probabilities beside unit features."""
    if classifier is None or not len(X):
        width = 0 if classifier is None else len(classifier.classes_)
        return np.concatenate([X, np.empty((len(X), width), np.float32)], axis=1)
    roots = np.sqrt(classifier.predict_proba(X))
    return np.concatenate([X, roots.astype(np.float32)], axis=1)


def _nearest_rows(
    X: NDArray, classifier: FewShotClassifier | None, clusters: KMeans
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each cluster the row next to its centre, and how many rows it has."""
    n_clusters = clusters.n_clusters
    least, nearest = np.full(n_clusters, np.inf), np.zeros(n_clusters, np.intp)
    sizes = np.zeros(n_clusters, np.intp)
    for block in gen_batches(len(X), BLOCK):
        distances = clusters.transform(_looks_and_classes(X[block], classifier))
        own = distances.argmin(axis=1)
        sizes += np.bincount(own, minlength=n_clusters)
        # A row is next to the centre of its own cluster only: so no row is chosen twice.
        distances = np.where(own[:, np.newaxis] == np.arange(n_clusters), distances, np.inf)
        rows, found = distances.argmin(axis=0), distances.min(axis=0)
        closer = found < least
        least[closer], nearest[closer] = found[closer], rows[closer] + block.start
    return nearest, sizes
