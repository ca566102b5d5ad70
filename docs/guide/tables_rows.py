"""Draw a table with a column of pictures, and the answers of a Pipeline that reads the photos and the other columns."""

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_drawings

KINDS = {
    "fruit": ["apple", "banana", "grapes", "pear"],
    "bird": ["owl", "duck", "penguin", "rooster"],
    "vehicle": ["car", "bus", "bike", "tractor"],
}
WEIGHTS = {"fruit": 0.2, "bird": 2, "vehicle": 900}
PLACES = {"fruit": ["shop", "garden"], "bird": ["garden", "shop"], "vehicle": ["street", "street"]}


def table(pictures, kinds):
    """Rows of a picture, a weight and a place; every second one of a kind is in its other place."""
    return pd.DataFrame(
        {
            "photo": list(pictures),
            "weight": [WEIGHTS[kind] * (1 + row % 4) for row, kind in enumerate(kinds)],
            "place": [PLACES[kind][row % 2] for row, kind in enumerate(kinds)],
        }
    )


pictures, kinds = load_drawings(KINDS, return_X_y=True)
columns = make_column_transformer(
    (CLIPFeatureTransformer("tiny"), "photo"),
    (StandardScaler(), ["weight"]),
    (OneHotEncoder(), ["place"]),
    sparse_threshold=0,
)
model = make_pipeline(columns, LogisticRegression(C=10, max_iter=1000)).fit(
    table(pictures, kinds), kinds
)
new = load_drawings(["kiwifruit", "peacock", "train", "lemon"])
rows = table(new.data, ["fruit", "bird", "vehicle", "fruit"])
rows["answer"] = model.predict(rows)

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.set(xlim=(0, 6), ylim=(-4.15, 0.6))
ax.set_axis_off()
for x, name in zip((0.2, 1.6, 3, 4.6), rows):
    ax.text(x, 0.1, name, weight="bold", fontsize=13)
for row in range(len(rows)):
    ax.axhline(-row - 0.1, color="0.8", linewidth=1)
    ax.imshow(rows["photo"][row], extent=(0.2, 1.1, -row - 1.05, -row - 0.15), aspect="auto")
    for x, text in ((1.6, f"{rows['weight'][row]:g}"), (3, rows["place"][row])):
        ax.text(x, -row - 0.72, text, fontsize=13)
    ax.text(4.6, -row - 0.72, rows["answer"][row], fontsize=13, weight="bold", color="#0072b2")
