"""
Near-duplicates
===============

Find copies of photos, and see what they do to a score. Here, each of 200 digits has two smaller copies.
"""

# %%
# Copies
# ------

import numpy as np
from PIL import Image
from sklearn.model_selection import GroupKFold, KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_digit_images
from sktip.model_selection import near_duplicate_groups

images, labels = load_digit_images(return_X_y=True)
photos = [
    Image.fromarray(image).resize((size, size)) for size in (64, 56, 48) for image in images[:200]
]
labels = np.tile(labels[:200], 3)
groups = near_duplicate_groups(photos)
print(f"{len(photos)} photos in {groups.max() + 1} groups")

# %%
# A score that is too good
# ------------------------
#
# With copies in the training set, the nearest neighbour is the photo itself.

F = CLIPFeatureTransformer("tiny").transform(photos)
knn = KNeighborsClassifier(1)
mixed = cross_val_score(knn, F, labels, cv=KFold(5, shuffle=True, random_state=0))
apart = cross_val_score(knn, F, labels, groups=groups, cv=GroupKFold(5))
print(f"accuracy {mixed.mean():.1%}, with copies held out together {apart.mean():.1%}")

# %%
# One group
# ---------

from sktip.inspection import PredictionsDisplay

rows = np.flatnonzero(groups == groups[7])
display = PredictionsDisplay.from_predictions(
    [photos[row] for row in rows], [f"{photos[row].width} pixels" for row in rows]
)
