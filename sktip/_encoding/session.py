"""An encoder that is open for one call: the only way in which the package uses encoders."""

import inspect
import json
import os
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sktip._encoding.loop import ModelLane, OnFailure, TransformerLane, encode
from sktip._encoding.memory import PLAIN, FeatureMemory, FeatureStore, Space
from sktip._encoding.model import ImageModel, probe_picture
from sktip._encoding.precision import hint
from sktip._encoding.threads import count_threads
from sktip._images.files import MAX_PIXELS
from sktip._images.rgb import pixels_made_by
from sktip._maths.unit import across_blocks, unit_norm
from sktip._utils.labels import plain
from sktip._utils.progress import progress
from sktip._utils.warn import warn
from sktip.exceptions import ImageReadError


def open_encoder(encoder: Any) -> "EncoderSession":
    """Open an encoder for one call, with its models loaded.

    Encoders of sktip have the method ``__sktip_open__()``. Every other transformer is used by its
    ``transform(images)`` and, if it has text, by ``encode_text(prompts)`` and ``logit_scale``.
    """
    if hasattr(encoder, "__sktip_open__"):
        session: EncoderSession = encoder.__sktip_open__()
        return session
    if not hasattr(encoder, "transform") or isinstance(encoder, type):
        raise TypeError(
            f"encoder={encoder!r} is not an encoder: pass CLIPFeatureTransformer(...), or a transformer from "
            "images to features."
        )
    return EncoderSession((TransformerBlock(encoder),))


def _is_photograph(image: Any) -> bool:
    """Whether this is the path of a photo as cameras write them: a large JPEG or HEIC file."""
    if not isinstance(image, str | os.PathLike) or not os.path.isfile(image):
        return False
    suffix = os.path.splitext(os.fsdecode(image))[1].lower()
    return suffix in (".jpg", ".jpeg", ".heic") and os.path.getsize(image) > 100_000


@cache
def _say_what_tiny_is_for() -> None:
    """Warn once per process."""
    warn(
        "the model 'tiny' is for examples and tests, and has seen no photographs: take 'ViT-B-32' or another CLIP "
        "for photos."
    )


