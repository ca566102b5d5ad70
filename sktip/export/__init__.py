"""Fitted classifiers for programs without scikit-learn, or without Python.

`to_module` makes a module of PyTorch, `to_onnx` a file that ONNX Runtime and other runtimes read:
``pip install "sktip[onnx]"``.
"""

from sktip.export._module import to_module
from sktip.export._onnx import to_onnx

__all__ = ["to_module", "to_onnx"]
