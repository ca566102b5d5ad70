"""Where tensors live: resolved at use, never stored."""

import torch


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
    try:
        torch.empty(0, device=resolved)
    except Exception as error:
        raise ValueError(
            f"device={str(device)!r} is not available on this machine; call set_params(device=None) to "
            "use what there is."
        ) from error
    return resolved
