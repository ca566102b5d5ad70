"""Draw the accuracies measured on Stanford Cars, of the page on the family."""

import sys
from pathlib import Path

from sktip.inspection import ShotsCurveDisplay

# The script runs in its own folder.
sys.path.insert(0, str(Path.cwd().parent))
import accuracy

methods = accuracy.read()["stanford_cars_vitb32"]
shots = [1, 2, 4, 8, 16]
means = {
    name: [[cells.get(k, (float("nan"),))[0]] for k in shots] for name, cells in methods.items()
}
ShotsCurveDisplay(shots, means, score_name="accuracy on Stanford Cars (%)").plot()
