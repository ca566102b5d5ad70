"""CLIP-Adapter: a small residual network on the image features, trained on the shots."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

#: Ratio of the widths of the features and of the narrow layer.
REDUCTION = 4
MOMENTUM = 0.9
#: Learning rate of the first epoch, for warm-up.
WARM_UP_RATE = 1e-5
#: Largest product of the norms of the layers; above it, the adapter's output hides the features. It
#: starts at 6 to 12.
LARGEST = 1e9


def adapted(features: Tensor, down: Tensor, up: Tensor, ratio: float) -> Tensor:
    """Mix unit features with the adapter's output, and normalise: (n, d).

    Parameters
    ----------
    features : Tensor of shape (n, d)
        Unit-norm features.

    down : Tensor of shape (d, h)
        Weights of the first layer.

    up : Tensor of shape (h, d)
        Weights of the second layer.

    ratio : float
        Share of the adapter's output.
    """
    learned = torch.relu(torch.relu(features @ down) @ up)
    return functional.normalize(ratio * learned + (1 - ratio) * features, dim=1)


def adapter_logits(
    rows: Tensor,
    down: Tensor,
    up: Tensor,
    class_features: Tensor,
    *,
    ratio: float,
    logit_scale: float,
) -> Tensor:
    """Scaled cosines of the adapted rows with the class features: (b, C)."""
    return logit_scale * adapted(rows, down, up, ratio) @ class_features.T


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
    """Train by SGD: one epoch of warm-up, then a learning rate that decreases along a cosine.

    Parameters
    ----------
    views : Tensor of shape (n, v, d)
        Unit-norm features of the views of each training image. An epoch draws one view per image.

    target : Tensor of shape (n,)
        Class codes of the images.

    classes : Tensor of shape (C, d)
        Unit-norm features of the classes.

    ratio : float
        Share of the adapter's output in the features.

    logit_scale : float
        CLIP's logit scale.

    n_epochs : int
        Number of passes over the images.

    learning_rate : float
        Learning rate of SGD after the first epoch.

    weight_decay : float
        Weight decay of SGD.

    batch_size : int
        Number of images per step.

    generator : torch.Generator
        Draws the initial weights, the order of the images and their views, on the CPU.

    on_epoch : callable
        Called with the mean `loss` after each epoch.

    Returns
    -------
    down : Tensor of shape (d, h)
        Weights of the first layer.

    up : Tensor of shape (h, d)
        Weights of the second layer.

    losses : list of float
        Mean loss of each epoch.

    Raises
    ------
    ValueError
        If the loss is not finite, or if the weights are so large that their products may overflow.
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
                f"training diverged in epoch {epoch + 1}: the loss is {losses[-1]:g}, and the product of the "
                f"norms of the two layers is {largest:g}. Lower learning_rate={learning_rate:g}; if it is "
                f"small already, check weight_decay={weight_decay:g} and logit_scale={logit_scale:g}."
            )
        on_epoch(loss=losses[-1])
    return down.detach(), up.detach(), losses


def _uniform(shape: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draw the initial weights of a layer with `shape[0]` inputs, as torch's linear layers do."""
    bound = 1 / math.sqrt(shape[0])
    # Drawn in double precision, so that a seed gives the same weights in every type.
    drawn = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 * bound - bound
    return drawn.to(like).requires_grad_()
