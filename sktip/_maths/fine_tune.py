"""Tip-Adapter-F: train the cache keys, and nothing else."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sktip._maths.cache import Shots, affinity

EPSILON = 1e-4


def loss_and_gradient(
    queries: Tensor,
    target: Tensor,
    keys: Tensor,
    shots: Shots,
    prior: Tensor,
    *,
    alpha: float,
    beta: float,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the logits, and its gradient with respect to the keys, without autograd.

    Parameters
    ----------
    queries : Tensor of shape (b, d)
        Unit-norm training features.

    target : Tensor of shape (b,)
        Class codes of the queries.

    keys : Tensor of shape (m, d)
        Cache keys, which are trained.

    shots : Shots
        Cache values.

    prior : Tensor of shape (C, b)
        Logits of the text prior for the queries.

    alpha : float
        Residual ratio.

    beta : float
        Sharpness.

    weights : Tensor of shape (b,) or None
        Weights of the queries, with mean 1 over the training set.

    Returns
    -------
    loss : Tensor of shape ()
        Mean cross-entropy.

    gradient : Tensor of shape (m, d)
        Gradient with respect to the keys, divided by their weights. So a key of weight 2 learns as each of
        two copies of it would.
    """
    weights = queries.new_ones(len(queries)) if weights is None else weights
    weights = weights / len(queries)
    affinities = affinity(queries, keys, beta)
    log_probabilities = functional.log_softmax(prior + alpha * shots.sums(affinities), dim=0)
    columns = torch.arange(len(queries), device=queries.device)
    loss = -(weights * log_probabilities[target, columns]).sum()
    by_class = log_probabilities.exp_()
    by_class[target, columns] -= 1
    by_class *= alpha * beta * weights
    return loss, affinities.mul_(by_class[shots.codes]) @ queries


def fine_tune_keys(
    views: Tensor,
    target: Tensor,
    keys: Tensor,
    shots: Shots,
    text: Tensor | None,
    *,
    logit_scale: float,
    alpha: float,
    beta: float,
    n_epochs: int,
    learning_rate: float,
    weight_decay: float,
    batch_size: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
    on_epoch: Callable[..., None] = lambda loss: None,
) -> tuple[Tensor, list[float]]:
    """Train the cache keys by AdamW with a learning rate that decreases to 0 along a cosine.

    Parameters
    ----------
    views : Tensor of shape (n, v, d)
        Unit-norm features of the views of each training image. An epoch draws one view per image.

    target : Tensor of shape (n,)
        Class codes of the images.

    keys : Tensor of shape (m, d)
        Initial keys, which are not changed.

    shots : Shots
        Cache values.

    text : Tensor of shape (C, d) or None
        Text features of the prior.

    logit_scale : float
        CLIP's logit scale.

    alpha : float
        Residual ratio.

    beta : float
        Sharpness.

    n_epochs : int
        Number of passes over the images.

    learning_rate : float
        Initial learning rate of AdamW.

    weight_decay : float
        Weight decay of AdamW.

    batch_size : int
        Number of images per step.

    generator : torch.Generator
        Draws the order of the images and their views, on the CPU.

    weights : Tensor of shape (n,) or None
        Weights of the images in the loss. They are divided by their mean.

    on_epoch : callable
        Called with the mean `loss` after each epoch.

    Returns
    -------
    keys : Tensor of shape (m, d)
        Trained keys, not normalised.

    losses : list of float
        Mean loss of each epoch.

    Raises
    ------
    ValueError
        If the loss is not finite, or if a trained key is so long that its votes overflow.
    """
    n, n_views, _ = views.shape
    weights = None if weights is None else weights / weights.mean()
    parameter = torch.nn.Parameter(keys.clone(), requires_grad=False)
    optimizer = torch.optim.AdamW(
        [parameter],
        lr=learning_rate,
        eps=EPSILON,
        weight_decay=weight_decay,
        # Fused, for one pass over the keys instead of eight. Memory access dominates a step.
        fused=keys.device.type in ("cpu", "cuda"),
    )
    n_steps = n_epochs * -(-n // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
    losses = []
    for _ in range(n_epochs):
        order = torch.randperm(n, generator=generator).to(views.device)
        chosen = torch.randint(n_views, (n,), generator=generator).to(views.device)
        total = 0.0
        for rows in order.split(batch_size):
            queries = views[rows, chosen[rows]]
            if text is None:
                prior = queries.new_zeros((shots.n_classes, 1))
            else:
                prior = logit_scale * text @ queries.T
            loss, parameter.grad = loss_and_gradient(
                queries,
                target[rows],
                parameter.data,
                shots,
                prior,
                alpha=alpha,
                beta=beta,
                weights=None if weights is None else weights[rows],
            )
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        losses.append(total / n)
        # The largest possible vote of a key is `exp(beta (|k| - 1))`.
        longest = parameter.data.norm(dim=1).max().item()
        overflows = not beta * (longest - 1) < math.log(torch.finfo(keys.dtype).max)
        if overflows or not math.isfinite(total):
            raise ValueError(
                f"fine-tuning diverged in epoch {len(losses)}: the loss is {losses[-1]:g}, and the norm of the "
                f"longest key is {longest:g}. Lower learning_rate={learning_rate:g}; if it is small already, check "
                f"weight_decay={weight_decay:g}, alpha={alpha:g}, beta={beta:g}, "
                f"logit_scale={logit_scale:g} and sample_weight."
            )
        on_epoch(loss=losses[-1])
    return parameter.data, losses
