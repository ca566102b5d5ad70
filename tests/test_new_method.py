"""The steps of "Add a classifier" in CONTRIBUTING.md, followed with a toy in a copy of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import sktip

TOY = '''
"""Cosines with the class means."""

from sktip._base import BaseCLIPClassifier
from sktip._maths.head import Head, linear_logits
from sktip._maths.unit import class_means
from sktip._utils.estimators import validated


class ToyClassifier(BaseCLIPClassifier):
    """Cosines with the class means."""

    def __init__(
        self, encoder=None, *, class_names=None, templates="a {}", input="image", text_features=None,
        logit_scale=None,
    ):
        self.encoder = encoder
        self.class_names = class_names
        self.templates = templates
        self.input = input
        self.text_features = text_features
        self.logit_scale = logit_scale

    @validated
    def fit(self, X, y):
        return self._fit(X, y)

    def _learn(self, shots, task):
        means = class_means(shots.features[:, 0], shots.codes, len(task.classes))
        return {"means_": means}

    def __sktip_head__(self):
        arrays = {"coef": self.means_, "intercept": None}
        return Head(linear_logits, arrays, {"scale": self.logit_scale_})
'''
CHECKS = """
import sys
import warnings

import joblib
import numpy as np
from sklearn.utils.estimator_checks import check_estimator

import sktip
from sktip import _cli
from sktip.export import to_module
from sktip.utils import all_estimators

assert sktip.__file__.startswith(sys.argv[1]), sktip.__file__
assert "ToyClassifier" in dict(all_estimators(type_filter="classifier"))
assert "ToyClassifier" in _cli.CLASSIFIERS
warnings.simplefilter("ignore")
check_estimator(sktip.ToyClassifier())
images = np.zeros((6, 32, 32, 3), np.uint8)
images[3:] = 255
clf = sktip.ToyClassifier("tiny").fit(images, ["black"] * 3 + ["white"] * 3)
assert clf.predict(images).tolist() == ["black"] * 3 + ["white"] * 3
joblib.dump(clf, sys.argv[1] + "/toy.joblib")
assert joblib.load(sys.argv[1] + "/toy.joblib").predict_proba(images).shape == (6, 2)
assert to_module(clf.set_params(input="features")).eval()
"""


def test_two_files_make_a_classifier(tmp_path):
    package = tmp_path / "sktip"
    ignored = shutil.ignore_patterns("__pycache__", "_label")
    shutil.copytree(Path(sktip.__file__).parent, package, ignore=ignored)
    (package / "_toy.py").write_text(TOY)
    names = package / "__init__.pyi"
    line = "from ._toy import ToyClassifier as ToyClassifier\n"
    text = names.read_text("utf-8")
    names.write_text(text.replace("\n__version__", f"{line}\n__version__"), "utf-8")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{CHECKS}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
