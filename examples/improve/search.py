"""
Search by words and by example
==============================

Find drawings without a label: by words, by a drawing, and by a class of a classifier. The drawings are by OpenMoji.
"""

# %%
# By words
# --------

from sktip import CLIPFeatureTransformer, FewShotClassifier, rank_images
from sktip.datasets import load_drawings
from sktip.inspection import PredictionsDisplay

drawings = load_drawings(size=96)
clip = CLIPFeatureTransformer("tiny")
F = clip.transform(drawings.data)


def show(found):
    indices, scores = found
    titles = [f"{score:.2f}" for score in scores]
    return PredictionsDisplay.from_predictions(drawings.data[indices], titles)


display = show(rank_images(F, "a picture of a building", clip, top=12))

# %%
# By example
# ----------

example = drawings.data[list(drawings.names).index("guitar")]
display = show(rank_images(F, example, clip, top=6))

# %%
# By a class
# ----------
#
# A classifier of a few examples knows better what is meant. Its scores are probabilities.

birds = [row for row, label in enumerate(drawings.target) if label == "bird"][:5]
others = list(range(0, len(F), 40))
shots = [*birds, *others]
labels = ["bird" if drawings.target[row] == "bird" else "other" for row in shots]
clf = FewShotClassifier(clip, input="features", templates=None).fit(F[shots], labels)
display = show(rank_images(F, "bird", clf, top=12))
