"""Plots of predictions and searches, with the interface of scikit-learn's displays.

Create a display with ``from_estimator``, or from arrays. matplotlib is imported when a display is drawn:
``pip install "sktip[plot]"``.
"""

from sktip.inspection._alpha_beta import AlphaBetaDisplay
from sktip.inspection._evidence import EvidenceDisplay
from sktip.inspection._evidence_map import evidence_map
from sktip.inspection._forecast import ForecastDisplay
from sktip.inspection._predictions import PredictionsDisplay

__all__ = [
    "AlphaBetaDisplay",
    "EvidenceDisplay",
    "ForecastDisplay",
    "PredictionsDisplay",
    "evidence_map",
]
