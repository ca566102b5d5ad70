"""Devices, resolved when they are used and never stored, and the precision that each is fastest in."""

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

#: Values of ``ONEDNN_MAX_CPU_ISA`` that keep oneDNN, which torch uses, from these instructions.
WITHOUT_BF16 = frozenset(
    "sse41 avx avx2 avx2_vnni avx2_vnni_2 avx512_core avx512_core_vnni".split()
)


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


def resolve_precision(precision: str, device: Any) -> str:
    """Return the given precision, or for ``"auto"`` bf16 if the device has it in hardware, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def precision_here(precision: str, device: str | None) -> str:
    """Resolve the precision of a `device` parameter; a device that this machine lacks lists nothing."""
    if precision != "auto":
        return precision
    try:
        return resolve_precision(precision, resolve_device(device))
    except ValueError:
        return "fp32"


def has_bf16(device: Any) -> bool:
    """Whether a device lists that it computes in bf16. Nothing is measured, so all processes agree."""
    if device.type == "cuda":
        # Older GPUs compute it in software. AMD's GPUs have capabilities from 9.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return device.type == "cpu" and cpu_speed_of_bf16() > 1


def cpu_speed_of_bf16() -> int:
    """How many times as fast as fp32 the CPU computes in bf16, as measured with ViT-B/32; 1 without it."""
    # Older versions of torch do not list what a CPU has.
    if not hasattr(torch.cpu, "get_capabilities"):
        return 1
    # As oneDNN reads them: the older name counts if the newer one is not set.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.lower() in WITHOUT_BF16:
        return 1
    has = torch.cpu.get_capabilities()
    if has.get("amx_bf16", False):
        return 4
    # AVX512-BF16 doubles the speed on AMD's CPUs, which alone have SSE4a. Intel's multiply fp32 as fast.
    return 2 if has.get("avx512_bf16", False) and has.get("sse4a", False) else 1
