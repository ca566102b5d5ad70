"""
What to do next
===============

Label more photos, mend class names, or use the classifier as it is? Here it has eight photos of each handwritten digit.
:func:`~sktip.model_selection.forecast_accuracy` forecasts what more photos bring, and all other digits tell the truth.
"""

# %%
# A forecast from eight photos per class
# --------------------------------------

import matplotlib.pyplot as plt

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.datasets import load_digit_images
from sktip.inspection import ForecastDisplay
from sktip.model_selection import FewShotSplit, check_class_names, estimate_accuracy

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
train, test = next(FewShotSplit(32, test_size=500, random_state=1).split(features, labels))
clf = FewShotClassifier(clip, input="features", templates="the digit {}")
shots = train[:80]
display = ForecastDisplay.from_estimator(clf, features[shots], labels[shots], [16, 32])
forecast = display.forecast
for k, accuracy, lower, upper in zip(
    forecast.n_shots, forecast.accuracy, forecast.lower, forecast.upper
):
    true = clf.fit(features[train[: int(10 * k)]], labels[train[: int(10 * k)]])
    true = true.score(features[test], labels[test])
    display.ax_.plot(k, 100 * true, "x", color="black", label="in truth" if k == 16 else None)
    print(f"{k:.0f} per class: {accuracy:.0%} ({lower:.0%} to {upper:.0%}), in truth {true:.0%}")
display.ax_.legend(loc="lower right", frameon=False)
plt.show()

# %%
# Where photos help most
# ----------------------
# The classes that gain most have many errors on held-out photos.

order = forecast.class_gains[-1].argsort()[::-1]
print(*(f"{forecast.classes[i]} {forecast.class_gains[-1][i]:+.0%}" for i in order[:3]), sep=", ")

# %%
# Names that the model misreads
# -----------------------------
# Two digits get wrong names. :func:`~sktip.model_selection.check_class_names` lists them first, and chooses better ones
# from a list.

names = {label: str(label) for label in set(labels)} | {"six": "motorcycle", "two": "giraffe"}
result = check_class_names(
    clip,
    features[shots],
    labels[shots],
    class_names=names,
    templates="the digit {}",
    candidates=["one", "two", "six", "nine", "bicycle", "horse"],
)
for label, name, fit, better in zip(
    result.classes[:3], result.names, result.fit, result.suggestion
):
    print(f"{label}: {name!r} fits by {fit:.1f}, better: {better}")
assert {"six", "two"} <= set(result.classes[:3])

# %%
# Accuracy without labels
# -----------------------
# :func:`~sktip.model_selection.estimate_accuracy` needs no labels of the new photos. It raises an alarm for photos that
# do not resemble the shots, such as photos that are upside down.

clf.fit(features[shots], labels[shots])
for kind, pixels in (("upright", images[test]), ("upside down", images[test][:, ::-1, ::-1])):
    new = clip.transform(pixels)
    estimate = estimate_accuracy(clf, new)
    true = clf.score(new, labels[test])
    print(
        f"{kind}: {estimate.accuracy:.0%} ({estimate.lower:.0%} to {estimate.upper:.0%}), "
        f"in truth {true:.0%}, alarm: {estimate.drift}"
    )
