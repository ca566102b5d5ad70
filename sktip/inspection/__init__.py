"""Plots of predictions, searches and curves, with the interface of scikit-learn's displays.

Create a display with ``from_estimator``, or from arrays and ``plot``. matplotlib is imported when a
display is drawn: ``pip install "sktip[plot]"``.
"""

from sktip.inspection._alpha_beta import AlphaBetaDisplay
from sktip.inspection._evidence import CacheEvidenceDisplay
from sktip.inspection._shots_curve import ShotsCurveDisplay

__all__ = ["AlphaBetaDisplay", "CacheEvidenceDisplay", "ShotsCurveDisplay"]
