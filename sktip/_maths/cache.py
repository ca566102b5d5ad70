"""The cache model: affinities of queries to keys, and the votes of the cache for each class.

All functions take and return torch tensors. Affinities have one row per key and one column per query, so
that the votes of a class are a sum of rows. An embedding bag computes these sums for shots in any order
and number, with or without weights. The callers pass queries in batches, so memory does not grow with
n x m.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CacheValues:
    """The values L of the cache: class codes and weights of the keys, (m,), without the one-hot matrix."""

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

    K are the keys, (m, d); their class codes and weights, (m,), stand for L; W is the text, (C, d). Weights and
    text may be None.
    """
    votes = affinity(rows, keys, beta)
    if weights is not None:
        votes.mul_(weights[:, None])
    votes = CacheValues(codes, n_classes).sums(votes)
    if text is None:
        return alpha * votes.T
    return torch.addmm(votes, text, rows.T, beta=alpha, alpha=logit_scale).T


def nearest_shots(
    queries: Tensor, keys: Tensor, weights: Tensor | None, *, alpha: float, beta: float, n: int
) -> tuple[Tensor, Tensor]:
    """Rows and votes of the n shots with the largest ``alpha w exp(-beta (1 - f K'))``: (q, n) both.

    The queries are f, (q, d), the keys K, (m, d), and their weights w, (m,) or None. Rows are in descending
    order of the votes, and ties in their own. Alpha scales sorted votes, so that 0 has an order too.
    """
    values = affinity(queries, keys, beta)
    if weights is not None:
        values.mul_(weights[:, None])
    rows = _largest(values, n)
    return rows.T, values.gather(0, rows).T.mul_(alpha)


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
