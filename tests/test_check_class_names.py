"""check_class_names: misread names come first, and better ones are found."""

import numpy as np
import pytest

from sktip.datasets import load_digit_images
from sktip.model_selection import check_class_names


class Words:
    """An encoder whose text is a table, and whose images are features."""

    def __init__(self, table):
        self.table = table

    def transform(self, images):
        return np.zeros((len(images), next(iter(self.table.values())).size), np.float32)

    def encode_text(self, prompts):
        return np.stack([self.table[prompt] for prompt in prompts])


def planted(seed, n_classes=60, n_shots=4, d=48):
    """Names of a tenth of the classes have the text of something else."""
    rng = np.random.default_rng(seed)
    centres, other = rng.normal(size=(2, n_classes, d))
    y = np.repeat(np.arange(n_classes), n_shots)
    X = centres[y] + 0.9 * rng.normal(size=(len(y), d))
    queries = centres[y] + 0.9 * rng.normal(size=(len(y), d))
    text = centres + 0.7 * rng.normal(size=centres.shape)
    table = {f"right {i}": row for i, row in enumerate(text)}
    table |= {f"other {i}": row for i, row in enumerate(other)}
    names = [f"right {i}" for i in range(n_classes)]
    wrong = rng.permutation(n_classes)[: n_classes // 10]
    for i in wrong:
        names[i] = f"other {i}"
    return Words(table), X, y, queries, names, wrong


def test_misread_names_come_first_and_are_replaced():
    hits, accuracy = [], []
    for seed in range(3):
        encoder, X, y, queries, names, wrong = planted(seed)
        result = check_class_names(
            encoder, X, y, class_names=names, templates="{}", candidates=list(encoder.table)
        )
        first = result.classes[: len(wrong)]
        hits.append(np.isin(first, wrong).mean())
        better = dict(zip(result.classes.tolist(), result.suggestion, strict=True))
        ways = [
            [f"right {i}" for i in range(len(names))],
            names,
            [better[i] or name if i in first else name for i, name in enumerate(names)],
        ]
        texts = [encoder.encode_text(way) for way in ways]
        texts = [text / np.linalg.norm(text, axis=1, keepdims=True) for text in texts]
        accuracy.append([((queries @ text.T).argmax(axis=1) == y).mean() for text in texts])
    assert np.mean(hits) >= 0.8
    right, misread, mended = np.mean(accuracy, axis=0)
    assert mended > misread + 0.7 * (right - misread)


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digit_images(return_X_y=True)
    return images[:60], labels[:60]


def test_of_images_and_features(clip, digits):
    images, labels = digits
    names = {label: str(label) for label in labels} | {"six": "motorcycle"}
    kwargs = {
        "class_names": names,
        "templates": "the digit {}",
        "candidates": {"six": ["6", "six"]},
    }
    result = check_class_names(clip, images, labels, **kwargs)
    assert result.names[0] == "motorcycle"
    assert result.suggestion[0] in ("6", "six")
    assert result.gain[0] > 0
    assert not any(result.suggestion[1:])
    assert result.taken_by[0] in names.values()
    assert (np.diff(result.fit) >= 0).all()
    same = check_class_names(clip, clip.transform(images), labels, **kwargs)
    np.testing.assert_allclose(same.fit, result.fit, atol=1e-5)


def test_a_candidate_may_be_a_template(clip, digits):
    images, labels = digits
    result = check_class_names(
        clip, images, labels, templates="a city of {} trees", candidates=["the digit {}", "one"]
    )
    assert set(result.suggestion) <= {None, "the digit {}"}
    assert "the digit {}" in set(result.suggestion)


def test_what_is_refused(clip, digits):
    images, labels = digits
    with pytest.raises(ValueError, match="is one string"):
        check_class_names(clip, images, labels, candidates="six")
    with pytest.raises(ValueError, match="'ten', which is no class"):
        check_class_names(clip, images, labels, candidates={"ten": ["10"]})
    with pytest.raises(ValueError, match="X has 8 features"):
        check_class_names(clip, np.eye(60, 8), labels)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        check_class_names(clip, images[:5], labels)
