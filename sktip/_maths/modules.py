"""The logits of each method as a torch module, with operations that ONNX runtimes support."""

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
        Alpha times the weight of each key; the nonzero entry in its row of V.

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
        # Not `index_add`, which old versions of torch export incorrectly.
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
    """CLIP-Adapter's logits: scaled cosines of the adapted features with the class features.

    Parameters
    ----------
    down : Tensor of shape (d, h)
        Weights of the first layer.

    up : Tensor of shape (h, d)
        Weights of the second layer.

    classes : Tensor of shape (C, d)
        Class features times the logit scale.

    ratio : float
        Share of the adapter's output.
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
    """Module from features, or from pixels with an image tower, to logits.

    Parameters
    ----------
    head : Module
        Module from unit rows to logits.

    classes : list
        Labels of the columns.

    tower : Module or None
        Module from pixels to features. It may return a tuple whose first item is the features.

    preprocessing : dict or None
        Preprocessing of the pixels, with a tower.
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
