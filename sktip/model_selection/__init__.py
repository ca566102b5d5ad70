"""Draw shots, predict held-out shots, find near-duplicates, estimate accuracy, and choose what to do next."""

from sktip.model_selection._class_names import check_class_names
from sktip.model_selection._estimate import estimate_accuracy
from sktip.model_selection._few_shot_split import FewShotSplit
from sktip.model_selection._forecast import forecast_accuracy
from sktip.model_selection._held_out import held_out_proba
from sktip.model_selection._near_duplicates import near_duplicate_groups
from sktip.model_selection._suggest import suggest_shots

__all__ = [
    "FewShotSplit",
    "check_class_names",
    "estimate_accuracy",
    "forecast_accuracy",
    "held_out_proba",
    "near_duplicate_groups",
    "suggest_shots",
]


def __dir__() -> list[str]:
    return __all__
