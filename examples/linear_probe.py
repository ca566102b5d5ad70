"""
A Pipeline: any classifier after the transformer
================================================

:class:`~sktip.CLIPFeatureTransformer` is a scikit-learn transformer, so any scikit-learn classifier can
follow it in a ``Pipeline``. This example compares the "linear probe", a logistic regression on CLIP's
features, with two classifiers that also use the class names: Tip-Adapter and Gaussian discriminant
analysis.
"""

# %%
# Pipelines of images
# -------------------
# The pipelines take images: here arrays, but paths and PIL images work too. ``memory`` is a file that stores
# the features, so no image is encoded twice by the pipelines.

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
# All classifiers get the same draws of shots. The probe learns from the shots only, so the others are better
# with one shot per class. How many shots the probe needs to overtake them depends on how well the CLIP model
# knows the class names. The bundled model is small, and does not know digits well.

from sktip.inspection import ShotsCurveDisplay
from sktip.model_selection import FewShotSplit

draws = FewShotSplit(16, n_splits=3, test_size=200, random_state=0)
display = ShotsCurveDisplay.from_estimator(pipelines, images, labels, shots=[1, 4, 16], cv=draws)
for name, scores in display.scores.items():
    print(f"{name:13}", " ".join(f"{100 * mean:5.1f}" for mean in scores.mean(axis=1)))
folder.cleanup()
