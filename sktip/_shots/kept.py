"""Shots that are kept to be fitted again."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._utils.labels import joined_groups, joined_weights


class KeptShotsMixin:
    """Keeps the shots of a classifier."""

    shots_: Any
    shot_codes_: Any
    shot_weights_: NDArray[Any] | None
    shot_groups_: NDArray[Any] | None

    def _append_shots(
        self,
        shots: NDArray[Any],
        codes: NDArray[Any],
        weights: NDArray[Any] | None,
        groups: NDArray[Any] | None,
    ) -> None:
        """Append shots to the kept ones."""
        if len(getattr(self, "shot_codes_", ())):
            groups = joined_groups(self.shot_groups_, groups)
            weights = joined_weights(self.shot_weights_, len(self.shots_), weights, len(shots))
            shots = np.concatenate([self.shots_, shots])
            codes = np.concatenate([self.shot_codes_, codes])
        self.shots_, self.shot_codes_ = shots, codes
        self.shot_weights_, self.shot_groups_ = weights, groups
