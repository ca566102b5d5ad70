"""Shots and queries, from the images of a data set or from a file of features."""

import hashlib
import re
from functools import cached_property
from pathlib import Path

import numpy as np

from sktip import CLIPFeatureTransformer
from sktip.datasets import load_dataset
from sktip.model_selection import FewShotSplit


class ImageData:
    """One of the paper's data sets. Images are encoded when they are needed."""

    def __init__(self, name, arguments):
        self.train = load_dataset(name, arguments.root)
        self.test = load_dataset(name, arguments.root, subset="test")
        self.name, self.n_seeds, self.n_views = self.train.name, arguments.seeds, arguments.views
        self.all_shots = sorted(set(arguments.shots))
        self.clip = CLIPFeatureTransformer(
            arguments.model or "RN50-quickgelu",
            arguments.pretrained,
            device=arguments.device,
            n_jobs=arguments.jobs,
            memory=Path(arguments.out, "features.sqlite"),
            verbose=1,
        )
        self.settings = {
            "model": self.clip.model_name,
            "pretrained": self.clip.pretrained,
            "precision": self.clip.precision,
            "views": self.n_views,
            "templates": list(self.train.templates),
            "train images": len(self.train.data),
            "test images": len(self.test.data),
        }

    @cached_property
    def prior(self):
        text = self.clip.encode_text(self.train.target_names, self.train.templates)
        # Methods read the kept features of images again and again: no bars for that.
        quiet = CLIPFeatureTransformer(**{**self.clip.get_params(), "verbose": 0})
        return {"encoder": quiet, "text_features": text}

    @cached_property
    def queries(self):
        return self.clip.transform(self.test.data), self.test.target

    def has_draw(self, n_shots, seed):
        return True

    def shots(self, n_shots, seed):
        """Features of the shots, averaged over views, with their labels and the paths of the images."""
        chosen = draw_shots(self.train.target, n_shots, seed)
        images = self.train.data[chosen]
        clip = CLIPFeatureTransformer(
            **{**self.clip.get_params(), "n_views": self.n_views, "random_state": seed}
        )
        return clip.transform(images), self.train.target[chosen], images


class FeatureData:
    """Features of one file: shots to draw from, and queries."""

    n_views = 1

    def __init__(self, file, arguments):
        self.name, self.n_seeds = Path(file).stem, arguments.seeds
        with np.load(file, allow_pickle=False) as arrays:
            self.arrays = {
                name: arrays[name]
                for name in arrays.files
                if re.fullmatch(r"text|(support\d+|query)_[xy]", name)
            }
        there = [int(name[7:-2]) for name in self.arrays if re.fullmatch(r"support\d+_x", name)]
        self.n_most = max(there, default=0)
        self.all_shots = sorted(k for k in set(arguments.shots) if k <= self.n_most)
        pairs = ["query", f"support{self.n_most}"]
        missing = {"text", *(f"{p}_{xy}" for p in pairs for xy in "xy")} - self.arrays.keys()
        if missing or not self.all_shots:
            lack = ", ".join(sorted(missing)) or f"shots {arguments.shots}; it has {self.n_most}"
            raise ValueError(f"{file} lacks {lack}.")
        for pair in pairs:
            self._check(file, pair)
        left_out = sorted(set(arguments.shots) - set(self.all_shots))
        if left_out:
            print(f"{file} has no shots {left_out}; they are left out")
        self.prior = {"text_features": self.arrays["text"].astype(np.float32)}
        self.queries = self._pair("query")
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        self.settings = {
            "model": arguments.model or "model not named",
            "sha256 of the file": digest,
        }

    def _check(self, file, pair):
        x, y, text = self.arrays[f"{pair}_x"], self.arrays[f"{pair}_y"], self.arrays["text"]
        if x.ndim != 2 or text.ndim != 2 or x.shape[1] != text.shape[1] or y.shape != x.shape[:1]:
            raise ValueError(
                f"{file}: text, {pair}_x and {pair}_y have the shapes {text.shape}, {x.shape} and "
                f"{y.shape}; they should be (C, d), (n, d) and (n,)."
            )
        if y.dtype.kind not in "iu" or not np.isin(y, np.arange(len(text))).all():
            raise ValueError(f"{file}: {pair}_y holds labels that are not row indices of text.")

    def _pair(self, name):
        return self.arrays[f"{name}_x"].astype(np.float32), self.arrays[f"{name}_y"]

    def has_draw(self, n_shots, seed):
        """Whether the draw exists. All shots of the file can only be drawn once."""
        return seed == 0 or n_shots < self.n_most

    def shots(self, n_shots, seed):
        X, y = self._pair(f"support{self.n_most}")
        rng = np.random.default_rng(seed)
        chosen = np.concatenate(
            [
                rng.choice(np.flatnonzero(y == label), n_shots, replace=False)
                for label in np.unique(y)
            ]
        )
        return X[chosen], y[chosen], None


def draw_shots(labels, n_shots, seed):
    """Draw `n_shots` images per class, or all images of a smaller class, as in Caltech101."""
    has_more = np.bincount(labels)[labels] > n_shots
    chosen, rest = np.flatnonzero(has_more), np.flatnonzero(~has_more)
    if len(chosen):
        split = FewShotSplit(n_shots, n_splits=1, random_state=seed)
        chosen = chosen[next(split.split(chosen, labels[chosen]))[0]]
    return np.concatenate([chosen, rest])
