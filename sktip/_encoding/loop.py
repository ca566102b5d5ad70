"""From images to the features of their views: in order, and a bounded number at a time."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._encoding.clip import ClipModel
from sktip._encoding.memory import PLAIN, FeatureStore, Key
from sktip._encoding.preprocessing import contrast, to_pixels
from sktip._encoding.threads import workers
from sktip._images.files import is_jpeg, read_bytes
from sktip._images.pictures import describe, to_rgb
from sktip._images.views import SMALLEST_CROP, content_hash, random_view, view_generator
from sktip.exceptions import ImageReadError

#: Told of an image that cannot be read: its index, and why.
OnFailure = Callable[[int, ImageReadError], None]
#: Features that may wait for one in front of them; beyond, the model runs on less than a batch.
MAX_WAITING = 4096
#: Inputs that one CPU is given at once: more are hardly faster, and an interrupt waits for them.
PIECE = 8
#: Of fewer, each takes a tenth longer, and one alone half as long again.
MIN_PIECE = 4
#: Pixels on the short side of a reduced JPEG, or of the smallest crop of it: for each of the model's
#: input, and at least.
OVERSAMPLING = 3
MIN_SIDE = 512
#: Standard deviation, of 255, of an input that may come from a reduced JPEG. What the reduction changes
#: is a level or so: much beside a page of small print, which is nearly one grey to the model.
MIN_CONTRAST = 20


@dataclass
class _Encoded:
    """The features of one image's views, and the inputs of those that are still to come."""

    features: NDArray[np.float32]
    inputs: dict[Key, Any] = field(default_factory=dict)
    error: ImageReadError | None = None
    n_missing: int = 0

    def fill(self, view: int, feature: NDArray) -> None:
        self.features[view] = feature
        self.n_missing -= 1


@dataclass
class ViewEncoder:
    """Encodes images with one model: the plain view of each, or random ones.

    What the store has is neither decoded nor encoded; what it has not is written there as soon
    as it is encoded. Images are prepared by `n_threads`. On the CPU the same threads run the model,
    each on a few inputs of its own: so all of them are busy to the end, whether images or the model take
    the time, and none waits for another within a product of matrices.
    """

    clip: ClipModel
    n_views: int
    seed: int
    batch_size: int
    n_threads: int
    max_pixels: int
    reduced_decoding: bool = True
    store: FeatureStore | None = None
    on_failure: OnFailure | None = None

    def encode(self, images: Sequence[Any]) -> Generator[NDArray[np.float32], None, None]:
        """Yield the un-normalised features of each image's views, (n_views, d), in order.

        An image that cannot be read is an error, or for `on_failure`, in its place: all before it are
        encoded by then.
        """
        n_threads = max(1, min(self.n_threads, len(images)))
        with workers(n_threads) as pool:
            run = _Run(self, pool, len(images), is_shared=self._is_shared(len(images)))
            ahead = 0 if n_threads == 1 else n_threads + run.most // self.n_views
            for index, image in enumerate(_map_ahead(pool, self._prepare, images, ahead)):
                if image.error is not None:
                    if self.on_failure is None:
                        yield from run.rest()
                        raise image.error
                    self.on_failure(index, image.error)
                yield from run.add(image)
            yield from run.rest()

    def _is_shared(self, n_images: int) -> bool:
        """Whether there are enough inputs for the threads to run the model on some each."""
        enough = MIN_PIECE * self.n_threads
        return 1 < self.n_threads <= n_images and n_images * self.n_views >= enough

    def run(self, inputs: dict[Key, Any]) -> dict[Key, NDArray]:
        """Encode one batch, and write its features down."""
        # Since an input was prepared, another process may have been first.
        features: dict[Key, NDArray] = {} if self.store is None else self.store.get(inputs)
        left = [key for key in inputs if key not in features]
        if left:
            rows = self.clip.encode_images([inputs[key] for key in left])
            new = dict(zip(left, rows, strict=True))
            if self.store is not None:
                self.store.put(new)
            features |= new
        return features

    def _prepare(self, index: int, image: Any) -> _Encoded:
        """Look up the views of one image, and make the model's inputs of the others."""
        features = np.empty((self.n_views, self.clip.embed_dim), np.float32)
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
            inputs = {}
            if missing and self.reduced_decoding and is_jpeg(content):
                side = self._min_side()
                picture = to_rgb(image, content, where, self.max_pixels, side)
                # A smaller one was decoded as a whole.
                if min(picture.size) >= side:
                    inputs = {key: self._input(picture, key, quickly=True) for key in missing}
                    if min(map(contrast, inputs.values())) < MIN_CONTRAST:
                        inputs, picture = {}, None
            if missing and picture is None:
                picture = to_rgb(image, content, where, self.max_pixels)
            if not inputs:
                inputs = {key: self._input(picture, key) for key in missing}
            return _Encoded(features, inputs, n_missing=len(inputs))
        except ImageReadError as error:
            features[:] = np.nan
            return _Encoded(features, error=error)

    def _min_side(self) -> int:
        """Pixels on the short side below which a picture may not be reduced."""
        side = max(OVERSAMPLING * max(self.clip.input_size), MIN_SIDE)
        return side if self.seed == PLAIN else math.ceil(side / SMALLEST_CROP)

    def _input(self, picture: Any, key: Key, *, quickly: bool = False) -> Any:
        if self.seed == PLAIN:
            return self.clip.to_input(picture, quickly=quickly)
        identity, seed, view = key
        rng = view_generator(seed, identity, view)
        return to_pixels(random_view(picture, self.clip.input_size, rng))


