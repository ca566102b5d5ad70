"""Pictures of a classifier, a search and a curve, in the way of scikit-learn's displays.

Each display is made by ``from_estimator``, or from arrays, and drawn by ``plot``. matplotlib is
imported when a display is drawn: ``pip install "sktip[plot]"``.
"""

from sktip.inspection._alpha_beta import AlphaBetaDisplay
from sktip.inspection._evidence import CacheEvidenceDisplay
from sktip.inspection._shots_curve import ShotsCurveDisplay

__all__ = ["AlphaBetaDisplay", "CacheEvidenceDisplay", "ShotsCurveDisplay"]
