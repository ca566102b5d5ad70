"""Choose the precision of a model, and convert the model to it."""

import os
from typing import Any

from sktip._utils.whole_imports import import_whole

#: Values of ``ONEDNN_MAX_CPU_ISA`` that keep oneDNN, which torch uses, from these instructions.
WITHOUT_BF16 = frozenset(
    "sse41 avx avx2 avx2_vnni avx2_vnni_2 avx512_core avx512_core_vnni".split()
)


def resolve_precision(precision: str, device: Any) -> str:
    """Return the given precision, or for ``"auto"`` bf16 if the device has it in hardware, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if has_bf16(device) else "fp32"


def precision_here(precision: str, device: str | None) -> str:
    """Resolve the precision of a `device` parameter; a device that this machine lacks lists nothing."""
    if precision != "auto":
        return precision
    import_whole("torch")
    from sktip._maths.device import resolve_device

    try:
        return resolve_precision(precision, resolve_device(device))
    except ValueError:
        return "fp32"


def has_bf16(device: Any) -> bool:
    """Whether a device lists that it computes in bf16. Nothing is measured, so all processes agree."""
    import torch

    if device.type == "cuda":
        # Older GPUs compute it in software. AMD's GPUs have capabilities from 9.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    # Older versions of torch do not list what a CPU has.
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return False
    # As oneDNN reads them: the older name counts if the newer one is not set.
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.lower() in WITHOUT_BF16:
        return False
    has = torch.cpu.get_capabilities()
    # AVX512-BF16 doubles the speed on AMD's CPUs, which alone have SSE4a. Intel's multiply fp32 as fast.
    on_amd = has.get("avx512_bf16", False) and has.get("sse4a", False)
    return bool(has.get("amx_bf16", False) or on_amd)
