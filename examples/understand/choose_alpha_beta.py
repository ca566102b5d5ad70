"""
Choosing alpha and beta: grid search and held-out shots
=======================================================

Tip-Adapter has two parameters: alpha, the weight of the cache, and beta, its sharpness. This example
chooses them on the same eight shots per class in two ways. Scikit-learn's
``GridSearchCV`` cross-validates a grid.
``TipAdapterClassifierCV`` holds out shots, and considers every alpha.
"""

# %%
# Shots and test images
# ---------------------

import time

import numpy as np

from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.datasets import load_digit_images
from sktip.model_selection import FewShotSplit

images, labels = load_digit_images(return_X_y=True)
clip = CLIPFeatureTransformer("tiny")
features = clip.transform(images)
shots, test = next(FewShotSplit(8, random_state=0).split(features, labels))
common = {"input": "features", "templates": ["a picture of the number {}", "the digit {}"]}

# %%
# A grid search
# -------------
# With features as input, no image is encoded again in the folds. The class names are encoded once.

from sklearn.model_selection import GridSearchCV, StratifiedKFold

start = time.perf_counter()
search = GridSearchCV(
    TipAdapterClassifier(clip, **common),
    {"alpha": np.geomspace(0.1, 30, 9), "beta": np.geomspace(0.5, 50, 7)},
    scoring="neg_log_loss",
    cv=StratifiedKFold(4, shuffle=True, random_state=0),
).fit(features[shots], labels[shots])
grid_seconds = time.perf_counter() - start

# %%
# Held-out shots
# --------------
# The similarities of the shots are computed once and masked, so nothing is fitted again. The first
# classifier uses the same log-loss as the grid search. The second one uses the default rule, which prefers
# values near the paper's, especially with few shots.

start = time.perf_counter()
by_loss = TipAdapterClassifierCV(clip, scoring="neg_log_loss", **common)
by_loss.fit(features[shots], labels[shots])
loss_seconds = time.perf_counter() - start
start = time.perf_counter()
by_rule = TipAdapterClassifierCV(clip, **common).fit(features[shots], labels[shots])
rule_seconds = time.perf_counter() - start

# %%
# Side by side
# ------------

untuned = TipAdapterClassifier(clip, **common).fit(features[shots], labels[shots])
print("                          alpha   beta   test accuracy    time")
for name, model, (alpha, beta), seconds in [
    ("the paper's values", untuned, (1.0, 5.5), 0.0),
    ("GridSearchCV", search.best_estimator_, search.best_params_.values(), grid_seconds),
    ("held-out, by log-loss", by_loss, (by_loss.alpha_, by_loss.beta_), loss_seconds),
    ("held-out, default rule", by_rule, (by_rule.alpha_, by_rule.beta_), rule_seconds),
]:
    accuracy = 100 * model.score(features[test], labels[test])
    print(f"{name:24} {alpha:6.2f} {beta:6.2f} {accuracy:13.1f} % {seconds:6.2f} s")

# %%
# The scores
# ----------
# The grid search scores a grid of both values:

import matplotlib.pyplot as plt

from sktip.inspection import AlphaBetaDisplay

AlphaBetaDisplay.from_estimator(search)
plt.show()

# %%
# ``TipAdapterClassifierCV`` finds the best alpha for each beta exactly. These points are connected by a line:

AlphaBetaDisplay.from_estimator(by_loss)
plt.show()
