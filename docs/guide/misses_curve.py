"""Draw rings, and the misses and false alarms of three ways to choose a threshold."""

import matplotlib.pyplot as plt
import numpy as np
from rings import draw_rings
from sklearn.metrics import make_scorer
from sklearn.model_selection import TunedThresholdClassifierCV

from sktip import CLIPFeatureTransformer, FewShotClassifier
from sktip.model_selection import held_out_proba

parts, y = draw_rings(n_defects=40, n_ok=160, seed=0)
new, truth = draw_rings(n_defects=100, n_ok=900, seed=1)
clip = CLIPFeatureTransformer("tiny")
F, new_F = clip.transform(parts), clip.transform(new)
clf = FewShotClassifier(templates=None, priors=[0.1, 0.9]).fit(F, y)
p = clf.predict_proba(new_F)[:, 0]


def gain(y, answer):
    return -(
        10 * ((y == "defect") & (answer == "ok")).sum() + ((y == "ok") & (answer == "defect")).sum()
    ) / len(y)


tuned = TunedThresholdClassifierCV(clf, scoring=make_scorer(gain), cv=10, random_state=0).fit(F, y)
of_defects = np.sort(held_out_proba(clf, F, y)[y == "defect", 0])
chosen = {
    "most probable": 0.5,
    "cost 10 to 1": 1 / 11,
    "cost, tuned": 1 - tuned.best_threshold_,
    "at most 1 in 10 missed": of_defects[int(0.1 * (len(of_defects) + 1)) - 1],
}
figure, axes = plt.subplot_mosaic(
    [["a", "curve"], ["b", "curve"]], figsize=(8, 3.6), width_ratios=[1, 1.5], layout="constrained"
)
for key, name in (("a", "ok"), ("b", "defect")):
    some = [part for part, label in zip(parts, y) if label == name][:4]
    axes[key].imshow(np.hstack(some))
    axes[key].set(xticks=[], yticks=[], title=name)
ax = axes["curve"]
thresholds = np.unique(p)
misses = [(p[truth == "defect"] < t).mean() for t in thresholds]
alarms = [(p[truth == "ok"] >= t).mean() for t in thresholds]
ax.plot(100 * np.array(alarms), 100 * np.array(misses), color="#0072b2")
for name, threshold in chosen.items():
    m, a = (
        100 * (p[truth == "defect"] < threshold).mean(),
        100 * (p[truth == "ok"] >= threshold).mean(),
    )
    print(f"{name}: threshold {threshold:.3f}, misses {m:.0f} %, false alarms {a:.1f} %")
    ax.plot(a, m, "o", color="#d55e00")
    ax.annotate(name, (a, m), (8, 4), textcoords="offset points")
ax.set(xlabel="false alarms (% of ok)", ylabel="misses (% of defects)", xlim=(0, 30), ylim=(0, 30))
