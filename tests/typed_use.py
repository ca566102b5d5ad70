"""What type checkers, and the completion of an editor, know of the package: read by mypy, never run.

It uses the package as a user does, and mypy is strict with it. An error that is expected and not found is an
error too (`warn_unused_ignores`).
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import sktip
from sktip.datasets import load_image_folder
from sktip.export import to_onnx
from sktip.inspection import AlphaBetaDisplay, ForecastDisplay
from sktip.model_selection import FewShotSplit, held_out_proba, suggest_shots
from sktip.prompts import fill_prompts
from sktip.utils import split_encoder


class Own(sktip.TipAdapterClassifier):
    """A subclass stays one."""


class Method(sktip.base.BaseFewShotClassifier):
    """A method of one's own."""

    def learn(
        self, features: NDArray[Any], codes: NDArray[np.intp], text: Any, logit_scale: float
    ) -> dict[str, NDArray[Any]]:
        return {"coef": features[codes] * logit_scale}

    @staticmethod
    def logits(features: Any, **learned: Any) -> Any:
        return features @ learned["coef"].T


def fits() -> None:
    X, y = [[1.0], [2.0]], [0, 1]

    assert_type(sktip.ZeroShotClassifier().fit(X, y), sktip.ZeroShotClassifier)
    assert_type(sktip.TipAdapterClassifierCV().fit(X, y), sktip.TipAdapterClassifierCV)
    assert_type(sktip.CLIPAdapterClassifier().fit(X, y), sktip.CLIPAdapterClassifier)
    assert_type(sktip.GDAClassifier().fit(X, y).partial_fit(X, y), sktip.GDAClassifier)
    assert_type(sktip.ProKeRClassifier().fit(X, y), sktip.ProKeRClassifier)
    assert_type(sktip.FewShotClassifier().fit(X, y).partial_fit(X, y), sktip.FewShotClassifier)
    assert_type(Own().fit(X, y).partial_fit(X, y), Own)
    assert_type(Method().fit(X, y), Method)
    assert_type(sktip.FewShotTagger().fit(X, [[0], [1]]), sktip.FewShotTagger)
    assert_type(sktip.RejectUnknown(Own()).fit(X, y), sktip.RejectUnknown)


def photos() -> None:
    paths, labels = load_image_folder("photos", return_X_y=True)
    clip = sktip.CLIPFeatureTransformer("tiny", device="cpu", memory="features.sqlite")
    assert_type(clip.transform(paths), NDArray[np.float32])
    assert_type(clip.encode_text(["cat", "dog"]), NDArray[np.float32])
    clf = sktip.FewShotClassifier(
        clip, class_names={"n01": "cat"}, templates=["a {}"], priors="unlabeled"
    )
    clf.fit(paths, labels, sample_weight=[1.0], X_unlabeled="more", groups=["a"])
    assert_type(clf.predict(paths), NDArray[Any])
    assert_type(clf.predict_proba(paths), NDArray[Any])
    assert_type(clf.decision_function(paths), NDArray[Any])
    assert_type(held_out_proba(clf, paths, labels), NDArray[np.float64])
    encoder, classifier = split_encoder(clf)
    answers = sktip.predict_images(clf, "new", "answers.csv", verbose=0)
    to_onnx(clf, "model.onnx", image=False)
    print(clf.explain(paths).text, answers.prediction, encoder, classifier, suggest_shots(paths, 5))
    print(list(FewShotSplit(n_shots=4).split(paths, labels)), fill_prompts(["cat"], "a {}"))
    tip = sktip.TipAdapterClassifierCV(clip).fit(paths, labels)
    AlphaBetaDisplay.from_estimator(tip).plot()
    print(ForecastDisplay, tip.nearest_shots(paths, n=3))


def mistakes() -> None:
    X, y = [[1.0], [2.0]], [0, 1]
    sktip.TipAdapterClassifier(input="pixels")  # type: ignore[arg-type]
    sktip.FewShotClassifier(input="pixels")  # type: ignore[arg-type]
    sktip.CLIPFeatureTransformer(on_error="ignore")  # type: ignore[arg-type]
    sktip.CLIPFeatureTransformer(precision="fp8")  # type: ignore[arg-type]
    sktip.TipAdapterClassifier().fit(X, y, weights=[1])  # type: ignore[call-arg]
    sktip.TipAdapterClassifier().partial_fit()  # type: ignore[call-arg]
    sktip.GDAClassifier(alpha="best")  # type: ignore[arg-type]
    sktip.FewShotClassifier(class_weight="equal")  # type: ignore[arg-type]
