"""matplotlib is optional, and only imported to draw."""

import subprocess
import sys

import pytest

from sktip.inspection import AlphaBetaDisplay, EvidenceDisplay, PredictionsDisplay


def test_is_imported_when_drawing():
    code = (
        "import sys, sktip; sktip.inspection.PredictionsDisplay(pictures=[], y_pred=[]); "
        "assert not {'matplotlib', 'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("cls", [AlphaBetaDisplay, EvidenceDisplay, PredictionsDisplay])
@pytest.mark.parametrize("method", ["plot", "from_estimator", "from_predictions"])
def test_missing(cls, method, monkeypatch):
    if not hasattr(cls, method):
        return
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    arguments = (None,) * (1 if cls is AlphaBetaDisplay else 2)
    call = getattr(cls, method)
    with pytest.raises(
        ImportError, match=rf'{cls.__name__}.{method} .*pip install "sktip\[plot\]"'
    ):
        call(cls.__new__(cls)) if method == "plot" else call(*arguments)
