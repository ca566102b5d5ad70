"""
A Pipeline: any classifier after the encoder
============================================

``CLIPFeatureTransformer`` is a scikit-learn transformer, so any scikit-learn classifier can
follow it in a ``Pipeline``. This example fits the "linear probe", a logistic regression on CLIP's features,
and compares it with two classifiers that also use the class names: Tip-Adapter and Gaussian discriminant
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
# One shot and sixteen shots per class
# ------------------------------------
# The probe learns from the shots only, so the others are better with one shot per class. How many shots the
# probe needs to overtake them depends on how well the CLIP model knows the class names. The bundled model is
# small, and does not know digits well.

from sktip.model_selection import FewShotSplit

for n_shots in (1, 16):
    shots, test = next(FewShotSplit(n_shots, random_state=0).split(images, labels))
    for name, pipeline in pipelines.items():
        score = pipeline.fit(images[shots], labels[shots]).score(images[test], labels[test])
        print(f"{n_shots:2} shots, {name:12} {score:.1%}")

# %%
# Which digits are confused
# -------------------------
# Everything of scikit-learn works with the pipelines, such as its displays. These are the predictions of the
# linear probe, fitted on 16 shots per class.

import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

figure, ax = plt.subplots(figsize=(4.8, 4.6), layout="constrained")
ConfusionMatrixDisplay.from_estimator(
    pipelines["linear probe"],
    images[test],
    labels[test],
    xticks_rotation=45,
    colorbar=False,
    cmap="Blues",
    ax=ax,
)
plt.show()
folder.cleanup()