class _Run:
    """One run over images: what waits for the model, what is with it, and what is ready."""

    def __init__(self, encoder: ViewEncoder, pool: Executor, n_images: int, *, is_shared: bool):
        self.encoder, self.pool = encoder, pool
        self.n_left = n_images * encoder.n_views
        on_cpu = encoder.clip.device.type == "cpu"
        # Whether the threads run the model; if not, the calling thread does, with all of torch's.
        self.is_shared = on_cpu and is_shared
        # Inputs of one pass.
        self.most = encoder.batch_size
        if self.is_shared:
            # With all threads at work about a batch, but no less than a CPU needs to be efficient.
            self.most = min(self.most, max(self.most // encoder.n_threads, MIN_PIECE), PIECE)
        elif on_cpu:
            self.most = min(self.most, PIECE * _torch_threads())
        self.waiting: deque[_Encoded] = deque()
        # Inputs for the model by key, and the images that want them: equal ones are one.
        self.inputs: dict[Key, Any] = {}
        self.wanted: dict[Key, list[_Encoded]] = {}
        self.running: deque[Future] = deque()

    def add(self, image: _Encoded) -> Iterator[NDArray[np.float32]]:
        """Take the next image, and yield the features that are ready now."""
        self.n_left -= self.encoder.n_views
        self.waiting.append(image)
        for key, value in image.inputs.items():
            if key not in self.wanted:
                self.inputs[key] = value
            self.wanted.setdefault(key, []).append(image)
        image.inputs = {}
        too_many = len(self.waiting) * self.encoder.n_views >= MAX_WAITING
        while self.inputs and (too_many or len(self.inputs) >= self._piece()):
            self._submit()
        yield from self._ready(n_running=0 if too_many else 2 * self.encoder.n_threads)

    def rest(self) -> Iterator[NDArray[np.float32]]:
        """Encode all that is left, and yield its features."""
        self.n_left = 0
        while self.inputs:
            self._submit()
        yield from self._ready(n_running=0)

    def _piece(self) -> int:
        """Count the inputs to give to one thread: fewer at the end, so that all end at the same time."""
        if not self.is_shared:
            return self.most
        left = self.n_left + len(self.inputs)
        fair = math.ceil(left / self.encoder.n_threads)
        return max(1, min(self.most, max(math.ceil(fair / 2), min(MIN_PIECE, fair))))

    def _submit(self) -> None:
        keys = list(self.inputs)[: self._piece()]
        piece = {key: self.inputs.pop(key) for key in keys}
        if self.is_shared:
            self.running.append(self.pool.submit(self.encoder.run, piece))
        else:
            self._fill(self.encoder.run(piece))

    def _ready(self, n_running: int) -> Iterator[NDArray[np.float32]]:
        """Yield the features at the front that are complete; leave so many pieces with the model."""
        while self.running and (len(self.running) > n_running or self.running[0].done()):
            self._fill(self.running.popleft().result())
        while self.waiting and not self.waiting[0].n_missing:
            yield self.waiting.popleft().features

    def _fill(self, features: dict[Key, NDArray]) -> None:
        for key, feature in features.items():
            for image in self.wanted.pop(key):
                image.fill(key[2], feature)


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def _map_ahead(
    pool: Executor, function: Callable, items: Sequence[Any], ahead: int
) -> Iterator[Any]:
    """Map items and their numbers in order, at most `ahead` results in front of the consumer."""
    pending: deque[Future] = deque()
    for task in enumerate(items):
        pending.append(pool.submit(function, *task))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
