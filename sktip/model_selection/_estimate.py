"""experimental"""
from typing import Any
import numpy as np
from scipy.stats import ks_2samp
from sklearn.base import clone
from sktip.model_selection._cross_fit import cross_fit, splits_of

def parts(classifier, F):
    """classifier: fitted FewShotClassifier on features; F new features"""
    plain = clone(classifier).set_params(priors="uniform", input="features")
    shots = classifier._kept_shots()
    y = classifier.classes_[shots.codes]
    splits = splits_of(plain, shots.features, y, shots.groups)
    m, n = len(y), len(F)
    p = np.zeros((m, len(classifier.classes_)))
    scores = {}
    for i, (model, part) in enumerate(cross_fit(plain, shots.features, y, splits, groups=shots.groups)):
        p[part] = model.predict_proba(shots.features[part])
        for name, f in (("conf", lambda X: model.predict_log_proba(X).max(1)),
                        ("ent", lambda X: (lambda q:(np.exp(q)*q).sum(1))(model.predict_log_proba(X))),
                        ("maxlogit", lambda X: model.decision_function(X).max(1)),
                        ("near", lambda X: (X @ (model.class_means_/np.linalg.norm(model.class_means_,axis=1,keepdims=True)).T).max(1)),
                        ("centre", lambda X: X @ shots.features.mean(0) if False else X @ model.class_means_.mean(0)),
                        ):
            a, b = scores.setdefault(name, (np.zeros(m), []))
            new = np.sort(f(F)); own = f(shots.features[part])
            # mid-rank among the new
            a[part] = (np.searchsorted(new, own) + np.searchsorted(new, own, side="right")) / (2*n)
    q = clone(plain).fit(shots.features, y, X_unlabeled=F)
    return p, y, splits, q, {k: v[0] for k, v in scores.items()}
