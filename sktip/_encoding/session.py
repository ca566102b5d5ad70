"""An encoder that is open for one call: the only way in which the package uses encoders."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from sktip._encoding.loop import Lane, OnFailure, encode
from sktip._encoding.memory import PLAIN, FeatureMemory, FeatureStore, Space
from sktip._encoding.model import Model
from sktip._encoding.transformer import TransformerModel
from sktip._images.files import MAX_PIXELS
from sktip._images.inputs import describe
from sktip._images.rgb import pixels_made_by
from sktip._maths.unit import across_blocks, unit_norm
from sktip._utils.labels import plain
from sktip._utils.messages import progress, warn
from sktip._utils.threads import count_threads
from sktip.exceptions import ImageReadError


def open_encoder(encoder: Any) -> "EncoderSession":
    """Open an encoder for one call, with its models loaded.

    Encoders of sktip have the method ``__sktip_open__()``. Every other transformer is used by its
    ``transform(images)`` and, if it has text, by ``encode_text(prompts)`` and ``logit_scale``.
    """
    if hasattr(encoder, "__sktip_open__"):
        return encoder.__sktip_open__()
    if not hasattr(encoder, "transform") or isinstance(encoder, type):
        raise TypeError(
            f"encoder={encoder!r} is not an encoder: pass CLIPFeatureTransformer(...), or a transformer from "
            "images to features."
        )
    return EncoderSession((Block(TransformerModel(encoder), type(encoder).__name__),))


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
class Block:
    """A model and how one encoder uses it: one block of the features.

    The parameters are those of `sktip.CLIPFeatureTransformer`; the defaults are for a transformer of others.
    """

    model: Model
    model_name: str
    pretrained: str | None = None
    reduced_decoding: bool = True
    batch_size: int = 64
    n_jobs: int | None = 1
    n_views: int = 1
    memory: str | os.PathLike | FeatureMemory | None = None
    on_error: str = "raise"
    max_pixels: int = MAX_PIXELS
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    @property
    def names(self) -> dict[str, Any]:
        """Names of the model, the weights and the precision."""
        names = {"model_name": self.model_name, "pretrained": self.pretrained}
        return {**names, "precision": self.model.precision}

    def encode_prompts(
        self, prompts: Sequence[Sequence[str]], labels: Iterable[Any]
    ) -> NDArray[np.float32]:
        """Unit-norm features of classes, each from its own prompts."""
        cut = {
            label: long
            for label, of_class in zip(map(plain, labels), prompts, strict=True)
            if (long := list(filter(self.model.is_cut_off, of_class)))
        }
        if cut:
            shown = [f"{long[0]!r} (class {label!r})" for label, long in islice(cut.items(), 3)]
            warn(
                f"{sum(map(len, cut.values())):,} of {sum(map(len, prompts)):,} prompts were cut off, of "
                f"{len(cut):,} of {len(prompts):,} classes, since they are longer than the context of "
                f"{self.model_name!r}: {'; '.join(shown)}{'; ...' if len(cut) > 3 else ''}. Shorten class name "
                "or template."
            )
        # The text model computes in 32 bits, and another tokenizer makes other keys.
        store = self._open_memory({"of": "text"}, "fp32")
        with _in_use([store] if store else []):
            return self.model.encode_classes(prompts, store)

    def lane(self, views: tuple[int, Any] | None = None) -> Lane:
        """Open the memory, and return what the loop over images needs.

        `views` are the number and the seed of the views, instead of those of the encoder.
        """
        n_views, random_state = views or (self.n_views, self.random_state)
        if n_views > 1 and self.model.library is None:
            raise ValueError(
                f"n_views={n_views} needs an encoder of sktip; {self.model_name} opens the images itself. Set "
                "n_views=1."
            )
        seed = int(check_random_state(random_state).randint(2**31)) if n_views > 1 else PLAIN
        fresh = n_views > 1 and random_state is None
        store = None if fresh else self._open_memory_of_images()
        return Lane(self.model, n_views, seed, self.batch_size, self.reduced_decoding, store)

    def _open_memory_of_images(self) -> FeatureStore | None:
        if self.memory is None:
            return None
        model: Any = self.model
        made_by = pixels_made_by()
        if self.reduced_decoding:
            made_by |= model.steps.quick_pixels_made_by()
        return self._open_memory({**model.preprocessing, "pixels": made_by}, model.precision)

    def _open_memory(self, made_by: dict[str, Any], precision: str) -> FeatureStore | None:
        if self.memory is None:
            return None
        memory, model = self.memory, self.model
        if not isinstance(memory, FeatureMemory):
            memory = FeatureMemory(memory)
        of: Any = model
        space = Space(
            of.architecture, of.weights_hash, json.dumps(made_by, sort_keys=True), precision
        )
        return FeatureStore(memory, space, model.width)


@contextmanager
def _in_use(stores: Sequence[FeatureStore]) -> Iterator[Callable[[], None]]:
    """Close the stores at the end. Yield a function that warns of each problem once."""
    problems: list[str] = []

    def warn_of_problems() -> None:
        for store in stores:
            if store.problem and store.problem not in problems:
                problems.append(store.problem)
                warn(
                    f"{store.problem}. The features are returned all the same, but not all of them are "
                    "stored."
                )

    try:
        yield warn_of_problems
    finally:
        for store in stores:
            store.close()
    warn_of_problems()


@dataclass(frozen=True)
class EncoderSession:
    """An encoder for the duration of one call: one model, or several side by side.

    Parameters
    ----------
    blocks : tuple of Block
        The models. Each makes one block of the features.

    verbose : int, default=None
        Whether to show a progress bar. None means the `verbose` of the encoders.
    """

    blocks: tuple[Block, ...]
    verbose: int | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """Numbers of features of the blocks."""
        return tuple(block.model.width for block in self.blocks)

    @property
    def width(self) -> int:
        """Number of features."""
        return sum(self.widths)

    @property
    def text_block(self) -> int | None:
        """Index of the block that class names belong to; None if no encoder has text."""
        return next((i for i, block in enumerate(self.blocks) if block.model.has_text), None)

    @property
    def logit_scale(self) -> float:
        """Scale from cosines to logits of the encoder with text; 100 if none has text."""
        return 100.0 if self.text_block is None else self.blocks[self.text_block].model.logit_scale

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
    def _own_models(self) -> list[Any] | None:
        """The models; None if one is a transformer of others."""
        models = [block.model for block in self.blocks]
        return None if any(model.library is None for model in models) else models

    @property
    def probe(self) -> NDArray[np.float32] | None:
        """Unit-norm feature of a fixed picture, (d,), to compare models; None without a model of ours."""
        if all(block.model.library is None for block in self.blocks):
            return None
        probes = [probe for block in self.blocks if (probe := block.model.probe) is not None]
        return unit_norm(np.concatenate(probes)) if len(probes) == len(self.blocks) else None

    @property
    def weights(self) -> dict[str, str] | None:
        """Hash of the weights, and what it depends on; None for transformers of others."""
        models = self._own_models
        if models is None:
            return None
        libraries = {model.library: version(model.library) for model in models}
        hashes = ", ".join(model.weights_hash for model in models)
        return {"hash": hashes, "precision": self.precision, **libraries}

    def warm_up(self) -> None:
        """Run the models once and hash their weights, so that later calls are fast."""
        _ = self.widths, self.weights

    def _single(self) -> Any:
        models = self._own_models
        if models is None or len(models) > 1:
            raise TypeError(
                "only a single CLIPFeatureTransformer or TimmFeatureTransformer can be exported with the classifier; "
                "export the classifier of features: image=False."
            )
        return models[0]

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Size, mean, standard deviation and other settings of the preprocessing."""
        return self._single().preprocessing

    def patches(self, picture: Any) -> NDArray[np.float32]:
        """Un-normalised features of the patches of a square picture, (rows, columns, d)."""
        found = self.blocks[0].model.patches(picture) if len(self.blocks) == 1 else None
        if found is None:
            raise ValueError(
                "only a single vision transformer of open_clip has patches; pass method='windows'."
            )
        return found

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
                f"{names} cannot encode text: it is a model of images only. To learn without class names, set "
                "templates=None."
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
        random_state: int | np.random.RandomState | None = None,
        rows: NDArray | None = None,
        on_failure: OnFailure | None = None,
    ) -> NDArray[np.float32]:
        """Features of the views of images, (n, n_views, d), as `views` yields them, for a classifier.

        Messages number the images by `rows`, their indices in the user's data. An image that cannot be read is
        an error, whatever `on_error` is, unless `on_failure` is called: then it has rows of NaN.
        """

        def raise_numbered(index: int, error: ImageReadError) -> None:
            if rows is None:
                raise error
            raise ImageReadError(describe(images[index], rows[index]), error.reason) from error

        views = self.views(images, n_views, random_state, on_failure or raise_numbered)
        features = self._stacked(views, len(images))
        infinite = np.flatnonzero(np.isinf(features).any(axis=(1, 2)))
        if len(infinite):
            raise ValueError(
                f"the encoder returns infinite features of {describe(images[infinite[0]], infinite[0])} "
                f"({len(infinite)} in all); set its precision='fp32', or check its weights."
            )
        return features

    def readable_features(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Unit-norm features of the unlabelled images that can be read, (n, d); one warning counts the others."""
        errors: list[str] = []
        features = self.view_features(images, on_failure=lambda _, error: errors.append(str(error)))
        if not errors:
            return unit_norm(features[:, 0])
        if len(errors) == len(images):
            raise ImageReadError(
                f"none of the {len(images):,} images can be read", f"the first is {errors[0]}"
            )
        warn(
            f"X_unlabeled: {len(errors):,} of {len(images):,} images cannot be read, and are left out. The first is "
            f"{errors[0]}"
        )
        return unit_norm(features[~np.isnan(features).any(axis=(1, 2)), 0])

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
        random_state: int | np.random.RandomState | None = None,
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
        self, lanes: list[Lane], images: Sequence[Any], on_failure: OnFailure | None
    ) -> Generator[list[NDArray[np.float32]], None, None]:
        """Yield the features of each image's views, by block, with a bar and warnings."""
        blocks = self.blocks
        failures: list[str] = []

        def remember(index: int, error: ImageReadError) -> None:
            failures.append(str(error))

        if on_failure is None and all(block.on_error == "nan" for block in blocks):
            on_failure = remember
        if any(block.model_name == "tiny" for block in blocks) and any(
            map(_is_photograph, images[:1])
        ):
            _say_what_tiny_is_for()
        verbose = self.verbose
        if verbose is None:
            verbose = max(block.verbose for block in blocks)
        ours = [block for block in blocks if block.model.library is not None]
        models: list[Any] = [block.model for block in ours]
        if verbose and (hint := _precision_hint(models)):
            print(hint, file=sys.stderr)
        encoded = encode(
            lanes,
            images,
            n_threads=max(count_threads(block.n_jobs, block.model.device_type) for block in blocks),
            # Transformers of others open the images themselves, but for crops.
            max_pixels=min((block.max_pixels for block in ours), default=MAX_PIXELS),
            on_failure=on_failure,
        )
        with (
            _in_use([lane.store for lane in lanes if lane.store]) as warn_of_problems,
            closing(encoded),
            progress("Encoding", "image", len(images), verbose=verbose) as step,
        ):
            for parts in encoded:
                # Warn immediately, since a long run may store nothing.
                warn_of_problems()
                yield parts
                step()
        if failures:
            warn(
                f"{len(failures)} of {len(images)} images could not be read and are rows of NaN. "
                f"The first is {failures[0]}",
            )


def _precision_hint(models: Iterable[Any]) -> str | None:
    """Say that bf16 would be faster on the device of a model, or return None."""
    from sktip._maths.device import cpu_speed_of_bf16, has_bf16

    devices = (model.device for model in models if model.precision == "fp32")
    device = next((device for device in devices if has_bf16(device)), None)
    if device is None:
        return None
    times = f"about {cpu_speed_of_bf16()} times as fast" if device.type == "cpu" else "faster"
    return f"precision='auto' of the encoder would be {times}: this {device.type.upper()} has bf16 in hardware."
