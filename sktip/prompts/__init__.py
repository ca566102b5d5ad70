"""Prompts: sentences made of a template and a class name, and the published templates.

CLIP reads a class as a sentence. A template such as ``"a photo of a {}."`` becomes a prompt
when its braces are filled with a class name, underscores replaced by spaces; several templates
make several prompts of one class, whose text features are averaged.
"""

from sktip.prompts._descriptions import read_descriptions
from sktip.prompts._fill import TEMPLATES, fill_prompts

__all__ = ["TEMPLATES", "fill_prompts", "read_descriptions"]


def __dir__() -> list[str]:
    return __all__
