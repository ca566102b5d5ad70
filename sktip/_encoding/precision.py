"""The numbers that a model computes in: how they are chosen, and how a model is made to."""

import functools
import time
from typing import Any

#: How much faster a product of matrices in bf16 has to be. Softmax and the like gain nothing, and a
#: machine that is busy while it is measured must not come to another answer the next time.
MIN_GAIN = 1.5
#: What the CPU says it has, of which one is needed: names of ``torch.cpu.get_capabilities()``.
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def resolve_precision(precision: str, device: Any) -> str:
    """Name the numbers: those given, or for ``"auto"`` bf16 where that is faster than fp32."""
    if precision != "auto":
        return precision
    return "bf16" if _is_faster_in_bf16(device) else "fp32"


def lower_precision(visual: Any, dtype: Any, config: dict[str, Any]) -> None:
    """Make the model of images compute in 16 bits, as open_clip does it; that of texts stays fp32.

    Texts are few and encoded once, and a rounded class name would count for every image.
    """
    from open_clip.model import convert_weights_to_lp
    from open_clip.transformer import LayerNorm, LayerNormFp32

    if "timm_model_name" in config.get("vision_cfg", {}):
        visual.to(dtype)
        return
    for module in visual.modules():
        # The same parameters, applied in 32 bits: open_clip chooses the class by the precision.
        if type(module) is LayerNorm:
            module.__class__ = LayerNormFp32
    convert_weights_to_lp(visual, dtype)


@functools.cache
def _is_faster_in_bf16(device: Any) -> bool:
    """Whether a device multiplies bf16 natively, and gains by it; measured once a process."""
    if not _may_have_bf16(device):
        return False
    try:
        return measured_gain(device) >= MIN_GAIN
    except RuntimeError:  # An operation that this device, or its driver, has not in bf16.
        return False


def _may_have_bf16(device: Any) -> bool:
    import torch

    if device.type == "cuda":
        # Older ones do it in software. AMD's, by the same interface, count from 9 on.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in BF16_INSTRUCTIONS)
    return True


def measured_gain(device: Any) -> float:
    """Time of a product of matrices in fp32 by that in bf16, the best of a few each, in turns."""
    import torch

    # On a GPU small products take as long as their launch.
    n_rows = 64 if device.type == "cpu" else 8192
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.inference_mode():
        factors = {
            dtype: (
                torch.ones(n_rows, 768, dtype=dtype, device=device),
                torch.ones(768, 768, dtype=dtype, device=device),
            )
            for dtype in best
        }
        for _ in range(6):
            for dtype, (rows, weights) in factors.items():
                start = time.perf_counter()
                torch.nn.functional.linear(rows, weights)[0, 0].item()
                best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]
