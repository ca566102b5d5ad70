"""The methods of the paper's table and related ones, and a function that fits and scores one."""

import time
import warnings

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sktip import (
    CLIPAdapterClassifier,
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifier,
    TipAdapterClassifierCV,
    ZeroShotClassifier,
)

#: Inverse strengths of the linear probe's penalty, for unit-norm features, and the one that is taken
#: where there is one shot per class, so that none can be held out.
PROBE_CS, ONE_SHOT_C = (1, 10, 100, 1000, 10_000), 100


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Logistic regression on features, with C chosen by cross-validation on the shots."""

    def fit(self, X, y):
        probe = LogisticRegression(C=ONE_SHOT_C, max_iter=2000)
        folds = min(4, np.unique(y, return_counts=True)[1].min())
        if folds > 1:
            cv = StratifiedKFold(folds)
            search = GridSearchCV(probe, {"C": PROBE_CS}, cv=cv, scoring="neg_log_loss")
            probe = search.fit(X, y).best_estimator_
        else:
            probe.fit(X, y)
        self.probe_, self.C_, self.classes_ = probe, probe.C, probe.classes_
        return self

    def predict(self, X):
        return self.probe_.predict(X)


def paper_methods(prior, *, n_views=1, n_epochs=20, device=None, seed=0):
    """Classifiers by name. Nothing is chosen on test images.

    `prior` has the parameters of the text prior: `text_features`, or `encoder` and `templates`. With
    several views, methods with the parameter `n_views` get images. Other methods get features, averaged
    over the views of each shot. "Tuned" means that alpha and beta are chosen on held-out shots. Training
    has a fixed schedule, and the last epoch is used.
    """
    on_keys = {"input": "features", **prior}
    on_views = {**on_keys, "input": "image", "n_views": n_views} if n_views > 1 else on_keys
    on_views = {"random_state": seed, **on_views}
    cache = {"n_epochs": n_epochs, "device": device, **on_views}
    return {
        "zero-shot": ZeroShotClassifier(**on_keys),
        "Tip-Adapter": TipAdapterClassifier(alpha=1.0, beta=5.5, **cache),
        "Tip-Adapter, tuned": TipAdapterClassifierCV(**cache),
        "Tip-Adapter-F": TipAdapterClassifier(alpha=1.0, beta=5.5, fine_tune=True, **cache),
        "Tip-Adapter-F, tuned": TipAdapterClassifierCV(fine_tune=True, **cache),
        "CLIP-Adapter": CLIPAdapterClassifier(device=device, **on_views),
        "GDA": GDAClassifier(**on_views),
        "ProKeR": ProKeRClassifier(device=device, **on_keys),
        "FewShotClassifier": FewShotClassifier(**on_keys),
        "linear probe": LinearProbe(),
    }


METHODS = tuple(paper_methods({}))


def fit_and_score(method, shots, labels, queries, query_labels, *, images=None):
    """Fit a classifier on shots; return its accuracy in %, its chosen values, and the seconds.

    `shots` and `queries` are features. `images` are the images of the shots, for methods that take images.
    """
    start = time.perf_counter()
    reads_images = getattr(method, "input", "features") == "image"
    with warnings.catch_warnings():
        # With one shot per class, alpha and beta cannot be tuned, and the paper's values are used.
        warnings.filterwarnings("ignore", message="every class has one shot")
        # scikit-learn warns that a few shots of many classes look like a regression.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        method.fit(images if reads_images else shots, labels)
    if reads_images:
        # Queries have a single view, and were encoded before.
        method.set_params(input="features", n_views=1)
    accuracy = 100 * method.score(queries, query_labels)
    chosen = " ".join(
        f"{name}={getattr(method, name + '_'):.4g}"
        for name in ("alpha", "beta", "lam", "gamma", "C")
        if hasattr(method, name + "_")
    )
    return accuracy, chosen, time.perf_counter() - start


def markdown(rows):
    """Lines of a Markdown table with aligned columns. The first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    return [lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]]
