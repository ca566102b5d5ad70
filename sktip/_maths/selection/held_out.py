"""Held-out shots as queries: their text logits, and the votes of the cached shots.

For a fixed beta, the logits of a held-out shot are linear in alpha, ``z + alpha c``, where z is the text
prior and c are the votes of the cached shots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sktip._maths.cache import Shots, blocks
from sktip._maths.selection.folds import Fold

#: Number of logits in one block, 1 MB of float32.
CHUNK_ELEMENTS = 1 << 18
#: Number of exponents in one block: 1 MB of float32, which stays in the CPU's cache until it is summed.
BLOCK_ELEMENTS = 1 << 18
#: Largest number of similarities that are stored for all betas: 256 MB of float32.
KEPT_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class HeldOutShots:
    """Text logits, classes and weights of held-out shots.

    Parameters
    ----------
    prior : Tensor of shape (C, q)
        Logits of the text prior.

    codes : Tensor of shape (q,)
        Class codes.

    weights : Tensor of shape (q,)
        Weights of the shots, with sum 1.
    """

    prior: Tensor
    codes: Tensor
    weights: Tensor

    def log_loss(self, votes: Tensor, alpha: float) -> tuple[float, float, float]:
        """Mean log-loss of ``prior + alpha votes``, and its first two derivatives in alpha."""
        n_classes, n_shots = votes.shape
        size = max(64, CHUNK_ELEMENTS // n_classes)
        total = torch.zeros(3, dtype=torch.float64, device=votes.device)
        for start in range(0, n_shots, size):
            part = slice(start, start + size)
            own, weights, codes = votes[:, part], self.weights[part], self.codes[None, part]
            logits = torch.add(self.prior[:, part], own, alpha=alpha)
            top = logits.amax(0)
            right = logits.gather(0, codes)[0] - top
            masses = logits.sub_(top).exp_()
            mass = masses.sum(0)
            first = masses.mul_(own).sum(0) / mass
            second = masses.mul_(own).sum(0) / mass
            slope = first - own.gather(0, codes)[0]
            rows = torch.stack([mass.log() - right, slope, second - first * first])
            total += (rows @ weights).double()
        loss, slope, curvature = total.tolist()
        return loss, slope, curvature

    def hits(self, votes: Tensor, alpha: float) -> Tensor:
        """Whether the class of each shot has the largest logit: (q,)."""
        return torch.add(self.prior, votes, alpha=alpha).argmax(0) == self.codes

    def logits(self, votes: Tensor, alpha: float) -> NDArray[Any]:
        """Logits in double precision: (q, C)."""
        return (self.prior + alpha * votes).T.double().cpu().numpy()


@dataclass(frozen=True)
class FoldCache:
    """The held-out shots of one fold, and its cache.

    Parameters
    ----------
    queries : Tensor of shape (q, d)
        Unit features of the held-out shots.

    keys : Tensor of shape (v, d)
        Keys of the cached shots.

    shots : Shots
        Values of the keys.

    scale : Tensor of shape (C, 1) or None
        Factor of the votes of each class, which compensates for its held-out shots.

    own : Tensor of shape (q,) or None
        Row of each query among the keys, if it is masked for that query only.
    """

    queries: Tensor
    keys: Tensor
    shots: Shots
    scale: Tensor | None
    own: Tensor | None


class HeldOutVotes:
    """Votes of the cached shots for the held-out shots, for any beta.

    Parameters
    ----------
    folds : sequence of Fold
        Folds of the shots.

    queries : Tensor of shape (m, d)
        Unit features of all shots as queries.

    keys : sequence of Tensor of shape (v, d)
        Keys of the cached shots of each fold.

    codes : Tensor of shape (m,)
        Class codes of all shots.

    text : Tensor of shape (C, d) or None
        Unit text features.

    weights : ndarray of shape (q,)
        Weight of each held-out shot, fold by fold, with sum 1.

    logit_scale : float
        Scale of the text logits.

    n_classes : int
        Number of classes C.

    balanced : bool
        Whether the votes of a class with held-out shots are scaled up to its full number of shots.

    key_weights : Tensor of shape (m,) or None
        Weight of each shot's vote. None if the shots are not weighted.

    Attributes
    ----------
    shots : HeldOutShots
        The held-out shots, fold by fold.

    has_text : bool
        Whether there is a text prior.

    n_evidence : float
        Effective number of held-out shots. The only shot of a class does not count, since the votes of
        its class are only estimated.
    """

    def __init__(
        self,
        folds: Sequence[Fold],
        queries: Tensor,
        keys: Sequence[Tensor],
        codes: Tensor,
        *,
        text: Tensor | None,
        weights: NDArray[Any],
        logit_scale: float,
        n_classes: int,
        balanced: bool,
        key_weights: Tensor | None = None,
    ):
        self._balanced, self._one_by_one = balanced, folds[0].one_by_one
        counts = torch.bincount(codes, minlength=n_classes)
        if key_weights is None:
            key_weights = torch.ones_like(codes, dtype=queries.dtype)
        totals = torch.bincount(codes, key_weights, minlength=n_classes)
        self._caches = []
        for fold, own_keys in zip(folds, keys, strict=True):
            cached, scale = codes[fold.cached], None
            if balanced and not fold.one_by_one:
                left = torch.bincount(cached, key_weights[fold.cached], minlength=n_classes)
                scale = totals / torch.where(left > 0, left, 1)
                scale = scale.to(own_keys.dtype)[:, None]
            rows = torch.as_tensor(fold.held_out, device=codes.device)
            own = rows if fold.one_by_one else None
            # Without weights, the sums are faster.
            own_weights = key_weights[fold.cached] if (key_weights != 1).any() else None
            shots = Shots(cached, n_classes, own_weights)
            self._caches.append(FoldCache(queries[rows], own_keys, shots, scale, own))
        held_out = torch.cat([cache.queries for cache in self._caches])
        self.has_text = text is not None
        prior = (
            held_out.new_zeros((n_classes, len(held_out)))
            if text is None
            else logit_scale * text @ held_out.T
        )
        held_out_codes = codes[np.concatenate([fold.held_out for fold in folds])]
        self.shots = HeldOutShots(prior, held_out_codes, held_out.new_tensor(weights))
        self._several, self._totals = counts[held_out_codes] > 1, totals[held_out_codes]
        # Total weight of the votes for a query's class, before they are scaled up.
        held_out_weights = key_weights[np.concatenate([fold.held_out for fold in folds])]
        self._voting = self._totals - held_out_weights if self._one_by_one else self._totals
        several = self._several.cpu().numpy()
        self.n_evidence = len(weights) * (float(weights[several].sum()) if balanced else 1.0)
        self._kept = [self._exponents(*block) for block in self._blocks()] if self._fits else None
        self._buffer = held_out.new_empty(0)

    def at(self, beta: float) -> Tensor:
        """Votes for all held-out shots at one beta, fold by fold: (C, q)."""
        votes = torch.empty_like(self.shots.prior)
        # Masked entries have the exponent -inf, and 0 times it would be NaN.
        beta = max(beta, 1e-30)
        start = 0
        for index, (cache, rows) in enumerate(self._blocks()):
            exponents = self._exponents(cache, rows) if self._kept is None else self._kept[index]
            if self._buffer.numel() < exponents.numel():
                self._buffer = torch.empty_like(exponents).view(-1)
            affinities = self._buffer[: exponents.numel()].view_as(exponents)
            sums = cache.shots.sums(torch.mul(exponents, beta, out=affinities).exp_())
            if cache.scale is not None:
                sums *= cache.scale
            stop = start + sums.shape[1]
            votes[:, start:stop] = sums
            start = stop
        if self._balanced:
            complete_own_votes(votes, self.shots, self._several, self._voting, self._totals)
        return votes

    @property
    def _fits(self) -> bool:
        sizes = [len(cache.queries) * len(cache.keys) for cache in self._caches]
        return sum(sizes) <= KEPT_ELEMENTS

    def _blocks(self) -> Iterator[tuple[FoldCache, slice]]:
        for cache in self._caches:
            for rows in blocks(len(cache.queries), len(cache.keys), BLOCK_ELEMENTS):
                yield cache, rows

    @staticmethod
    def _exponents(cache: FoldCache, rows: slice) -> Tensor:
        """Exponents at beta 1, the cosines minus 1: (v, b)."""
        exponents = torch.mm(cache.keys, cache.queries[rows].T).sub_(1)
        if cache.own is not None:
            own = cache.own[rows]
            exponents[own, torch.arange(len(own), device=own.device)] = -torch.inf
        return exponents


def complete_own_votes(
    votes: Tensor, shots: HeldOutShots, several: Tensor, voting: Tensor, totals: Tensor
) -> None:
    """Correct, in place, the votes that held-out shots get from their own class.

    They are scaled by the ratio of the total weight of the class to the weight of its voting shots. If
    each shot is masked for itself only, this factor is n / (n - 1). It gives the mean, over all ways
    to pair the shots, of holding out one shot of every class. For a class with one shot, the votes are
    the geometric mean of the votes that shots of other classes get from one shot of their own class.

    Parameters
    ----------
    votes : Tensor of shape (C, q)
        Votes for held-out shots.

    shots : HeldOutShots
        The held-out shots.

    several : Tensor of shape (q,), bool
        Whether the class of each shot has another shot.

    voting, totals : Tensor of shape (q,)
        Weight of the voting shots of each shot's class, and of all its shots.
    """
    own = votes.gather(0, shots.codes[None])[0]
    mean = own / torch.where(several, voting, 1)
    if not several.all():
        share = shots.weights * several
        logs = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        mean = torch.where(several, mean, ((share * logs).sum() / share.sum()).exp())
    votes.scatter_(0, shots.codes[None], (mean * totals)[None].to(votes.dtype))
