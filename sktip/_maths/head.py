"""The head of a classifier: the formula of its logits, which prediction and export share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._maths.unit import columns_of


@dataclass(frozen=True)
class Head:
    """Logits of unit rows as ``formula(rows, **arrays, **numbers)``.

    Parameters
    ----------
    formula : callable
        Function from rows, (b, d), to logits, (b, C). All but `linear_logits` take tensors.

    arrays : dict from str to ndarray or None
        Fitted arrays. Those of floats are converted to the type of the rows.

    numbers : dict from str to float
        Other values in the formula.

    n_columns : int
        Columns of the largest intermediate result, which has one row for each of the rows.

    device : str or None
        Device of the tensors, if the formula takes tensors. None is CUDA if available, else the CPU.
    """

    formula: Callable[..., Any]
    arrays: dict[str, NDArray[Any] | None]
    numbers: dict[str, Any] = field(default_factory=dict)
    n_columns: int = 0
    device: str | None = None

    def prepared(self, dtype: np.dtype) -> Callable[[NDArray[Any]], NDArray[Any]]:
        """Return the function from NumPy rows of a type to their logits, on NumPy if it is linear."""
        arrays: dict[str, Any] = {
            name: array
            if array is None or array.dtype.kind == "i"
            else array.astype(dtype, copy=False)
            for name, array in self.arrays.items()
        }
        if self.formula is linear_logits:
            return partial(linear_logits, **arrays, **self.numbers)
        import torch

        from sktip._maths.device import as_tensor, resolve_device

        on = resolve_device(self.device)
        tensors = {
            name: None if array is None else as_tensor(array, array.dtype, on)
            for name, array in arrays.items()
        }

        def logits_of(rows: NDArray[Any]) -> NDArray[Any]:
            tensor: Any = self.formula(torch.as_tensor(rows, device=on), **tensors, **self.numbers)
            return tensor.cpu().numpy()

        return logits_of


def linear_logits(
    rows: Any, coef: Any, intercept: Any, *, scale: float = 1.0, widths: tuple[int, ...] = ()
) -> Any:
    """Logits ``s f A' + b`` of NumPy rows or tensors f: (b, C). The intercepts b may be None.

    Each block of columns of these widths gets unit norm.
    """
    if widths:
        logits = 0
        for columns in columns_of(widths):
            block = rows[:, columns]
            squares = (block**2).sum(1)[:, None]
            logits = logits + (block @ coef[:, columns].T) / (squares + (squares == 0)) ** 0.5
    else:
        logits = (rows if scale == 1 else scale * rows) @ coef.T
    if intercept is not None:
        logits += intercept
    return logits
