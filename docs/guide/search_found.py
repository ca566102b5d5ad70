"""Draw what is found by words and by example."""

import numpy as np

from sktip import CLIPFeatureTransformer, rank_images
from sktip.datasets import load_drawings
from sktip.inspection import PredictionsDisplay

drawings = load_drawings(size=96)
clip = CLIPFeatureTransformer("tiny")
F = clip.transform(drawings.data)
rows, titles = [], []
for query in ("a picture of a building", drawings.data[list(drawings.names).index("guitar")]):
    found, scores = rank_images(F, query, clip, top=6)
    rows.extend(found)
    titles.extend(f"{score:.2f}" for score in scores)
PredictionsDisplay.from_predictions(drawings.data[np.array(rows)], titles, n_columns=6)
