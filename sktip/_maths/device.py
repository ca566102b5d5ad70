"""Where tensors live: resolved at use, never stored."""

from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Turn a `device` parameter into a device that exists here; None is CUDA if there is one."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a torch device; use None, 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if resolved.type == "meta":
        raise ValueError(
            f"device={str(device)!r} holds the shapes of tensors and no numbers, so that nothing can be "
            "computed there; use None, 'cpu', 'cuda' or 'cuda:0'."
        )
    try:
        torch.empty(0, device=resolved)
    except Exception as error:
        raise ValueError(
            f"device={str(device)!r} is not available on this machine; call set_params(device=None), "
            "with encoder__device=None for the encoder of a classifier, to use what there is."
        ) from error
    return resolved


def as_tensor(array: NDArray[Any], dtype: DTypeLike, device: torch.device) -> torch.Tensor:
    """Tensor of an array, which is not copied where it need not be."""
    # Arrays that joblib has memory-mapped are read-only, which torch warns about.
    return torch.as_tensor(np.require(array, dtype, "W"), device=device)
