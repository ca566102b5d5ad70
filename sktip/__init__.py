"""Few-shot CLIP classification for scikit-learn.

`sktip` turns a few labelled images a class, the class names as text and a pretrained CLIP
into a classifier with scikit-learn's interface, after the paper "Tip-Adapter: Training-free
CLIP-Adapter for Better Vision-Language Modeling" (arXiv 2111.03930).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0.dev0"

#: Where each public name lives; modules are imported at first use, so that
#: ``import sktip`` costs next to nothing.
_HOME = {
    "CLIPAdapterClassifier": "sktip._clip_adapter",
    "CLIPFeatureTransformer": "sktip._encoder",
    "FeatureMemory": "sktip._encoding.memory",
    "GDAClassifier": "sktip._gda",
    "ProKeRClassifier": "sktip._proker",
    "TipAdapterClassifier": "sktip._tip_adapter",
    "TipAdapterClassifierCV": "sktip._tip_adapter_cv",
    "ZeroShotClassifier": "sktip._zero_shot",
    "clear_model_cache": "sktip._encoding.model",
    "show_versions": "sktip._utils.show_versions",
}
_SUBMODULES = ("datasets", "distributed", "exceptions", "inspection", "model_selection", "prompts")

__all__ = [
    "CLIPAdapterClassifier",
    "CLIPFeatureTransformer",
    "FeatureMemory",
    "GDAClassifier",
    "ProKeRClassifier",
    "TipAdapterClassifier",
    "TipAdapterClassifierCV",
    "ZeroShotClassifier",
    "__version__",
    "clear_model_cache",
    "datasets",
    "distributed",
    "exceptions",
    "inspection",
    "model_selection",
    "prompts",
    "show_versions",
]

if TYPE_CHECKING:
    from sktip import datasets as datasets
    from sktip import distributed as distributed
    from sktip import exceptions as exceptions
    from sktip import inspection as inspection
    from sktip import model_selection as model_selection
    from sktip import prompts as prompts
    from sktip._clip_adapter import CLIPAdapterClassifier as CLIPAdapterClassifier
    from sktip._encoder import CLIPFeatureTransformer as CLIPFeatureTransformer
    from sktip._encoding.memory import FeatureMemory as FeatureMemory
    from sktip._encoding.model import clear_model_cache as clear_model_cache
    from sktip._gda import GDAClassifier as GDAClassifier
    from sktip._proker import ProKeRClassifier as ProKeRClassifier
    from sktip._tip_adapter import TipAdapterClassifier as TipAdapterClassifier
    from sktip._tip_adapter_cv import TipAdapterClassifierCV as TipAdapterClassifierCV
    from sktip._utils.show_versions import show_versions as show_versions
    from sktip._zero_shot import ZeroShotClassifier as ZeroShotClassifier


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _SUBMODULES:
        return import_module(f"sktip.{name}")
    raise AttributeError(f"module 'sktip' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
