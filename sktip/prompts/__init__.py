"""Prompts from templates and class names, and the published templates.

CLIP reads a class name as part of a sentence. A template such as ``"a photo of a {}."`` becomes a prompt
when ``{}`` is replaced by a class name. Underscores in the name become spaces. With several templates, a
class has several prompts, and their text features are averaged.
"""

from sktip.prompts._descriptions import read_descriptions
from sktip.prompts._fill import GENERAL_TEMPLATES, TEMPLATES, fill_prompts

__all__ = ["GENERAL_TEMPLATES", "TEMPLATES", "fill_prompts", "read_descriptions"]


def __dir__() -> list[str]:
    return __all__
