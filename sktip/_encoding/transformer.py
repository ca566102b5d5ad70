"""Transformers of others as models: from images or prompts to features, by scikit-learn's methods."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.exceptions import NotFittedError

from sktip._encoding.memory import FeatureStore, Key
from sktip._encoding.model import Model, probe_picture
from sktip._images.inputs import describe
from sktip._maths.unit import unit_norm
from sktip.exceptions import ImageReadError


class TransformerModel(Model):
    """A transformer that is not ours. It gets the images as they are, and opens them itself."""

    precision = None

    def __init__(self, transformer: Any):
        self.transformer = transformer
        self.has_text = hasattr(transformer, "encode_text")
        self._width: int | None = None

    @property
    def logit_scale(self) -> float:
        return float(getattr(self.transformer, "logit_scale", super().logit_scale))

    @property
    def width(self) -> int:
        """Number of features; before the first images, from those of a black picture."""
        if self._width is None:
            try:
                self._rows([Image.new("RGB", (64, 64))])
            except Exception as error:
                raise ValueError(
                    f"the number of features of {type(self.transformer).__name__} is not known, since it does not "
                    "take PIL images; let its transform take them too."
                ) from error
        return self._width or 0

    @property
    def probe(self) -> NDArray[np.float32] | None:
        """Unit-norm feature of a fixed picture; None if the transformer does not take pictures."""
        (row,) = self.encode({(b"", 0, 0): probe_picture()}).values()
        return None if isinstance(row, Exception) else unit_norm(row[np.newaxis])[0]

    def encode(self, inputs: Mapping[Key, Any]) -> dict[Key, Any]:
        """Encode one batch; if it fails, one by one, so that the image that failed is known."""
        images = list(inputs.values())
        try:
            rows = self._rows(images)
        except (MemoryError, NotFittedError):
            raise
        except Exception as error:
            if len(images) > 1:
                pairs = (self.encode({key: image}) for key, image in inputs.items())
                return {key: row for pair in pairs for key, row in pair.items()}
            ((key, image),) = inputs.items()
            failed = ImageReadError(
                describe(image, key[1]),
                f"{type(self.transformer).__name__} failed "
                f"({type(error).__name__}: {str(error)[:200]}).",
            )
            failed.__cause__ = error
            return {key: failed}
        return dict(zip(inputs, rows, strict=True))

    def _rows(self, images: list[Any]) -> NDArray[np.float32]:
        rows = np.asarray(self.transformer.transform(images), np.float32)
        if rows.ndim != 2 or len(rows) != len(images):
            raise ValueError(
                f"transform returned the shape {rows.shape} for {len(images)} images; it must return (n, d)"
            )
        self._width = rows.shape[1]
        return rows

    def encode_classes(
        self, prompts: Sequence[Sequence[str]], store: FeatureStore | None = None
    ) -> NDArray[np.float32]:
        flat = [prompt for of_class in prompts for prompt in of_class]
        encode_text = self.transformer.encode_text
        # As in CLIPFeatureTransformer, whose default template would be filled with prompts.
        fills = "templates" in inspect.signature(encode_text).parameters
        rows = np.asarray(encode_text(flat, templates="{}") if fills else encode_text(flat))
        name = type(self.transformer).__name__
        if rows.ndim != 2 or len(rows) != len(flat):
            raise ValueError(
                f"encode_text of {name} returned the shape {rows.shape} for {len(flat)} prompts; it must return one "
                "row for each, (n, d)."
            )
        broken = np.flatnonzero(~(np.isfinite(rows).all(axis=1) & rows.any(axis=1)))
        if len(broken):
            raise ValueError(
                f"encode_text of {name} returned zeros, NaN or infinity for {flat[broken[0]]!r} ({len(broken)} "
                "prompts in all)."
            )
        rows = unit_norm(rows)
        ends = np.cumsum([len(of_class) for of_class in prompts])[:-1]
        means = [part.mean(axis=0) for part in np.split(rows, ends)]
        return unit_norm(np.stack(means)).astype(np.float32)
