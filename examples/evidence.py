"""Show why a digit was read as it was: the shots that voted, beside what the text says.

    python examples/evidence.py

Of the test images that the class names alone get wrong and the cache puts right, it takes the one
that the shots moved most, and draws the evidence of its prediction, ``evidence.png``.
"""

import numpy as np

from quickstart import N_POOL, TEMPLATES, load_images
from sktip import CLIPFeatureTransformer, TipAdapterClassifier, TipAdapterClassifierCV
from sktip.inspection import CacheEvidenceDisplay
from sktip.model_selection import FewShotSplit


def main():
    images, labels = load_images()
    clip = CLIPFeatureTransformer("tiny")
    features = clip.fit_transform(list(images))
    pool, test = np.arange(N_POOL), np.arange(N_POOL, len(labels))
    shots, _ = next(FewShotSplit(16, random_state=0).split(pool, labels[pool]))

    common = {"input": "features", "templates": TEMPLATES}
    clf = TipAdapterClassifierCV(clip, **common).fit(features[shots], labels[shots])
    zero_shot = TipAdapterClassifier(clip, alpha=0.0, **common)
    zero_shot.fit(features[shots], labels[shots])
    put_right = (clf.predict(features[test]) == labels[test]) & (
        zero_shot.predict(features[test]) != labels[test]
    )
    print(f"{put_right.sum()} of {len(test)} test images are put right by the shots")

    own = np.searchsorted(clf.classes_, labels[test])[:, np.newaxis]
    before, after = (
        np.take_along_axis(model.predict_proba(features[test]), own, axis=1)[:, 0]
        for model in (zero_shot, clf)
    )
    query = test[np.where(put_right, after - before, -1).argmax()]
    display = CacheEvidenceDisplay.from_estimator(
        clf, features[query], query_image=images[query], shots=images[shots]
    )
    display.figure_.savefig("evidence.png", dpi=150)
    print(f"wrote evidence.png: a {labels[query]}")


if __name__ == "__main__":
    main()
