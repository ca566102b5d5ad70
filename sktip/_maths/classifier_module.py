"""A classifier as a torch module, with operations that ONNX runtimes support."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktip._maths.head import Head


class ClassifierModule(nn.Module):
    """Module from features, or from pixels with an image tower, to logits.

    Parameters
    ----------
    head : Head
        The formula from unit rows to logits. Its arrays become buffers of float32.

    classes : list
        Labels of the columns: classes, or tags.

    thresholds : list of float or None
        Probability from which each tag is predicted. None for classes.

    tower : Module or None
        Module from pixels to features. It may return a tuple whose first item is the features.

    preprocessing : dict or None
        Preprocessing of the pixels, with a tower.
    """

    def __init__(
        self,
        head: Head,
        classes: list[Any],
        thresholds: list[float] | None = None,
        tower: nn.Module | None = None,
        preprocessing: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.tower = tower
        self.formula, self.numbers = head.formula, head.numbers
        for name, array in head.arrays.items():
            tensor = None if array is None else torch.tensor(array)
            self.register_buffer(name, tensor)
        self.arrays = list(head.arrays)
        self.classes, self.thresholds = classes, thresholds
        self.preprocessing = preprocessing
        self.float()

    def forward(self, inputs: Tensor) -> Tensor:
        if self.tower is not None:
            inputs = self.tower(inputs)
            if isinstance(inputs, tuple):
                inputs = inputs[0]
        arrays = {name: getattr(self, name) for name in self.arrays}
        logits: Tensor = self.formula(functional.normalize(inputs, dim=1), **arrays, **self.numbers)
        return logits
