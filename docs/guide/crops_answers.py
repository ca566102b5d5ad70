"""Draw small animals, and their classes from whole photos and from crops."""

import matplotlib.pyplot as plt
import numpy as np
from scenes import SIZE, draw_scene

from sktip import CLIPFeatureTransformer, Crop, FewShotClassifier

names = ["dog", "rabbit", "elephant", "zebra", "turtle", "owl"]
rng = np.random.default_rng(0)
shots = [(name, *draw_scene(name, rng)) for name in names for _ in range(5)]
new = [(name, *draw_scene(name, rng)) for name in names]
labels = [name for name, _, _ in shots]
answers = []
for box_only in (False, True):
    images, new_images = (
        [Crop(scene, box) if box_only else scene for _, scene, box in part] for part in (shots, new)
    )
    clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="a picture of a {}")
    answers.append(clf.fit(images, labels).predict(new_images))
figure, axes = plt.subplots(2, 3, figsize=(8, 5), layout="constrained")
for (_, scene, box), whole, crop, ax in zip(new, *answers, axes.flat):
    ax.imshow(scene)
    left, top, right, bottom = np.multiply(box, 2 * SIZE)
    ax.add_patch(
        plt.Rectangle((left, top), right - left, bottom - top, fill=False, lw=2.5, ec="white")
    )
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"whole photo: {whole}\ncrop: {crop}", fontsize="medium")
