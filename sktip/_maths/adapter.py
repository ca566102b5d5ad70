"""CLIP-Adapter: a small residual network on the image features learns, the text stays as it is."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: The bottleneck is this many times narrower than the features.
REDUCTION = 4
MOMENTUM = 0.9
#: Learning rate of the first epoch, which only warms up.
WARM_UP_RATE = 1e-5
#: Norms of the layers, multiplied, beyond which features lose themselves in what the adapter adds;
#: they start at 6 to 12.
LARGEST = 1e9


def adapted(features: Tensor, down: Tensor, up: Tensor, ratio: float) -> Tensor:
    """Mix unit features (n, d) with what the adapter makes of them; unit rows: (n, d).

    Parameters
    ----------
    features : Tensor of shape (n, d)
        Unit-norm features.

    down : Tensor of shape (d, h)
        Weights into the bottleneck.

    up : Tensor of shape (h, d)
        Weights out of it.

    ratio : float
        Share of the adapter in the mixture.
    """
    learned = torch.relu(torch.relu(features @ down) @ up)
    return functional.normalize(ratio * learned + (1 - ratio) * features, dim=1)


def train_adapter(
    views: Tensor,
    target: Tensor,
    classes: Tensor,
    *,
    ratio: float,
    logit_scale: float,
    n_epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    generator: torch.Generator,
    on_epoch: Callable[..., None] = lambda loss: None,
) -> tuple[Tensor, Tensor, list[float]]:
    """Train by SGD: one epoch to warm up, then a learning rate that falls along a cosine.

    Parameters
    ----------
    views : Tensor of shape (n, v, d)
        Unit-norm features of each training image's views; an epoch draws one view an image.

    target : Tensor of shape (n,)
        Class codes of the images.

    classes : Tensor of shape (C, d)
        Unit-norm features of the classes.

    ratio : float
        Share of the adapter in the features.

    logit_scale : float
        CLIP's logit scale.

    n_epochs : int
        Passes over the images.

    learning_rate : float
        Of SGD, after the first epoch.

    weight_decay : float
        Of SGD.

    batch_size : int
        Images a step.

    generator : torch.Generator
        Draws the first weights, the order of the images and their views, on the CPU.

    on_epoch : callable
        Called with the mean `loss` after each epoch.

    Returns
    -------
    down : Tensor of shape (d, h)
        Weights into the bottleneck.

    up : Tensor of shape (h, d)
        Weights out of it.

    losses : list of float
        Mean loss of each epoch.

    Raises
    ------
    ValueError
        If the loss is not finite, or the weights so large that their products may overflow.
    """
    n, n_views, d = views.shape
    hidden = max(1, d // REDUCTION)
    down = _uniform((d, hidden), generator, views)
    up = _uniform((hidden, d), generator, views)
    optimizer = torch.optim.SGD(
        [down, up], lr=learning_rate, momentum=MOMENTUM, weight_decay=weight_decay
    )
    prototypes = logit_scale * classes.T
    losses = []
    for epoch in range(n_epochs):
        cosine = learning_rate * (1 + math.cos(math.pi * epoch / n_epochs)) / 2
        optimizer.param_groups[0]["lr"] = WARM_UP_RATE if epoch == 0 else cosine
        order = torch.randperm(n, generator=generator).to(views.device)
        chosen = torch.randint(n_views, (n,), generator=generator).to(views.device)
        total = 0.0
        for rows in order.split(batch_size):
            logits = adapted(views[rows, chosen[rows]], down, up, ratio) @ prototypes
            loss = functional.cross_entropy(logits, target[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / n)
        largest = (down.detach().norm() * up.detach().norm()).item()
        if not (math.isfinite(total) and largest < LARGEST):
            raise ValueError(
                f"training diverged in epoch {epoch + 1}: the loss is {losses[-1]:g}, the product of the "
                f"norms of the two layers {largest:g}. Lower learning_rate={learning_rate:g}; if that is "
                f"small, look at weight_decay={weight_decay:g} and logit_scale={logit_scale:g}."
            )
        on_epoch(loss=losses[-1])
    return down.detach(), up.detach(), losses


def _uniform(shape: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """First weights of a layer with `shape[0]` inputs, as torch's linear layers draw them."""
    bound = 1 / math.sqrt(shape[0])
    # Drawn in double precision, so that the seed means the same in every type.
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 * bound - bound
    return drawn.to(like).requires_grad_()
