"""Resolve devices when they are used; they are never stored."""

from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray


def resolve_device(device: str | torch.device | None) -> torch.device:
    """Return the torch device of a `device` parameter. None is CUDA if available, else the CPU."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} is not a torch device; pass None, 'cpu', 'cuda' or 'cuda:0'."
        ) from error
    if resolved.type == "meta":
        raise ValueError(
            f"device={str(device)!r} has tensors without values, so nothing can be computed on it; pass None, "
            "'cpu', 'cuda' or 'cuda:0'."
        )
    try:
        torch.empty(0, device=resolved)
    except Exception as error:
        raise ValueError(
            f"device={str(device)!r} is not available on this machine. Call set_params(device=None), or "
            "set_params(encoder__device=None) for the encoder of a classifier, to use an available device."
        ) from error
    return resolved


def as_tensor(array: NDArray[Any], dtype: DTypeLike, device: torch.device) -> torch.Tensor:
    """Convert an array to a tensor, without a copy if possible."""
    # torch warns about read-only arrays, such as those that joblib memory-maps.
    return torch.as_tensor(np.require(array, dtype, "W"), device=device)
