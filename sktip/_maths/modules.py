"""The logits of each method as a module of torch, in operations that other runtimes have too."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktip._maths.adapter import adapted


class LinearLogits(nn.Module):
    """Logits ``f A' + b``.

    Parameters
    ----------
    weights : Tensor of shape (C, d)
        One row A per class.

    intercept : Tensor of shape (C,)
        Intercepts b.
    """

    weights: Tensor
    intercept: Tensor

    def __init__(self, weights: Tensor, intercept: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("intercept", intercept)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = features @ self.weights.T + self.intercept
        return logits


class CacheLogits(nn.Module):
    """Tip-Adapter's logits ``s f W' + exp(-beta (1 - f K')) V``.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Cache keys K.

    codes : Tensor of shape (m,), int64
        Class code of each key.

    votes : Tensor of shape (m,)
        What each key is worth, alpha times its weight: the row of V is that, for its own class.

    text : Tensor of shape (C, d)
        Text features times the logit scale; zeros without a text prior.

    beta : float
        Sharpness.
    """

    keys: Tensor
    codes: Tensor
    votes: Tensor
    text: Tensor

    def __init__(self, keys: Tensor, codes: Tensor, votes: Tensor, text: Tensor, *, beta: float):
        super().__init__()
        self.register_buffer("keys", keys)
        self.register_buffer("codes", codes)
        self.register_buffer("votes", votes)
        self.register_buffer("text", text)
        self.beta = beta

    def forward(self, features: Tensor) -> Tensor:
        votes = self.votes * torch.exp(self.beta * (features @ self.keys.T - 1))
        logits: Tensor = features @ self.text.T
        # Not `index_add`, which the exporter of old versions of torch gets wrong.
        return logits.scatter_add(1, self.codes.expand(votes.shape), votes)


class RidgeLogits(nn.Module):
    """Kernel ridge regression's logits ``f W' + exp(-beta (1 - f K')) a``.

    Parameters
    ----------
    keys : Tensor of shape (m, d)
        Features K of the shots.

    duals : Tensor of shape (m, C)
        Coefficients a.

    text : Tensor of shape (C, d)
        Text features W; zeros without a text prior.

    beta : float
        Sharpness.
    """

    keys: Tensor
    duals: Tensor
    text: Tensor

    def __init__(self, keys: Tensor, duals: Tensor, text: Tensor, *, beta: float):
        super().__init__()
        self.register_buffer("keys", keys)
        self.register_buffer("duals", duals)
        self.register_buffer("text", text)
        self.beta = beta

    def forward(self, features: Tensor) -> Tensor:
        affinities = torch.exp(self.beta * (features @ self.keys.T - 1))
        logits: Tensor = features @ self.text.T + affinities @ self.duals
        return logits


class AdapterLogits(nn.Module):
    """CLIP-Adapter's logits: cosines of the adapted features with the classes, scaled.

    Parameters
    ----------
    down : Tensor of shape (d, h)
        Weights into the bottleneck.

    up : Tensor of shape (h, d)
        Weights out of it.

    classes : Tensor of shape (C, d)
        Class features times the logit scale.

    ratio : float
        Share of the adapter in the mixture.
    """

    down: Tensor
    up: Tensor
    classes: Tensor

    def __init__(self, down: Tensor, up: Tensor, classes: Tensor, *, ratio: float):
        super().__init__()
        self.register_buffer("down", down)
        self.register_buffer("up", up)
        self.register_buffer("classes", classes)
        self.ratio = ratio

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = adapted(features, self.down, self.up, self.ratio) @ self.classes.T
        return logits


class ClassifierModule(nn.Module):
    """From features, or from the pixels of which an image tower makes them, to logits.

    Parameters
    ----------
    head : Module
        From unit rows to logits.

    classes : list
        Labels of the columns.

    tower : Module or None
        From pixels to features, of which some towers return a tuple with other things behind.

    preprocessing : dict or None
        What the pixels are, with a tower.
    """

    def __init__(
        self,
        head: nn.Module,
        classes: list[Any],
        tower: nn.Module | None = None,
        preprocessing: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.tower = tower
        self.head = head
        self.classes = classes
        self.preprocessing = preprocessing

    def forward(self, inputs: Tensor) -> Tensor:
        if self.tower is not None:
            inputs = self.tower(inputs)
            if isinstance(inputs, tuple):
                inputs = inputs[0]
        logits: Tensor = self.head(functional.normalize(inputs, dim=1))
        return logits
