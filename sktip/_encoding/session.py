"""An encoder that is open for one call: the only way in which the package uses CLIP models."""

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sktip._encoding.clip import ClipModel
from sktip._encoding.loop import OnFailure, ViewEncoder
from sktip._encoding.memory import PLAIN, FeatureMemory, FeatureStore, Space
from sktip._encoding.precision import has_bf16
from sktip._encoding.threads import count_threads
from sktip._images.rgb import pixels_made_by
from sktip._maths.unit import unit_norm
from sktip._utils.labels import plain
from sktip._utils.progress import progress
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError

FASTER = "precision='auto' of the encoder would be faster: this device has bf16 in hardware."


def open_encoder(encoder: Any) -> "EncoderSession":
    """Open an encoder for one call, with its model loaded.

    An encoder is an object with the method ``__sktip_open__()``.
    """
    session: EncoderSession = encoder.__sktip_open__()
    return session


@dataclass(frozen=True)
class EncoderSession:
    """A loaded CLIP model and the parameters of its encoder, for the duration of one call.

    Parameters other than `clip` are those of `CLIPFeatureTransformer`.

    Parameters
    ----------
    clip : ClipModel
        The model.
    """

    clip: ClipModel
    model_name: str
    reduced_decoding: bool
    batch_size: int
    n_jobs: int | None
    n_views: int
    memory: Any
    on_error: str
    max_pixels: int
    random_state: Any
    verbose: int

    @property
    def width(self) -> int:
        """Number of features."""
        return self.clip.embed_dim

    @property
    def logit_scale(self) -> float:
        """The model's own scale from cosines to logits."""
        return self.clip.logit_scale

    @property
    def precision(self) -> str:
        """Precision of the image model, with "auto" resolved."""
        return self.clip.precision

    @property
    def probe(self) -> NDArray[np.float32]:
        """Unit-norm feature of a fixed picture, (d,), to compare models."""
        return self.clip.probe

    @property
    def weights(self) -> dict[str, str]:
        """Hash of the weights, and the settings that it depends on."""
        return {
            "hash": self.clip.weights_hash,
            "precision": self.precision,
            "open_clip_torch": version("open_clip_torch"),
        }

    def warm_up(self) -> None:
        """Run the model once and hash its weights, so that later calls are fast."""
        _ = self.width, self.probe, self.weights

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, standard deviation and other settings of the preprocessing."""
        return dict(self.clip.preprocessing)

    def image_tower(self) -> Any:
        """Copy of the image model, a torch module from pixels to features."""
        return self.clip.image_tower()

    def class_features(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        """Unit-norm features of classes, (C, d), each from its own prompts.

        One warning lists the prompts that the model cuts off, with the labels of their classes.
        """
        cut = [
            f"{prompt!r} (class {plain(label)!r})"
            for label, own in zip(labels, prompts, strict=True)
            for prompt in own
            if self.clip.is_cut_off(prompt)
        ]
        if cut:
            warn(
                f"Prompts longer than the context of {self.model_name!r} were cut off ({len(cut)} in all): "
                f"{'; '.join(cut[:3])}{'; ...' if len(cut) > 3 else ''}. Shorten class name or template.",
            )
        return self.clip.encode_classes(prompts)

    def features(
        self, images: Sequence[Any], on_failure: OnFailure | None = None
    ) -> NDArray[np.float32]:
        """Unit-norm features of images, (n, d), averaged over `n_views` views.

        Images that cannot be read give rows of NaN.
        """
        features = np.empty((len(images), self.width), np.float32)
        with closing(self.rows(images, on_failure)) as rows:
            for index, row in enumerate(rows):
                features[index] = row
        return features

    def rows(
        self, images: Sequence[Any], on_failure: OnFailure | None = None
    ) -> Generator[NDArray[np.float32], None, None]:
        """Yield the rows of `features` one by one, (d,), for any number of images."""
        # Closed even after an error, so that no thread outlives the call.
        with closing(self.views(images, self.n_views, self.random_state, on_failure)) as encoded:
            for views in encoded:
                yield unit_norm(views.mean(axis=0))

    def views(
        self,
        images: Sequence[Any],
        n_views: int = 1,
        random_state: Any = None,
        on_failure: OnFailure | None = None,
    ) -> Generator[NDArray[np.float32], None, None]:
        """Yield the un-normalised features of each image's views, (n_views, d), in order.

        Without `on_failure`, images that cannot be read are treated according to `on_error`.
        """
        seed = int(check_random_state(random_state).randint(2**31)) if n_views > 1 else PLAIN
        fresh = n_views > 1 and random_state is None
        store = None if fresh else self._open_memory()
        failures: list[str] = []

        def remember(index: int, error: ImageReadError) -> None:
            failures.append(str(error))

        if on_failure is None and self.on_error == "nan":
            on_failure = remember
        encoder = ViewEncoder(
            self.clip,
            n_views=n_views,
            seed=seed,
            batch_size=self.batch_size,
            n_threads=count_threads(self.n_jobs, self.clip.device),
            max_pixels=self.max_pixels,
            reduced_decoding=self.reduced_decoding,
            store=store,
            on_failure=on_failure,
        )
        if self.verbose and len(images) and self.precision == "fp32" and has_bf16(self.clip.device):
            print(FASTER, file=sys.stderr)
        warned = False

        def warn_of_memory() -> None:
            nonlocal warned
            if store is not None and store.problem and not warned:
                warned = True
                warn(
                    f"{store.problem}. The features are returned all the same, but not all of "
                    "them are stored.",
                )

        try:
            with (
                closing(encoder.encode(images)) as encoded,
                progress("Encoding", "image", len(images), verbose=self.verbose) as step,
            ):
                for views in encoded:
                    # Warn immediately, since a long run may store nothing.
                    warn_of_memory()
                    yield views
                    step()
        finally:
            if store is not None:
                store.close()
        warn_of_memory()
        if failures:
            warn(
                f"{len(failures)} of {len(images)} images could not be read and are rows of NaN. "
                f"The first is {failures[0]}",
            )

    def _open_memory(self) -> FeatureStore | None:
        if self.memory is None:
            return None
        memory = self.memory
        if not isinstance(memory, FeatureMemory):
            memory = FeatureMemory(memory)
        clip = self.clip
        made_by = pixels_made_by()
        if self.reduced_decoding:
            made_by |= clip.steps.quick_pixels_made_by()
        preprocessing = json.dumps({**clip.preprocessing, "pixels": made_by}, sort_keys=True)
        space = Space(clip.architecture, clip.weights_hash, preprocessing, self.precision)
        return FeatureStore(memory, space, self.width)
