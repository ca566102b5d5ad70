"""Draw how well ten names fit the photos of their digits, two of them wrong."""

import matplotlib.pyplot as plt

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_digit_images
from sktip.model_selection import check_class_names

images, labels = load_digit_images(return_X_y=True)
names = {label: str(label) for label in labels} | {"six": "motorcycle", "two": "giraffe"}
result = check_class_names(
    CLIPFeatureTransformer("tiny"),
    images[:100],
    labels[:100],
    class_names=names,
    templates="the digit {}",
)
wrong = [name != label for name, label in zip(result.names, result.classes)]
ticks = [
    f'{label}, named "{name}"' if bad else label
    for label, name, bad in zip(result.classes, result.names, wrong)
]
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.barh(
    ticks[::-1], result.fit[::-1], color=["#d55e00" if bad else "#0072b2" for bad in wrong[::-1]]
)
ax.set_xlabel("fit: standard deviations above other photos")
