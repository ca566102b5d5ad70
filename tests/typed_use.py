"""What type checkers, and the completion of an editor, know of estimators: read by mypy, never run.

An error that is expected and not found is an error too (`warn_unused_ignores`).
"""

from typing import assert_type

import sktip


class Own(sktip.TipAdapterClassifier):
    """A subclass stays one."""


def use() -> None:
    X, y = [[1.0], [2.0]], [0, 1]

    assert_type(sktip.ZeroShotClassifier().fit(X, y), sktip.ZeroShotClassifier)
    assert_type(sktip.TipAdapterClassifierCV().fit(X, y), sktip.TipAdapterClassifierCV)
    assert_type(sktip.CLIPAdapterClassifier().fit(X, y), sktip.CLIPAdapterClassifier)
    assert_type(sktip.GDAClassifier().fit(X, y).partial_fit(X, y), sktip.GDAClassifier)
    assert_type(sktip.ProKeRClassifier().fit(X, y), sktip.ProKeRClassifier)
    assert_type(sktip.FewShotClassifier().fit(X, y).partial_fit(X, y), sktip.FewShotClassifier)
    assert_type(Own().fit(X, y).partial_fit(X, y), Own)

    sktip.TipAdapterClassifier(input="pixels")  # type: ignore[arg-type]
    sktip.CLIPFeatureTransformer(on_error="ignore")  # type: ignore[arg-type]
    sktip.CLIPFeatureTransformer(precision="fp8")  # type: ignore[arg-type]
    sktip.TipAdapterClassifier().fit(X, y, weights=[1])  # type: ignore[call-arg]
    sktip.TipAdapterClassifier().partial_fit()  # type: ignore[call-arg]
