"""
Your own photos, with ViT-B-32
==============================

A program for a folder that holds a folder of photos for each class, ``photos/golden_retriever/1.jpg``
and so on. It draws shots of each class, scores five classifiers on the other photos, saves the best
one fitted on all photos, and names new ones. It was not run for this page, since it needs photos and
downloads the weights of ViT-B-32 (600 MB) at the first use::

    python own_photos.py photos --shots 8 --new new_1.jpg new_2.jpg

The features are kept in ``features.sqlite``, so that a second run encodes new photos only.
"""

# sphinx_gallery_thumbnail_path = "images/strip-light.png"

# %%
# The program
# -----------

import argparse

import joblib
import numpy as np
from sklearn.model_selection import cross_val_score

from sktip import (
    CLIPFeatureTransformer,
    FewShotClassifier,
    GDAClassifier,
    ProKeRClassifier,
    TipAdapterClassifierCV,
    ZeroShotClassifier,
)
from sktip.datasets import load_image_folder
from sktip.model_selection import FewShotSplit


def main(argv=None):
    args = parse_arguments(argv)
    photos = load_image_folder(args.folder)
    print(photos.DESCR)
    clip = CLIPFeatureTransformer(args.model, n_jobs=2, memory=args.memory, verbose=1)
    features = clip.transform(photos.data)

    common = {"input": "features", "templates": args.template}
    methods = {
        "FewShotClassifier": FewShotClassifier(clip, **common),
        "zero-shot": ZeroShotClassifier(clip, **common),
        "Tip-Adapter, tuned": TipAdapterClassifierCV(clip, **common),
        "GDA": GDAClassifier(clip, **common),
        "ProKeR": ProKeRClassifier(clip, **common),
    }
    draws = FewShotSplit(args.shots, n_splits=3, random_state=0)
    scores = {
        name: cross_val_score(method, features, photos.target, cv=draws)
        for name, method in methods.items()
    }
    print(f"\nAccuracy in % with {args.shots} shots per class, over 3 draws")
    for name, values in scores.items():
        print(f"{name:20} {100 * values.mean():5.1f} ± {100 * values.std():.1f}")

    best = max(scores, key=lambda name: scores[name].mean())
    # With image input from here on: what is saved classifies photos.
    clf = methods[best].set_params(input="image").fit(photos.data, photos.target)
    joblib.dump(clf, args.output)
    print(f"\n{best}, fitted on all photos, is in {args.output}")

    if args.new:
        probabilities = clf.predict_proba(args.new)
        for path, row in zip(args.new, probabilities):
            likeliest = np.argsort(row)[::-1][:3]
            print(path, ", ".join(f"{clf.classes_[c]} {100 * row[c]:.0f} %" for c in likeliest))


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description="Few-shot classification of your own photos.")
    parser.add_argument("folder", help="folder that holds a folder of photos for each class")
    parser.add_argument("--new", nargs="*", default=[], help="new photos to name")
    parser.add_argument("--shots", type=int, default=8, help="shots per class when scoring")
    parser.add_argument("--template", default="a photo of a {}.", help="what names are put into")
    parser.add_argument("--model", default="ViT-B-32", help="model of open_clip, or tiny")
    parser.add_argument("--memory", default="features.sqlite", help="file of features")
    parser.add_argument("--output", default="classifier.joblib", help="where the best one goes")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
