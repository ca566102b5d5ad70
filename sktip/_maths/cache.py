"""The cache model: affinities of queries to keys, and the votes of the cache for each class.

All functions take and return torch tensors. Affinities have one row per key and one column per query, so
that the votes of a class are a sum of rows. An embedding bag computes these sums for shots in any order
and number, with or without weights. Queries are processed in blocks whose affinities fit into the CPU's
cache, so memory does not grow with n x m.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

#: Size of the affinities in one block.
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Shots:
    """The values L of the cache: the class of each key, without the one-hot matrix.

    Parameters
    ----------
    codes : Tensor of shape (m,), int64
        Class code of each key.

    n_classes : int
        Number of classes C.

    weights : Tensor of shape (m,) or None
        Weight of each key's vote.
    """

    codes: Tensor
    n_classes: int
    weights: Tensor | None = None

    def sums(self, values: Tensor) -> Tensor:
        """Sum the rows of `values`, (m, b), by class: (C, b)."""
        if self.weights is not None:
            values = values * self.weights[:, None]
        sums = values.new_zeros((self.n_classes, values.shape[1]))
        # Not `index_add`, which old versions of torch export incorrectly.
        return sums.scatter_add_(0, self.codes[:, None].expand(values.shape), values)


def affinity(queries: Tensor, keys: Tensor, beta: float) -> Tensor:
    """Sharpened similarity ``exp(-beta (1 - K f))`` of queries (b, d) to keys (m, d): (m, b)."""
    return torch.mm(keys, (beta * queries).T).sub_(beta).exp_()


def blocks(n_queries: int, n_keys: int, n_elements: int) -> Iterator[slice]:
    """Yield blocks of the queries, each with about `n_elements` affinities."""
    size = max(16, min(1024, n_elements // max(1, n_keys)))
    if size > 64:
        # On some CPUs, products with 262 columns take a third longer than with 256.
        size -= size % 64
    for start in range(0, n_queries, size):
        yield slice(start, start + size)


def query_blocks(queries: Tensor, keys: Tensor) -> Iterator[slice]:
    """Yield blocks of the queries whose affinities take at most about `BLOCK_BYTES`."""
    return blocks(len(queries), len(keys), BLOCK_BYTES // queries.element_size())


def cache_logits(
    rows: Tensor,
    keys: Tensor,
    codes: Tensor,
    weights: Tensor | None,
    text: Tensor | None,
    *,
    n_classes: int,
    logit_scale: float,
    alpha: float,
    beta: float,
) -> Tensor:
    """Tip-Adapter's logits ``s f W' + alpha exp(-beta (1 - f K')) L`` of unit rows f: (b, C).

    Parameters
    ----------
    rows : Tensor of shape (b, d)
        Unit-norm image features f of one block of queries.

    keys : Tensor of shape (m, d)
        Cache keys K.

    codes, weights : Tensor of shape (m,)
        Class codes and weights of the keys, which stand for L. The weights may be None.

    text : Tensor of shape (C, d) or None
        Text features W, None for the cache only.

    n_classes : int
        Number of classes C.

    logit_scale, alpha, beta : float
        CLIP's logit scale s, residual ratio and sharpness.
    """
    votes = affinity(rows, keys, beta)
    if weights is not None:
        votes.mul_(weights[:, None])
    votes = Shots(codes, n_classes).sums(votes)
    if text is None:
        return alpha * votes.T
    return torch.addmm(votes, text, rows.T, beta=alpha, alpha=logit_scale).T


def nearest_shots(
    queries: Tensor, keys: Tensor, weights: Tensor | None, *, alpha: float, beta: float, n: int
) -> tuple[Tensor, Tensor]:
    """Shots with the largest votes ``alpha w exp(-beta (1 - f K'))`` for unit queries.

    Parameters
    ----------
    queries : Tensor of shape (q, d)
        Unit-norm image features f.

    keys : Tensor of shape (m, d)
        Cache keys K.

    weights : Tensor of shape (m,) or None
        Weight w of each key's vote. None if the shots are not weighted.

    alpha : float
        Residual ratio. It scales the votes after they are sorted, so that 0 has an order too.

    beta : float
        Sharpness.

    n : int
        Number of shots to find, at most m.

    Returns
    -------
    rows : Tensor of shape (q, n)
        Rows of the keys with the largest votes, in descending order. Ties are in the order of rows.

    votes : Tensor of shape (q, n)
        Their votes, in the type of the queries.
    """
    found = torch.empty((len(queries), n), dtype=torch.int64, device=queries.device)
    votes = queries.new_empty((len(queries), n))
    for block in query_blocks(queries, keys):
        values = affinity(queries[block], keys, beta)
        if weights is not None:
            values.mul_(weights[:, None])
        rows = _largest(values, n)
        found[block] = rows.T
        votes[block] = values.gather(0, rows).T.mul_(alpha)
    return found, votes


def _largest(values: Tensor, n: int) -> Tensor:
    """Rows of the n largest values of each column in descending order, (n, b); ties by row."""
    top, rows = values.topk(min(n + 1, len(values)), dim=0)
    rows = rows[:n]
    # `topk` takes any of equal values. If the next value is equal too, or there is no next value, the
    # whole column is sorted.
    cut = top[n - 1] == top[-1]
    if cut.any():
        rows[:, cut] = values[:, cut].argsort(dim=0, descending=True, stable=True)[:n]
    rows = rows.sort(dim=0).values
    order = values.gather(0, rows).argsort(dim=0, descending=True, stable=True)
    return rows.gather(0, order)
