"""Tip-Adapter-F: train the cache keys, and nothing else."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from sktip._maths.cache import CacheValues, affinity


def loss_and_gradient(
    queries: Tensor,
    target: Tensor,
    keys: Tensor,
    shots: CacheValues,
    prior: Tensor,
    *,
    alpha: float,
    beta: float,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of queries (b, d) with class codes (b,), and its gradient by the keys, (m, d).

    `prior` are the text logits of the queries, (C, b), and `weights` (b,) their weights, with mean 1 over the
    training set. The gradient is divided by the weights of the keys, so that a key of weight 2 learns as each
    of two copies of it would. Without autograd, which takes longer.
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
    shots: CacheValues,
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
    """Train the cache keys, (m, d), by AdamW with a learning rate that decreases to 0 along a cosine.

    An epoch draws one of the unit views, (n, v, d), of each image. `target` (n,) are class codes, `weights` (n,)
    weights in the loss, and `text` (C, d) the features of the prior. The generator, on the CPU, draws the order
    and the views. Return the trained keys, not normalised, and the mean loss of each epoch; raise ValueError
    if training diverges.
    """
    n, n_views, _ = views.shape
    weights = None if weights is None else weights / weights.mean()
    parameter = torch.nn.Parameter(keys.clone(), requires_grad=False)
    optimizer = torch.optim.AdamW(
        [parameter],
        lr=learning_rate,
        eps=1e-4,
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
