"""Few-shot CLIP classification for scikit-learn.

`sktip` turns a few labelled images per class, the class names as text and a pretrained CLIP
into a classifier with scikit-learn's interface, after the paper "Tip-Adapter: Training-free
CLIP-Adapter for Better Vision-Language Modeling" (arXiv 2111.03930).
"""

import lazy_loader

__version__ = "0.1.0.dev0"

# The public names stand in __init__.pyi. Their modules are imported at first use, so that
# ``import sktip`` costs next to nothing.
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
