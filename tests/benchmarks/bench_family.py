"""The time of the other classifiers compared with plain implementations."""

import numpy as np
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn
from torch.nn import functional

from sktip import CLIPAdapterClassifier, GDAClassifier


def bench_discriminant_analysis(problem, compare, report):
    data = problem(n=1, n_classes=200)
    numbered = GDAClassifier(text_features=data.text, alpha=1.0)
    auto = GDAClassifier(text_features=data.text)
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)
    plain_times = compare(
        lambda: numbered.fit(data.keys, data.y),
        lambda: lda.fit(data.keys, data.y),
        lambda: auto.fit(data.keys, data.y),
        rounds=5,
    )
    ours, plain, chosen = plain_times
    what = "fit of GDAClassifier, m = 3,200, 200 classes"
    report(what, "LinearDiscriminantAnalysis", f"{plain / ours:.1f}x faster")
    report(f"{what}, alpha chosen", "alpha given", f"{chosen / ours:.1f}x")


def bench_adapter(problem, compare, report):
    data = problem(n=1, n_classes=100)
    model = CLIPAdapterClassifier(text_features=data.text, n_epochs=5, random_state=0)
    layers = nn.Sequential(
        nn.Linear(512, 128, bias=False), nn.ReLU(), nn.Linear(128, 512, bias=False), nn.ReLU()
    )
    X, W = torch.as_tensor(data.keys), torch.as_tensor(data.text)
    y = torch.as_tensor(data.y)

    def train_plainly():
        optimizer = torch.optim.SGD(layers.parameters(), lr=2e-3, momentum=0.9, weight_decay=5e-4)
        for _ in range(5):
            for rows in torch.randperm(len(X)).split(32):
                mixed = 0.2 * layers(X[rows]) + 0.8 * X[rows]
                logits = 100 * functional.normalize(mixed, dim=1) @ W.T
                loss = functional.cross_entropy(logits, y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    ours, plain = compare(lambda: model.fit(data.keys, data.y), train_plainly, rounds=4)
    report(
        "an epoch of CLIPAdapterClassifier, m = 1,600, 100 classes",
        "a plain torch loop",
        f"{ours / plain:.2f}x",
    )
    assert np.isfinite(model.loss_curve_).all()
