"""BackOff: a classifier that answers with a larger class where it is unsure of the smaller one."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from sktip._docs import with_shared_docs
from sktip._maths.tree import Tree, descend, first_wrong
from sktip._meta import BaseMetaClassifier
from sktip._utils.estimators import validated
from sktip._utils.labels import (
    check_groups,
    check_labels,
    codes_of,
    is_missing,
    plain,
    unknown_labels,
    with_nearest,
)
from sktip._utils.messages import composed, warn
from sktip.model_selection._cross_fit import check_samples, encoder_and_rest
from sktip.model_selection._held_out import held_out_proba


@with_shared_docs
class BackOff(BaseMetaClassifier):
    r"""Answer "a dog, breed unsure": the smallest class of a tree that is sure enough.

    Classes often form a tree: breeds are dogs, dogs are animals. This meta-estimator adds the
    probabilities of the classes below each node of the tree. It answers with the deepest node that holds
    the true class with the probability `coverage`.

    Read more in the :ref:`User Guide <guide_back_off>`.

    Parameters
    ----------
    estimator : classifier
        Classifier of images or features with `predict_proba`: one of sktip, a linear probe, or a
        Pipeline. It is cloned.

    tree : mapping
        The parent of each class, and of each parent that has one itself, such as
        ``{"spaniel": "dog", "beagle": "dog", "dog": "animal", "cat": "animal"}``. Nodes without a parent,
        or with the parent None, are below `root`. `load_image_folder` makes such a mapping from nested folders.

    coverage : float, default=0.9
        Share of the answers that are to hold the true class.

    root : str or int, default=None
        Answer that stands for all classes. If None, the top of the tree if there is one top, else
        ``"any"`` for string labels, and -1 for integers.

    Attributes
    ----------
    estimator_ : classifier
        Classifier fitted on all shots. It takes features, even if `estimator` takes images.

    classes_ : ndarray of shape (C,)
        Class labels, sorted.

    nodes_ : ndarray of shape (n_nodes,)
        All possible answers: `root`, then the nodes below it, parents before children.

    parents_ : ndarray of shape (n_nodes,), int
        Index of the parent of each node. The root is its own parent.

    depths_ : ndarray of shape (n_nodes,), int
        Depth of each node; 0 for the root.

    threshold_ : float
        An answer has a probability above it.

    n_features_in_ : int
        Number of columns of X. Only if X is a feature matrix.

    feature_names_in_ : ndarray of shape (d,)
        Column names of X. Only if X is a table of features with string column names.

    See Also
    --------
    RejectUnknown : Rejects images that show none of the classes.

    Notes
    -----
    From the root, the answer moves to the most probable child, as long as the probability of that
    child is above `threshold_`. For each shot, predicted by a classifier that was fitted without it, the
    score is the probability of the first node on this way that does not hold the true class; it is 0 if
    there is none. The threshold is the :math:`\lceil (m + 1) \, \text{coverage} \rceil`-th smallest of m
    scores. This is conformal prediction ([1]_): a new image, drawn as the shots were, is answered
    rightly by the classifiers of the folds with a probability of at least `coverage`. The classifier of all
    shots, which answers, has seen more of them than they have, so it is right at least as often in practice.
    Within a subtree (`within`), the same threshold is used, without this guarantee.

    References
    ----------
    .. [1] A. N. Angelopoulos et al., "Conformal risk control", ICLR 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from sktip import BackOff, FewShotClassifier
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["beagle", "spaniel", "cat"], 20)
    >>> centres = np.repeat([[4, 0.3, 0], [4, -0.3, 0], [0, 0, 4]], 20, axis=0)
    >>> X = centres + rng.normal(size=(60, 3))
    >>> tree = {"beagle": "dog", "spaniel": "dog", "dog": "animal", "cat": "animal"}
    >>> text = np.array([[1, 0.1, 0], [0, 0, 1], [1, -0.1, 0]])
    >>> names = ["beagle", "cat", "spaniel"]
    >>> clf = FewShotClassifier(text_features=text, class_names=names)
    >>> clf = BackOff(clf, tree).fit(X, y)
    >>> clf.predict([[4, 0, 0], [0, 0, 4]]).tolist()
    ['dog', 'cat']
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict_proba"])],
        "tree": [Mapping],
        "coverage": [Interval(Real, 0, 1, closed="neither")],
        "root": [str, Real, None],
    }

    def __init__(
        self,
        estimator: BaseEstimator,
        tree: Mapping,
        *,
        coverage: float = 0.9,
        root: str | int | None = None,
    ):
        self.estimator = estimator
        self.tree = tree
        self.coverage = coverage
        self.root = root

    @validated
    def fit(self, X: Any, y: ArrayLike, *, groups: ArrayLike | None = None) -> Self:
        """Fit the classifier, and choose the threshold on held-out shots.

        Parameters
        ----------
        X : sequence of images of length m, or array-like of shape (m, d)
            The shots, as `estimator` takes them.

        y : array-like of shape (m,)
            Labels of the shots: classes, not parents of classes.

        {groups}

        Returns
        -------
        self : BackOff
            The fitted classifier.

        Raises
        ------
        ValueError
            If the tree has a cycle or none of the classes, or if X and y are not valid.
        """
        X, labels = check_samples(X, y, self.estimator)
        groups = check_groups(groups, len(labels))
        self._tree_of(np.unique(labels))  # Before anything is encoded.
        encoder, classifier = encoder_and_rest(self.estimator)
        rows = X if encoder is None else encoder.transform(X)
        held_out = held_out_proba(classifier, rows, labels, groups=groups)
        fitted = classifier.fit(rows, labels)
        tree = self._tree_of(fitted.classes_)
        scores = first_wrong(tree, held_out, codes_of(labels, fitted.classes_))
        place = int(np.ceil((len(scores) + 1) * self.coverage))
        if place > len(scores):
            warn(
                f"coverage={self.coverage:g} needs at least {np.ceil(self.coverage / (1 - self.coverage)):.0f} shots "
                f"to be sure of any answer, and there are {len(scores)}: every answer is {tree.nodes.tolist()[0]!r}.",
            )
        self.estimator_, self.classes_ = fitted, fitted.classes_
        self.nodes_, self.parents_, self.depths_ = tree.nodes, tree.parents, tree.depths
        self.threshold_ = 1.0 if place > len(scores) else float(np.sort(scores)[place - 1])
        self._assign_columns(encoder)
        return self

    def predict(self, X: Any, *, within: Any = None) -> NDArray:
        """Answer with the deepest node that is sure enough.

        Parameters
        ----------
        {rows}

        within : str or int, default=None
            A node that is known to hold the true class. The answer is this node or one below it.

        Returns
        -------
        answers : ndarray of shape (n,)
            One of `nodes_` for each image.
        """
        probabilities = self.predict_proba(X, within=within)
        start = 0 if within is None else int(self._places([within])[0])
        return self.nodes_[descend(self._tree(), probabilities, self.threshold_, start)]

    def predict_proba(self, X: Any, *, within: Any = None) -> NDArray:
        """Predict the probability of each class.

        Parameters
        ----------
        {rows}

        within : str or int, default=None
            A node that is known to hold the true class. Classes that are not below it get the
            probability 0, and the others sum to 1.

        Returns
        -------
        probabilities : ndarray of shape (n, C)
            Columns follow `classes_`.
        """
        rows = self._rows(X)
        probabilities = self.estimator_.predict_proba(rows)
        if within is None:
            return probabilities
        inside = np.where(self._tree().holds[self._places([within])], probabilities, 0)
        return inside / np.maximum(inside.sum(axis=1, keepdims=True), np.finfo(float).tiny)

    def predict_node_proba(self, X: Any) -> NDArray:
        """Predict the probability of each node: the sum over the classes below it.

        Parameters
        ----------
        {rows}

        Returns
        -------
        probabilities : ndarray of shape (n, n_nodes)
            Columns follow `nodes_`.
        """
        probabilities = self.predict_proba(X)
        return self._tree().node_proba(probabilities)

    def holds(self, answers: ArrayLike, y: ArrayLike) -> NDArray[np.bool_]:
        """Test which answers hold the true class.

        Parameters
        ----------
        answers : array-like of shape (n,)
            Nodes, from `predict`.

        y : array-like of shape (n,)
            True classes.

        Returns
        -------
        right : ndarray of shape (n,), bool
            Whether each class is the answer or below it.

        Raises
        ------
        ValueError
            If an answer is no node, if a label is no class, or if there are more of one than of the other.
        """
        check_is_fitted(self)
        labels, answers = check_labels(y), np.asarray(answers).ravel().tolist()
        check_consistent_length(answers, labels)
        unknown = unknown_labels(labels, self.classes_)
        if unknown:
            raise ValueError(
                f"y holds {with_nearest(unknown, self.classes_)}, which is none of the classes."
            )
        return self._tree().holds[self._places(answers), codes_of(labels, self.classes_)]

    def _tree_of(self, classes: NDArray) -> Tree:
        """Make the tree of the classes from the parameters."""
        spelling: dict[Any, Any] = {composed(label): label for label in classes.tolist()}

        def spelled(node: Any) -> Any:
            """Nodes that differ in their Unicode form are one, and a class is spelled as in y."""
            return spelling.setdefault(composed(plain(node)), plain(node))

        parent_of = {
            spelled(node): spelled(parent)
            for node, parent in self.tree.items()
            if not is_missing(parent)
        }
        if parent_of and not any(label in parent_of for label in classes.tolist()):
            raise ValueError(
                f"tree has a parent for none of the classes, such as {classes.tolist()[0]!r}; its keys are such as "
                f"{next(iter(parent_of))!r}. Keys must be labels, of the same type."
            )
        return Tree.of(parent_of, classes, self.root)

    def _tree(self) -> Tree:
        return Tree.of_parents(self.nodes_, self.parents_, self.classes_)

    def _places(self, nodes: Sequence[Any]) -> NDArray[np.intp]:
        """Index of each node."""
        places = {node: place for place, node in enumerate(self.nodes_.tolist())}
        unknown = unknown_labels(nodes, places)
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is not a node of the tree: {self.nodes_.tolist()[:20]}."
            )
        return np.array([places[plain(node)] for node in nodes], np.intp)
