"""
A Pipeline: any classifier after the transformer
================================================

:class:`~sktip.CLIPFeatureTransformer` is a transformer like any other, so any classifier of
scikit-learn may follow it in a ``Pipeline``. This compares the "linear probe", a logistic regression
on CLIP's features, with two classifiers that also know what the classes are called: Tip-Adapter and
Gaussian discriminant analysis.
"""

# %%
# Images, from end to end
# -----------------------
# The pipelines take images: here arrays, but paths and PIL images do as well. With ``memory``, a
# file, no image is encoded twice, whichever pipeline it goes through.

from tempfile import TemporaryDirectory

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip import CLIPFeatureTransformer, GDAClassifier, TipAdapterClassifier
from sktip.datasets import load_digit_images

images, labels = load_digit_images(return_X_y=True)

folder = TemporaryDirectory()
clip = CLIPFeatureTransformer("tiny", memory=f"{folder.name}/features.sqlite")
common = {"input": "features", "templates": ["a picture of the number {}", "the digit {}"]}
pipelines = {
    "linear probe": make_pipeline(clip, LogisticRegression(C=100, max_iter=1000)),
    "Tip-Adapter": make_pipeline(clip, TipAdapterClassifier(clip, **common)),
    "GDA": make_pipeline(clip, GDAClassifier(clip, **common)),
}
pipelines["linear probe"]

# %%
# Accuracy against shots
# ----------------------
# All get the same draws of shots. The probe has to learn from the shots alone what a seven is; with
# one shot, knowing the name is worth more. How soon the probe gets ahead depends on how much the CLIP
# knows by name: the bundled one is small, and knows little of digits.

from sktip.inspection import ShotsCurveDisplay
from sktip.model_selection import FewShotSplit

draws = FewShotSplit(16, n_splits=3, test_size=200, random_state=0)
display = ShotsCurveDisplay.from_estimator(pipelines, images, labels, shots=[1, 4, 16], cv=draws)
for name, scores in display.scores.items():
    print(f"{name:13}", " ".join(f"{100 * mean:5.1f}" for mean in scores.mean(axis=1)))
folder.cleanup()
