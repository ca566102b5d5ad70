"""Trees of classes: probabilities of nodes, and the way from the root to the most probable class."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Tree(NamedTuple):
    """A tree whose leaves, and perhaps other nodes, are classes.

    Parameters
    ----------
    nodes : ndarray of shape (n_nodes,)
        Labels of the nodes, parents before children; the root is the first.

    parents, depths : ndarray of shape (n_nodes,)
        Index of the parent of each node, and its depth. The root is its own parent.

    holds : ndarray of shape (n_nodes, C), bool
        Whether each class is the node, or below it.
    """

    nodes: NDArray[Any]
    parents: NDArray[np.intp]
    depths: NDArray[np.intp]
    holds: NDArray[np.bool_]

    @classmethod
    def of(cls, parent_of: Mapping[Any, Any], classes: NDArray[Any], root: Any = None) -> "Tree":
        """Make the tree of the classes and their ancestors. Nodes without a parent are below the root."""
        ways = []
        for label in classes.tolist():
            way = [label]
            while way[-1] in parent_of:
                way.append(parent_of[way[-1]])
                if len(set(way)) < len(way):
                    raise ValueError(f"tree has a cycle: {' -> '.join(map(repr, way))}.")
            ways.append(way[::-1])
        tops = {way[0] for way in ways}
        if len(tops) > 1 or tops & set(classes.tolist()):
            if root is None:
                root = "any" if classes.dtype.kind in "UO" else -1
            if any(root in way for way in ways):
                raise ValueError(
                    f"root={root!r} is a class or a node below the root; pass another."
                )
            ways = [[root, *way] for way in ways]
        elif root is not None and tops != {root}:
            ways = [[root, *way] for way in ways]
        depths: dict[Any, int] = {}
        for way in ways:
            depths.update((node, depth) for depth, node in enumerate(way))
        nodes = sorted(depths, key=lambda node: (depths[node], str(node)))
        places = {node: place for place, node in enumerate(nodes)}
        parents = np.zeros(len(nodes), np.intp)
        for way in ways:
            indices = [places[node] for node in way]
            parents[indices[1:]] = indices[:-1]
        labels = np.array(nodes, None if len({type(node) for node in nodes}) == 1 else object)
        return cls.of_parents(labels, parents, classes)

    @classmethod
    def of_parents(
        cls, nodes: NDArray[Any], parents: NDArray[np.intp], classes: NDArray[Any]
    ) -> "Tree":
        """Make the tree again from its nodes and their parents."""
        places = {node: place for place, node in enumerate(nodes.tolist())}
        above = np.array([places[label] for label in classes.tolist()])
        depths = np.zeros(len(nodes), np.intp)
        holds = np.zeros((len(nodes), len(classes)), bool)
        # Parents come before children.
        for place in range(1, len(nodes)):
            depths[place] = depths[parents[place]] + 1
        for _ in range(depths.max() + 1):
            holds[above, np.arange(len(classes))] = True
            above = parents[above]
        return cls(nodes, parents, depths, holds)

    def node_proba(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Sum the probabilities of the classes, (n, C), over those of each node: (n, n_nodes)."""
        return probabilities @ self.holds.T.astype(probabilities.dtype)


def descend(
    tree: Tree, probabilities: NDArray[Any], threshold: float, start: int = 0
) -> NDArray[np.intp]:
    """Go from the start to the most probable child, while its probability is above the threshold: (n,)."""
    return _walk(tree, probabilities, start, lambda child, rows, p: p > threshold)[0]


def first_wrong(
    tree: Tree, probabilities: NDArray[Any], codes: NDArray[Any]
) -> NDArray[np.float64]:
    """Probability of the first node, on the way to the most probable class, that misses the true one.

    It is 0 if there is none: (n,).
    """
    return _walk(tree, probabilities, 0, lambda child, rows, p: tree.holds[child, codes[rows]])[1]


def _walk(
    tree: Tree, probabilities: NDArray[Any], start: int, goes_on: Any
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Go to the most probable child while `goes_on(child, rows, p)`.

    Return the last nodes, and the probability of the child that was refused, 0 if there was none.
    """
    masses = tree.node_proba(probabilities)
    places = np.full(len(masses), start, np.intp)
    refused = np.zeros(len(masses))
    # Parents come before children, so that each node is passed once.
    for node in range(start, len(tree.nodes)):
        children = np.flatnonzero(tree.parents == node)
        children = children[children != node]
        rows = np.flatnonzero(places == node)
        if not len(children) or not len(rows):
            continue
        child = children[masses[np.ix_(rows, children)].argmax(axis=1)]
        p = masses[rows, child]
        on = goes_on(child, rows, p)
        places[rows[on]] = child[on]
        refused[rows[~on]] = p[~on]
    return places, refused
