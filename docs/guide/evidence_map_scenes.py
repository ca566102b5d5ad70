"""Draw where the answers for four scenes come from."""

import matplotlib.pyplot as plt
import numpy as np
from scenes import draw_scene

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.inspection import evidence_map

names = ["dog", "banana", "car", "guitar", "umbrella", "cactus", "fish", "balloon"]
rng = np.random.default_rng(3)
shots = [(draw_scene(name, rng, (0.1, 0.8))[0], name) for name in names for _ in range(5)]
clf = FewShotClassifier(CLIPFeatureTransformer("tiny"), templates="a picture of a {}")
clf.fit(*zip(*shots))
figure, axes = plt.subplots(2, 4, figsize=(8, 3.4), layout="constrained")
for column, name in enumerate(["dog", "car", "cactus", "fish"]):
    scene, _ = draw_scene(name, rng)
    axes[0, column].imshow(scene)
    axes[1, column].imshow(evidence_map(clf, scene, name).picture)
    axes[0, column].set_title(name, fontsize="medium")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
