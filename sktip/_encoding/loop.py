"""From images to the features of their views: in order, and a bounded number at a time."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._encoding.memory import PLAIN, FeatureStore, Key
from sktip._encoding.model import ClipModel
from sktip._images.files import read_bytes
from sktip._images.pictures import describe, to_rgb
from sktip._images.views import content_hash, random_view, view_generator
from sktip.exceptions import ImageReadError

#: Told of an image that cannot be read: its index, and why.
OnFailure = Callable[[int, ImageReadError], None]
#: Features that may wait for one in front of them; beyond, the model runs on less than a batch.
MAX_WAITING = 4096


class _Encoded:
    """The features of one image's views, and the inputs of those that are still to come."""

    def __init__(self, features: NDArray[np.float32], inputs: dict[Key, Any]):
        self.features = features
        self.inputs = inputs
        self.n_missing = len(inputs)

    def fill(self, view: int, feature: NDArray) -> None:
        self.features[view] = feature
        self.n_missing -= 1


@dataclass
class ViewEncoder:
    """Encodes images with one model: the plain view of each, or random ones.

    What the store has is neither decoded nor encoded; what it has not is written there as soon
    as it is encoded.
    """

    clip: ClipModel
    n_views: int
    seed: int
    batch_size: int
    n_threads: int
    max_pixels: int
    store: FeatureStore | None = None
    on_failure: OnFailure | None = None

    def encode(self, images: Sequence[Any]) -> Iterator[NDArray[np.float32]]:
        """Yield the un-normalised features of each image's views, (n_views, d), in order."""
        waiting: deque[_Encoded] = deque()
        # Inputs for the model by key, and the images that want them: equal ones are one.
        inputs: dict[Key, Any] = {}
        wanted: dict[Key, list[_Encoded]] = {}

        def run(n_left: int) -> None:
            while len(inputs) > n_left:
                keys = list(inputs)[: self.batch_size]
                for key, feature in self._run({key: inputs.pop(key) for key in keys}).items():
                    for image in wanted.pop(key):
                        image.fill(key[2], feature)

        ahead = max(1, 2 * self.batch_size // self.n_views)
        for image in _map_ahead(self._prepare, enumerate(images), self.n_threads, ahead):
            waiting.append(image)
            inputs |= image.inputs
            for key in image.inputs:
                wanted.setdefault(key, []).append(image)
            image.inputs = {}
            too_many = len(waiting) * self.n_views >= MAX_WAITING
            run(0 if too_many else self.batch_size - 1)
            while waiting and not waiting[0].n_missing:
                yield waiting.popleft().features
        run(0)
        for image in waiting:
            yield image.features

    def _run(self, inputs: dict[Key, Any]) -> dict[Key, NDArray]:
        """Encode one batch, and write its features down."""
        # Since an input was prepared, an equal image, or another process, may have been first.
        features: dict[Key, NDArray] = {} if self.store is None else self.store.get(inputs)
        left = [key for key in inputs if key not in features]
        if left:
            rows = self.clip.encode_images([inputs[key] for key in left])
            new = dict(zip(left, rows, strict=True))
            if self.store is not None:
                self.store.put(new)
            features |= new
        return features

    def _prepare(self, task: tuple[int, Any]) -> _Encoded:
        """Look up the views of one image, and make the model's inputs of the others."""
        features = np.empty((self.n_views, self.clip.embed_dim), np.float32)
        index, image = task
        try:
            where = describe(image, index)
            content = read_bytes(image, where, self.max_pixels)
            # What is in memory is made a picture first: only that tells what it shows.
            picture = None
            if content is None:
                picture = to_rgb(image, None, where, self.max_pixels)
            if self.store is None and self.seed == PLAIN:
                identity = index.to_bytes(16)
            else:
                identity = content_hash(content, picture)
            keys = [(identity, self.seed, view) for view in range(self.n_views)]
            found = {} if self.store is None else self.store.get(keys)
            for key, feature in found.items():
                features[key[2]] = feature
            missing = [key for key in keys if key not in found]
            if missing and picture is None:
                picture = to_rgb(image, content, where, self.max_pixels)
            return _Encoded(features, {key: self._input(picture, key) for key in missing})
        except ImageReadError as error:
            if self.on_failure is None:
                raise
            self.on_failure(index, error)
            features[:] = np.nan
            return _Encoded(features, {})

    def _input(self, picture: Any, key: Key) -> Any:
        if self.seed == PLAIN:
            return self.clip.to_input(picture)
        identity, seed, view = key
        rng = view_generator(seed, identity, view)
        return self.clip.to_tensor(random_view(picture, self.clip.input_size, rng))


def _map_ahead(function: Callable, tasks: Any, n_threads: int, ahead: int) -> Iterator[Any]:
    """Map in order, threads at most `ahead` results in front of the consumer."""
    if n_threads == 1:
        yield from map(function, tasks)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        pending: deque = deque()
        try:
            for task in tasks:
                pending.append(pool.submit(function, task))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
