"""Save one of each classifier under one environment, check them under another.

python tests/saved_models.py save FOLDER      under the oldest versions
python tests/saved_models.py check FOLDER     under the newest
"""

import json
import sys
import warnings
from pathlib import Path
from zipfile import ZIP_DEFLATED

import joblib
import numpy as np
from classifiers import CLASSIFIERS, make

from sktip import CLIPFeatureTransformer


def data():
    """Shots and queries, as features with their text, and as images with their names."""
    rng = np.random.RandomState(0)
    y = np.arange(12) % 3
    centres = rng.normal(size=(3, 8))
    X = centres[y] + 0.5 * rng.normal(size=(12, 8))
    images = rng.randint(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    images[y == 1] //= 4
    images[y == 2, :16] //= 8
    return X, centres, images, y


def save(folder, *, joblib_too=True):
    """Fit on features and on images; save the models and their predictions."""
    import skops.io

    folder = Path(folder)
    X, text, images, y = data()
    names = np.array(["grey", "dark", "half"])
    expected = {}
    for name in CLASSIFIERS:
        encoder = CLIPFeatureTransformer("tiny", device="cpu")
        on_features = make(name, text_features=text).fit(X, y)
        on_images = make(name, encoder, templates="{} noise").fit(images, names[y])
        for kind, clf, queries in (("features", on_features, X), ("images", on_images, images)):
            skops.io.dump(clf, folder / f"{name}-{kind}.skops", compression=ZIP_DEFLATED)
            if joblib_too:
                joblib.dump(clf, folder / f"{name}-{kind}.joblib")
            expected[f"{name}-{kind}"] = clf.decision_function(queries)
    np.savez(folder / "expected.npz", **expected)
    made_with = json.dumps(on_images.fitted_with_, indent=2) + "\n"
    (folder / "made_with.json").write_text(made_with, encoding="utf-8")


def check(folder):
    """Load all models; return how many gave the numbers that they gave when they were saved."""
    import skops.io

    X, _, images, _ = data()
    expected = np.load(Path(folder) / "expected.npz")
    count = 0
    for path in sorted(Path(folder).iterdir()):
        with warnings.catch_warnings():
            # Nothing of scikit-learn's is in a file, so its version is no reason to warn.
            warnings.simplefilter("error")
            if path.suffix == ".skops":
                trusted = skops.io.get_untrusted_types(file=path)
                assert all(name.startswith("sktip.") for name in trusted), trusted
                clf = skops.io.load(path, trusted=trusted)
            elif path.suffix == ".joblib":
                clf = joblib.load(path)
            else:
                continue
        queries = X if path.stem.endswith("features") else images
        np.testing.assert_allclose(
            clf.decision_function(queries), expected[path.stem],
            rtol=1e-4, atol=1e-4, err_msg=path.stem,
        )  # fmt: skip
        if hasattr(clf, "explain"):
            why = clf.explain(queries)
            parts = why.text + why.means + why.correction + why.unlabeled
            np.testing.assert_allclose(parts, expected[path.stem], rtol=1e-4, atol=1e-4)
            assert why.shots is None or why.shots.shape[1] == len(why.shot_labels)
        count += 1
    return count


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    if command == "save":
        save(folder)
    else:
        print(f"{check(folder)} models of {folder} give the numbers that they were saved with")