@dataclass(frozen=True)
class ModelBlock:
    """A loaded model and its encoder, `ModelEncoder`, for the parameters: one block of the features."""

    model: ImageModel
    encoder: Any

    @property
    def width(self) -> int:
        """Number of features."""
        return self.model.width

    @property
    def probe(self) -> NDArray[np.float32]:
        """Unit-norm feature of a fixed picture."""
        return self.model.probe

    @property
    def has_text(self) -> bool:
        """Whether the model encodes text."""
        return hasattr(self.model, "encode_classes")

    @property
    def logit_scale(self) -> float:
        """The model's own scale from cosines to logits."""
        return float(getattr(self.model, "logit_scale", 100.0))

    @property
    def names(self) -> dict[str, Any]:
        """Names of the model, the weights and the precision."""
        own = {"model_name": self.encoder.model_name, "pretrained": self.encoder.pretrained}
        return {**own, "precision": self.model.precision}

    def encode_prompts(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        """Unit-norm features of classes, each from its own prompts."""
        clip: Any = self.model
        cut = [
            f"{prompt!r} (class {plain(label)!r})"
            for label, own in zip(labels, prompts, strict=True)
            for prompt in own
            if clip.is_cut_off(prompt)
        ]
        if cut:
            warn(
                f"Prompts longer than the context of {self.encoder.model_name!r} were cut off ({len(cut)} in all): "
                f"{'; '.join(cut[:3])}{'; ...' if len(cut) > 3 else ''}. Shorten class name or template.",
            )
        return clip.encode_classes(prompts)

    def lane(self, views: tuple[int, Any] | None = None) -> ModelLane:
        """Open the memory, and return what the loop over images needs.

        `views` are the number and the seed of the views, instead of those of the encoder.
        """
        n_views, random_state = views or (self.encoder.n_views, self.encoder.random_state)
        seed = int(check_random_state(random_state).randint(2**31)) if n_views > 1 else PLAIN
        fresh = n_views > 1 and random_state is None
        store = None if fresh else self._open_memory()
        return ModelLane(
            self.model, n_views, seed, self.encoder.batch_size, self.encoder.reduced_decoding, store
        )

    def _open_memory(self) -> FeatureStore | None:
        if self.encoder.memory is None:
            return None
        memory, model = self.encoder.memory, self.model
        if not isinstance(memory, FeatureMemory):
            memory = FeatureMemory(memory)
        made_by = pixels_made_by()
        if self.encoder.reduced_decoding:
            made_by |= model.steps.quick_pixels_made_by()
        preprocessing = json.dumps({**model.preprocessing, "pixels": made_by}, sort_keys=True)
        space = Space(model.architecture, model.weights_hash, preprocessing, model.precision)
        return FeatureStore(memory, space, self.width)


@dataclass(frozen=True)
class TransformerBlock:
    """A transformer that is not ours: one block of the features."""

    encoder: Any
    model: None = None

    @property
    def width(self) -> int:
        """Number of features."""
        return TransformerLane(self.encoder).width

    @property
    def probe(self) -> NDArray[np.float32] | None:
        """Unit-norm feature of a fixed picture; None if the transformer does not take pictures."""
        (row,) = TransformerLane(self.encoder).run({(b"", 0, 0): probe_picture()}).values()
        return None if isinstance(row, Exception) else unit_norm(row[np.newaxis])[0]

    @property
    def has_text(self) -> bool:
        """Whether the transformer encodes text."""
        return hasattr(self.encoder, "encode_text")

    @property
    def logit_scale(self) -> float:
        """The transformer's own scale from cosines to logits."""
        return float(getattr(self.encoder, "logit_scale", 100.0))

    @property
    def names(self) -> dict[str, Any]:
        """The name of the class; it has no weights of ours."""
        name = type(self.encoder).__name__
        return {"model_name": name, "pretrained": None, "precision": None}

    def encode_prompts(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        """Unit-norm features of classes, each the mean of its prompts' unit features."""
        flat = [prompt for own in prompts for prompt in own]
        encode_text = self.encoder.encode_text
        # As in CLIPFeatureTransformer, whose default template would be filled with prompts.
        fills = "templates" in inspect.signature(encode_text).parameters
        rows = np.asarray(encode_text(flat, templates="{}") if fills else encode_text(flat))
        name = type(self.encoder).__name__
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
        ends = np.cumsum([len(own) for own in prompts])[:-1]
        means = [part.mean(axis=0) for part in np.split(rows, ends)]
        return unit_norm(np.stack(means)).astype(np.float32)

    def lane(self, views: tuple[int, Any] | None = None) -> TransformerLane:
        """Return what the loop over images needs."""
        if views is not None and views[0] > 1:
            raise ValueError(
                f"n_views={views[0]} needs an encoder of sktip; {type(self.encoder).__name__} opens the images "
                "itself. Set n_views=1."
            )
        return TransformerLane(self.encoder)


@dataclass(frozen=True)
class EncoderSession:
    """An encoder for the duration of one call: one model, or several side by side.

    Parameters
    ----------
    blocks : tuple of ModelBlock and TransformerBlock
        The models. Each makes one block of the features.

    verbose : int, default=None
        Whether to show a progress bar. None means the `verbose` of the encoders.
    """

    blocks: tuple[Any, ...]
    verbose: int | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of features of the blocks."""
        return tuple(block.width for block in self.blocks)

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(self.widths)

    @property
    def text_block(self) -> int | None:
        """Index of the block that class names belong to; None if no encoder has text."""
        return next((i for i, block in enumerate(self.blocks) if block.has_text), None)

    @property
    def logit_scale(self) -> float:
        """Scale from cosines to logits of the encoder with text; 100 if none has text."""
        return 100.0 if self.text_block is None else self.blocks[self.text_block].logit_scale

    @property
    def names(self) -> dict[str, Any]:
        """Names of model, weights and precision; lists of them for several encoders."""
        first, *others = (block.names for block in self.blocks)
        if not others:
            return first
        return {key: [first[key], *(other[key] for other in others)] for key in first}

    @property
    def precision(self) -> str:
        """Precision of the image models, with "auto" resolved."""
        return ", ".join(dict.fromkeys(str(block.names["precision"]) for block in self.blocks))

    @property
    def _models(self) -> list[ImageModel] | None:
        models = [block.model for block in self.blocks]
        return None if None in models else models

    @property
    def probe(self) -> NDArray[np.float32] | None:
        """Unit-norm feature of a fixed picture, (d,), to compare models; None without a model of ours."""
        if all(block.model is None for block in self.blocks):
            return None
        probes = [block.probe for block in self.blocks]
        if any(probe is None for probe in probes):
            return None
        return unit_norm(np.concatenate(probes))

    @property
    def weights(self) -> dict[str, str] | None:
        """Hash of the weights, and what it depends on; None for transformers of others."""
        if self._models is None:
            return None
        libraries = {model.library: version(model.library) for model in self._models}
        hashes = ", ".join(model.weights_hash for model in self._models)
        return {"hash": hashes, "precision": self.precision, **libraries}

    def warm_up(self) -> None:
        """Run the models once and hash their weights, so that later calls are fast."""
        _ = self.widths, self.weights

    def _single(self) -> ImageModel:
        if len(self.blocks) > 1 or self.blocks[0].model is None:
            raise TypeError(
                "only a single CLIPFeatureTransformer or TimmFeatureTransformer can be exported with the classifier; "
                "export the classifier of features: image=False."
            )
        return self.blocks[0].model

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, standard deviation and other settings of the preprocessing."""
        return self._single().preprocessing

    def image_tower(self) -> Any:
        """Copy of the image model, a torch module from pixels to features."""
        return self._single().image_tower()

    def class_features(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        """Unit-norm features of classes, (C, widths[text_block]), each from its own prompts.

        One warning lists the prompts that the model cuts off, with the labels of their classes.
        """
        if self.text_block is None:
            names = " and ".join(block.names["model_name"] for block in self.blocks)
            raise ValueError(
                f"{names} cannot encode text: it is a model of images only. To learn without class names, set templates=None."
            )
        return self.blocks[self.text_block].encode_prompts(prompts, labels)

    def across_blocks(self, text: NDArray[Any]) -> NDArray[Any]:
        """Text features with the columns of all blocks, (C, d): zeros in those without text."""
        if len(self.blocks) == 1:
            return text
        return across_blocks(text, self.widths, self.text_block or 0)

    def features(
        self, images: Sequence[Any], on_failure: OnFailure | None = None
    ) -> NDArray[np.float32]:
        """Features of images, (n, d), averaged over `n_views` views; each block has unit norm.

        Images that cannot be read give rows of NaN.
        """
        return self._stacked(self.rows(images, on_failure), len(images))

    def view_features(
        self,
        images: Sequence[Any],
        n_views: int = 1,
        random_state: Any = None,
        on_failure: OnFailure | None = None,
    ) -> NDArray[np.float32]:
        """Features of the views of images, (n, n_views, d), as `views` yields them."""
        return self._stacked(self.views(images, n_views, random_state, on_failure), len(images))

    def _stacked(
        self, items: Generator[NDArray[np.float32], None, None], n: int
    ) -> NDArray[np.float32]:
        # The width of a transformer of others is known from its first features.
        stacked = np.empty((0, self.width if n == 0 else 0), np.float32)
        # Closed even after an error, so that no thread outlives the call.
        with closing(items):
            for index, item in enumerate(items):
                if index == 0:
                    stacked = np.empty((n, *item.shape), np.float32)
                stacked[index] = item
        return stacked

    def rows(
        self, images: Sequence[Any], on_failure: OnFailure | None = None
    ) -> Generator[NDArray[np.float32], None, None]:
        """Yield the rows of `features` one by one, (d,), for any number of images."""
        lanes = [block.lane() for block in self.blocks]
        with closing(self._encode(lanes, images, on_failure)) as encoded:
            for parts in encoded:
                yield np.concatenate([unit_norm(views.mean(axis=0)) for views in parts])

    def views(
        self,
        images: Sequence[Any],
        n_views: int = 1,
        random_state: Any = None,
        on_failure: OnFailure | None = None,
    ) -> Generator[NDArray[np.float32], None, None]:
        """Yield the features of each image's views, (n_views, d), in order.

        Those of a single encoder are not normalised. Of several encoders, each block is scaled so that
        the mean of the views has unit norm.

        Without `on_failure`, images that cannot be read are treated according to `on_error`.
        """
        lanes = [block.lane((n_views, random_state)) for block in self.blocks]
        with closing(self._encode(lanes, images, on_failure)) as encoded:
            for parts in encoded:
                if len(parts) == 1:
                    yield parts[0]
                    continue
                norms = [np.linalg.norm(views.mean(axis=0)) or 1 for views in parts]
                yield np.hstack([views / norm for views, norm in zip(parts, norms, strict=True)])

    def _encode(
        self, lanes: list[Any], images: Sequence[Any], on_failure: OnFailure | None
    ) -> Generator[list[NDArray[np.float32]], None, None]:
        """Yield the features of each image's views, by block, with a bar and warnings."""
        failures: list[str] = []

        def remember(index: int, error: ImageReadError) -> None:
            failures.append(str(error))

        own = [block.encoder for block in self.blocks if block.model is not None]
        if (
            on_failure is None
            and len(own) == len(self.blocks)
            and all(one.on_error == "nan" for one in own)
        ):
            on_failure = remember
        if any(one.model_name == "tiny" for one in own) and any(map(_is_photograph, images[:1])):
            _say_what_tiny_is_for()
        verbose = self.verbose
        if verbose is None:
            verbose = max((one.verbose for one in own), default=0)
        models = [block.model for block in self.blocks if block.model is not None]
        if verbose and (text := hint(one.device for one in models if one.precision == "fp32")):
            print(text, file=sys.stderr)
        stores = [lane.store for lane in lanes if isinstance(lane, ModelLane) and lane.store]
        problems: list[str] = []

        def warn_of_memory() -> None:
            for store in stores:
                if store.problem and store.problem not in problems:
                    problems.append(store.problem)
                    warn(
                        f"{store.problem}. The features are returned all the same, but not all of them are "
                        "stored."
                    )

        n_threads = [
            count_threads(one.n_jobs, model.device.type)
            for one, model in zip(own, models, strict=True)
        ]
        encoded = encode(
            lanes,
            images,
            n_threads=max(n_threads, default=1),
            # Transformers of others open the images themselves, but for crops.
            max_pixels=min((one.max_pixels for one in own), default=MAX_PIXELS),
            on_failure=on_failure,
        )
        try:
            with (
                closing(encoded),
                progress("Encoding", "image", len(images), verbose=verbose) as step,
            ):
                for parts in encoded:
                    # Warn immediately, since a long run may store nothing.
                    warn_of_memory()
                    yield parts
                    step()
        finally:
            for store in stores:
                store.close()
        warn_of_memory()
        if failures:
            warn(
                f"{len(failures)} of {len(images)} images could not be read and are rows of NaN. "
                f"The first is {failures[0]}",
            )
