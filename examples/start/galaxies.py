"""
Real photos, with an encoder that knows no names: galaxies
==========================================================

Sort galaxies by their shape, from five labelled ones of each kind. They are crops of one photo, the eXtreme
Deep Field of the Hubble telescope (NASA, ESA and the HUDF09 team; public domain), which
``pip install scikit-image`` brings along. An image model of timm makes the features. It has learnt from everyday
photos (ImageNet), and its weights are downloaded at the first use (19 MB), so this page shows no output; :ref:`guide_any_encoder`
has the result.
"""

# %%
# Crops of one photo
# ------------------
# A galaxy is the left edge, the top edge and the size of a square. The kinds are ours, by eye: galaxies of which
# we were not sure are left out.

import numpy as np
from skimage.data import hubble_deep_field

from sktip import Crop

GALAXIES = {
    "smooth": """957,469,43 754,718,40 403,386,34 263,84,57 394,690,51 699,445,58 469,541,24 258,188,24
        374,486,24 591,70,24 549,505,24 504,650,24 39,762,33 289,316,39 801,148,36""",
    "spiral": """94,370,60 379,49,51 461,40,49 484,582,31 471,342,30 967,156,34 799,596,28 276,293,31
        79,538,24 113,288,25 301,732,24 83,74,24 261,588,34""",
    "edge-on": """72,474,30 890,793,33 880,489,27 22,742,39 57,663,25 563,388,36 467,79,25 761,477,24
        714,627,24 504,89,27 747,180,24 916,598,24 777,522,24 578,248,24 720,122,25 240,621,27""",
    "irregular": """180,775,37 695,772,28 718,419,30 19,697,31 263,827,39 475,273,24 918,427,24 273,784,28
        202,551,24 759,529,24 832,618,24 326,277,24 612,686,24 438,437,24""",
}

photo = hubble_deep_field()
crops, kinds = [], []
for kind, squares in GALAXIES.items():
    for square in squares.split():
        left, top, size = map(int, square.split(","))
        crops.append(Crop(photo, (left, top, left + size, top + size)))
        kinds.append(kind)
kinds = np.array(kinds)
# sphinx_gallery_thumbnail_path = "images/galaxies.webp"

# %%
# Features
# --------
# ``LITE0`` may name a file of weights instead, for machines without a network.

import os

from sktip import TimmFeatureTransformer

encoder = TimmFeatureTransformer("tf_efficientnet_lite0", os.environ.get("LITE0", "in1k"))
features = encoder.fit_transform(crops)

# %%
# Five labelled galaxies of each kind
# -----------------------------------
# The encoder has no text, and "smooth" would not help it: ``templates=None`` learns from the photos alone.

from sktip import FewShotClassifier
from sktip.model_selection import FewShotSplit

shots, rest = next(FewShotSplit(5, random_state=0).split(features, kinds))
clf = FewShotClassifier(templates=None).fit(features[shots], kinds[shots])
answers = clf.predict(features[rest])
print(f"{np.sum(answers == kinds[rest])} of {len(rest)} other galaxies are right")

# %%
# Other draws of the five, and the linear probe
# ---------------------------------------------

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import normalize

draws = FewShotSplit(5, n_splits=20, random_state=0)
for name, method in (
    ("FewShotClassifier", clf),
    ("linear probe", LogisticRegression(C=100, max_iter=1000)),
):
    scores = cross_val_score(method, normalize(features), kinds, cv=draws)
    print(f"{name:18} {100 * scores.mean():.0f} ± {100 * scores.std():.0f} %")
