"""Choose the precision of a model, and convert the model to it."""

import functools
import time
from typing import Any

#: Smallest speed-up of a matrix product for which bf16 is used. Other operations gain nothing, and the
#: choice should not depend on how busy the machine is during the measurement.
MIN_GAIN = 1.5
#: CPU features for bf16, of which one is needed, as in ``torch.cpu.get_capabilities()``.
BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def resolve_precision(precision: str, device: Any) -> str:
    """Return the given precision, or for ``"auto"`` bf16 if it is faster than fp32."""
    if precision != "auto":
        return precision
    return "bf16" if _is_faster_in_bf16(device) else "fp32"


def lower_precision(visual: Any, dtype: Any, config: dict[str, Any]) -> None:
    """Convert the image model to 16 bits, as open_clip does; the text model stays in fp32.

    Class names are few and encoded once, and a rounding error in them would affect every image.
    """
    from open_clip.model import convert_weights_to_lp
    from open_clip.transformer import LayerNorm, LayerNormFp32

    if "timm_model_name" in config.get("vision_cfg", {}):
        visual.to(dtype)
        return
    for module in visual.modules():
        # The same parameters, computed in 32 bits. open_clip chooses the class by the precision.
        if type(module) is LayerNorm:
            module.__class__ = LayerNormFp32
    convert_weights_to_lp(visual, dtype)


@functools.cache
def _is_faster_in_bf16(device: Any) -> bool:
    """Whether a device supports bf16 natively and is faster with it; measured once per process."""
    if not _may_have_bf16(device):
        return False
    try:
        return measured_gain(device) >= MIN_GAIN
    except RuntimeError:  # The device or its driver lacks an operation in bf16.
        return False


def _may_have_bf16(device: Any) -> bool:
    import torch

    if device.type == "cuda":
        # Older GPUs compute it in software. AMD's GPUs have capabilities from 9.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        has = torch.cpu.get_capabilities()
        return any(has.get(name, False) for name in BF16_INSTRUCTIONS)
    return True


def measured_gain(device: Any) -> float:
    """Ratio of the times of a matrix product in fp32 and bf16, each the best of several runs."""
    import torch

    # On a GPU, small products would only measure the launch.
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
