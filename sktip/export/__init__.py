"""Export fitted classifiers to programs without scikit-learn, or without Python.

`to_module` returns a PyTorch module. `to_onnx` writes a file for ONNX Runtime and other runtimes; it
needs ``pip install "sktip[onnx]"``.
"""

from sktip.export._module import to_module
from sktip.export._onnx import to_onnx

__all__ = ["to_module", "to_onnx"]
