"""Train an image classifier from a few labelled photos per class.

The classifiers have scikit-learn's interface, and use the image and text features of a pretrained CLIP
model. Start with `FewShotClassifier`. `TipAdapterClassifier` is the method of the paper "Tip-Adapter:
Training-free Adaption of CLIP for Few-shot Classification" (arXiv 2207.09519, first version 2111.03930).
"""

import lazy_loader

__version__ = "0.1.0.dev0"

# The public names are listed in __init__.pyi. Their modules are imported at first use, so that
# ``import sktip`` is fast.
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
