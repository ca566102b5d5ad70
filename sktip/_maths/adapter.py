"""CLIP-Adapter: a small residual network on the image features, trained on the shots."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def adapted(features: Tensor, down: Tensor, up: Tensor, ratio: float) -> Tensor:
    """Mix unit features (n, d) with the adapter's output by a ratio, and normalise: (n, d).

    The layers have the weights `down`, (d, h), and `up`, (h, d).
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
    """Train the layers by SGD: one epoch of warm-up, then a learning rate that decreases along a cosine.

    An epoch draws one of the unit views, (n, v, d), of each image. `target` (n,) are class codes, and `classes`
    (C, d) unit features of the classes. The generator, on the CPU, draws the initial weights, the order and
    the views. Return both layers, (d, h) and (h, d), and the mean loss of each epoch; raise ValueError if
    training diverges.
    """
    n, n_views, d = views.shape
    hidden = max(1, d // 4)
    down = _uniform((d, hidden), generator, views)
    up = _uniform((hidden, d), generator, views)
    optimizer = torch.optim.SGD([down, up], learning_rate, 0.9, weight_decay=weight_decay)
    prototypes = logit_scale * classes.T
    losses = []
    for epoch in range(n_epochs):
        cosine = learning_rate * (1 + math.cos(math.pi * epoch / n_epochs)) / 2
        optimizer.param_groups[0]["lr"] = 1e-5 if epoch == 0 else cosine
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
        # The product of the norms starts at 6 to 12. If it is this large, the output hides the features.
        largest = (down.detach().norm() * up.detach().norm()).item()
        if not (math.isfinite(total) and largest < 1e9):
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
