"""Which class names CLIP misreads, and which names fit better."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length

from sktip._encoder import as_encoder
from sktip._encoding.session import open_encoder
from sktip._images.inputs import looks_like_images
from sktip._maths.unit import unit_norm
from sktip._utils.bunch import ShortBunch
from sktip._utils.labels import check_labels, codes_of, resolve_classes
from sktip.prompts import GENERAL_TEMPLATES, fill_prompts


def check_class_names(
    encoder: BaseEstimator,
    X: Any,
    y: ArrayLike,
    *,
    class_names: Mapping | Sequence[str] | None = None,
    templates: str | Sequence[str] | Mapping = GENERAL_TEMPLATES,
    candidates: Sequence[str] | Mapping | None = None,
) -> ShortBunch:
    r"""Find class names that CLIP misreads, and choose better ones among candidates.

    A name is misread if the photos of its class are hardly more similar to it than all other photos are:
    "crane" may be the bird or the machine. The worst names come first.

    Read more in the :ref:`User Guide <guide_misread_names>`.

    Parameters
    ----------
    encoder : encoder or str
        A `~sktip.CLIPFeatureTransformer`, another encoder with text, or the name of a CLIP.

    X : sequence of images of length m, or array-like of shape (m, d)
        Labelled photos, or their features. Four per class are enough.

    y : array-like of shape (m,)
        Their labels.

    class_names : mapping, sequence of str or None, default=None
        Names of the classes, as in `~sktip.FewShotClassifier`. If None, the labels.

    templates : str, sequence of str, or mapping, default=GENERAL_TEMPLATES
        Templates of the names, as in `~sktip.FewShotClassifier`.

    candidates : sequence of str, or mapping from label to sequence of str, default=None
        Other names to try: the same for each class, or those of each class. A candidate with ``{}`` is a
        template for the name of the class. Names of other classes are not tried.

    Returns
    -------
    result : Bunch
        Dictionary-like object. Its arrays have an entry per class with photos, worst names first:

        classes : ndarray of shape (C,)
            The labels.
        names : ndarray of shape (C,), object
            Their names.
        fit : ndarray of shape (C,)
            How much more similar to the name the photos of the class are than all other photos, in
            standard deviations of these. Misread names are near 0 or below.
        found : ndarray of shape (C,)
            Share of the photos for which no other name is more similar.
        taken_by : ndarray of shape (C,), object
            Name that is most similar to most of the other photos; None if there are none.
        suggestion : ndarray of shape (C,), object
            Candidate that fits better; None if none does on held-out photos.
        gain : ndarray of shape (C,)
            How much better, measured like `fit` on photos that did not choose the candidate. 0 without
            a suggestion.

    Raises
    ------
    ValueError
        If the encoder has no text, or if labels, photos and names do not match.

    See Also
    --------
    held_out_proba : Find wrong labels. A name seems misread if most of its labels are wrong.
    suggest_shots : Choose which photos to label next.
    forecast_accuracy : Forecast the accuracy with more photos, which correct a name as well.

    Notes
    -----
    To judge the candidates of a class, each of its photos is held out in turn: the others choose the best
    name, and the held-out photo says how much more similar it is to that name than to the present one.
    A candidate is suggested if the mean of these gains exceeds its standard error. It takes two photos.

    Examples
    --------
    >>> from sktip import CLIPFeatureTransformer
    >>> from sktip.datasets import load_digit_images
    >>> from sktip.model_selection import check_class_names
    >>> images, labels = load_digit_images(return_X_y=True)
    >>> names = {label: label for label in set(labels)} | {"six": "motorcycle"}
    >>> result = check_class_names(
    ...     "tiny", images[:60], labels[:60], class_names=names, templates="the digit {}",
    ...     candidates=["six", "bicycle"],
    ... )
    >>> result.classes[0], result.names[0], result.suggestion[0]
    (np.str_('six'), 'motorcycle', 'six')
    """
    encoder = as_encoder(encoder)
    session = open_encoder(encoder)
    labels = check_labels(y)
    check_consistent_length(X, labels)
    known = resolve_classes(np.unique(labels), class_names, needs_names=True)
    keys, names = known.labels.tolist(), list(known.names or ())
    codes = codes_of(labels, known.labels)
    prompts = fill_prompts(names, templates, labels=keys)
    text = session.across_blocks(session.class_features(prompts, keys))
    if looks_like_images(X):
        X = encoder.transform(X)
    rows = unit_norm(check_array(X, dtype=np.float32, input_name="X"))
    if rows.shape[1] != text.shape[1]:
        raise ValueError(
            f"X has {rows.shape[1]} features, but those of {type(encoder).__name__} have {text.shape[1]}; pass "
            "images, or their features from this encoder."
        )
    cosines = rows @ text.T
    nearest = cosines.argmax(axis=1)
    given = _candidates_of(candidates, keys, names, templates)
    # Each prompt is encoded once, also if it is tried for several classes.
    tried = dict.fromkeys(prompt for pairs in given for _, prompt in pairs)
    places = {prompt: i for i, prompt in enumerate(tried)}
    others: Any = None
    if places:
        text = session.across_blocks(session.class_features(list(places), list(places)))
        others = rows @ text.T
    found = []
    for code in np.unique(codes):
        mine = codes == code
        taken = nearest[mine & (nearest != code)]
        scores = _standardised(cosines[:, [code]], mine)
        better, gain = None, 0.0
        if given[code] and mine.sum() > 1:
            tested = others[:, [places[prompt] for _, prompt in given[code]]]
            best, gain = _judge(scores, _standardised(tested, mine))
            better = None if best is None else given[code][best][0]
        name = names[np.bincount(taken).argmax()] if len(taken) else None
        share = (nearest[mine] == code).mean()
        found.append((known.labels[code], names[code], scores.mean(), share, name, better, gain))
    found.sort(key=lambda entry: entry[2])
    columns = [np.array(column, object) for column in zip(*found, strict=True)]
    kinds: list[Any] = [known.labels.dtype, object, float, float, object, object, float]
    keys = ["classes", "names", "fit", "found", "taken_by", "suggestion", "gain"]
    return ShortBunch(
        **{key: column.astype(kind) for key, column, kind in zip(keys, columns, kinds, strict=True)}
    )


def _candidates_of(
    candidates: Any, keys: list, names: list[str], templates: Any
) -> list[list[tuple[str, tuple[str, ...]]]]:
    """For each class, the candidates and their prompts."""
    if isinstance(candidates, str):
        raise ValueError(f"candidates={candidates!r} is one string; pass a list of names.")
    if isinstance(candidates, Mapping):
        if unknown := [key for key in candidates if key not in keys]:
            raise ValueError(f"candidates has the key {unknown[0]!r}, which is no class.")
        per_class = [list(candidates.get(key, ())) for key in keys]
    else:
        per_class = [list(candidates or ())] * len(keys)
    taken = set(names)
    return [
        [
            (one, tuple(fill_prompts([name], one)[0]))
            if "{}" in one
            else (one, tuple(fill_prompts([one], templates, labels=[key])[0]))
            for one in tried
            if one not in taken
        ]
        for key, name, tried in zip(keys, names, per_class, strict=True)
    ]


def _standardised(cosines: NDArray[Any], mine: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cosines of the photos of a class, in standard deviations above those of all others."""
    others = cosines[~mine].astype(np.float64)
    spread = np.maximum(others.std(axis=0), 1e-9)
    return (cosines[mine] - others.mean(axis=0)) / spread


def _judge(scores: NDArray[Any], others: NDArray[Any]) -> tuple[int | None, float]:
    """Choose the best of the names with scores `others`, (n, K), by held-out photos.

    None if they do not prefer it to the present name with `scores`, (n, 1).
    """
    n = len(scores)
    all_scores = np.concatenate([scores, others], axis=1)
    chosen = (all_scores.sum(axis=0) - all_scores).argmax(axis=1)
    gains = all_scores[np.arange(n), chosen] - scores[:, 0]
    best = int(all_scores.sum(axis=0).argmax())
    if best == 0 or gains.mean() <= gains.std(ddof=1) / np.sqrt(n):
        return None, 0.0
    return best - 1, float(gains.mean())
