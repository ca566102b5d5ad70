"""The features of a single query, and the parts of its logits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from sktip._encoding.session import open_encoder
from sktip._explanation import ExplanationMixin
from sktip._images.inputs import as_image_list
from sktip._maths.unit import unit_rows
from sktip._split_encoder import split_encoder, takes_images
from sktip._tip_adapter import BaseCacheClassifier
from sktip._utils.feature_names import with_feature_names
from sktip._utils.fitted_with import check_same_model
from sktip.exceptions import ImageReadError


def says_why(classifier: Any) -> bool:
    """Whether the classifier can explain its predictions."""
    return isinstance(classifier, BaseCacheClassifier | ExplanationMixin)


def evidence(estimator: Any, query: Any) -> dict[str, Any]:
    """Split the logits of a query into parts.

    Parameters
    ----------
    estimator : estimator
        Fitted classifier with a cache or `explain`, or a Pipeline that ends with one.

    query : image, or array-like of shape (d,)
        The query.

    Returns
    -------
    evidence : dict
        Parts of the logits, (C,) each, by their names in `CacheEvidenceDisplay`; None for missing parts.
        ``indices``, ``weights`` and ``labels`` of all shots with a contribution, the largest first.
        ``n_shots``, the number of fitted shots, or None if they are not kept.
    """
    if takes_images(estimator):
        encoder, classifier = split_encoder(estimator)
        session = open_encoder(encoder)
        check_same_model(classifier, session, encoder)
        X = session.features(as_image_list([query]), _fail)
    else:
        classifier, X = estimator, _one_row(query)
    X = with_feature_names(X, classifier)
    if isinstance(classifier, Pipeline):
        X = classifier[:-1].transform(X) if len(classifier) > 1 else X
        classifier = classifier[-1]
    if isinstance(classifier, BaseCacheClassifier):
        return _of_cache(classifier, X)
    return _explained(classifier, X)


def _of_cache(classifier: BaseCacheClassifier, X: Any) -> dict[str, Any]:
    n_shots = len(classifier.cache_keys_)
    indices, votes, labels = (found[0] for found in classifier.nearest_shots(X, n_shots))
    feature, text = unit_rows(np.asarray(X))[0], classifier.text_features_
    codes = classifier.cache_codes_[indices]
    return {
        "prior": None if text is None else classifier.logit_scale_ * text @ feature,
        "cache": np.bincount(codes, votes, minlength=len(classifier.classes_)),
        "indices": indices,
        "weights": votes,
        "labels": labels,
        "n_shots": n_shots,
    }


def _explained(classifier: ExplanationMixin, X: Any) -> dict[str, Any]:
    why = classifier.explain(X)
    found = {
        name: why[key][0] if why[key].any() else None
        for name, key in (
            ("prior", "text"),
            *((n, n) for n in ("means", "correction", "unlabeled")),
        )
    }
    if why.shots is None:
        return {**found, "indices": [], "weights": [], "labels": [], "n_shots": None}
    moved = why.shots[0]
    indices = np.argsort(-moved, kind="stable")
    # Shots of other classes may have no contribution.
    indices = indices[moved[indices] != 0]
    return {
        **found,
        "indices": indices,
        "weights": moved[indices],
        "labels": why.shot_labels[indices],
        "n_shots": len(moved),
    }


def _fail(index: int, error: ImageReadError) -> None:
    raise error


def _one_row(query: Any) -> NDArray:
    row = np.asarray(query)
    if row.ndim != 1:
        raise ValueError(
            f"query has the shape {row.shape}; the estimator takes features, so pass a single row of shape "
            "(d,), such as X[0]."
        )
    return row[np.newaxis]
