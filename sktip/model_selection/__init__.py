"""Draw shots, predict held-out shots, and choose which images to label next."""

from sktip.model_selection._few_shot_split import FewShotSplit
from sktip.model_selection._held_out import held_out_proba
from sktip.model_selection._suggest import suggest_shots

__all__ = ["FewShotSplit", "held_out_proba", "suggest_shots"]


def __dir__() -> list[str]:
    return __all__
