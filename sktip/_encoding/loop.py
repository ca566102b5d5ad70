"""Encode images in order, with a bounded number of images in memory."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._encoding.clip import ClipModel
from sktip._encoding.memory import PLAIN, FeatureStore, Key
from sktip._encoding.preprocessing import contrast, to_pixels
from sktip._encoding.threads import workers
from sktip._images.files import is_jpeg, read_bytes
from sktip._images.inputs import describe
from sktip._images.rgb import to_rgb
from sktip._images.views import SMALLEST_CROP, content_hash, random_view, view_generator
from sktip.exceptions import ImageReadError

#: Called for each image that cannot be read, with its index and the error.
OnFailure = Callable[[int, ImageReadError], None]
#: Largest number of features that wait for an earlier image; then the model runs on less than a batch.
MAX_WAITING = 4096
#: Bytes of the latest features that are kept during a call, for copies of their images: of 512 numbers,
#: 65,536 features.
MAX_KEPT = 128 * 2**20
#: Number of inputs that one CPU gets at a time. More are hardly faster, and delay an interrupt.
PIECE = 8
#: With fewer inputs at a time, each takes 10 % longer; a single one takes 50 % longer.
MIN_PIECE = 4
#: Smallest short side of a reduced JPEG, or of its smallest crop, in pixels: this factor times the
#: model's input, and at least `MIN_SIDE`.
OVERSAMPLING = 3
MIN_SIDE = 512
#: Smallest standard deviation, of 255, of an input from a reduced JPEG. The reduction changes pixels by
#: about one level, which matters for a page of small print: it is nearly uniform grey to the model.
MIN_CONTRAST = 20


@dataclass
class _Encoded:
    """The features of one image's views, and the model's inputs for missing ones."""

    features: NDArray[np.float32]
    inputs: dict[Key, Any] = field(default_factory=dict)
    error: ImageReadError | None = None
    n_missing: int = 0

    def fill(self, view: int, feature: NDArray) -> None:
        self.features[view] = feature
        self.n_missing -= 1


@dataclass
class ViewEncoder:
    """Encode images with one model: the plain view of each, or random views.

    Features in the store are used without decoding the image. New features are written to the store as
    soon as they are computed. Copies of an image get the features of the first one, since features differ
    by rounding with their place in a batch.

    Images are prepared by `n_threads` threads. On the CPU, the same threads run the model, each on a few
    inputs. So all threads are busy until the end, whether images or the model take more time, and none
    waits for another within a matrix product.
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

        If an image cannot be read, `on_failure` is called, or without it an error is raised. All earlier
        images are encoded first.
        """
        n_threads = max(1, min(self.n_threads, len(images)))
        with workers(n_threads) as pool:
            run = _Run(self, pool, len(images), is_shared=self._is_shared(len(images)))
            prepare = partial(self._prepare, run.known)
            ahead = 0 if n_threads == 1 else n_threads + run.most // self.n_views
            for index, image in enumerate(_map_ahead(pool, prepare, images, ahead)):
                if image.error is not None:
                    if self.on_failure is None:
                        yield from run.rest()
                        raise image.error
                    self.on_failure(index, image.error)
                yield from run.add(image)
            yield from run.rest()

    def _is_shared(self, n_images: int) -> bool:
        """Whether there are enough inputs for every thread to run the model."""
        enough = MIN_PIECE * self.n_threads
        return 1 < self.n_threads <= n_images and n_images * self.n_views >= enough

    def run(self, inputs: dict[Key, Any]) -> dict[Key, NDArray]:
        """Encode one batch, and write its features to the store."""
        # Another process may have stored some features since their inputs were prepared.
        features: dict[Key, NDArray] = {} if self.store is None else self.store.get(inputs)
        left = [key for key in inputs if key not in features]
        if left:
            rows = self.clip.encode_images([inputs[key] for key in left])
            new = dict(zip(left, rows, strict=True))
            if self.store is not None:
                self.store.put(new)
            features |= new
        return features

    def _prepare(self, known: Mapping[Key, NDArray], index: int, image: Any) -> _Encoded:
        """Look up the features of one image, and prepare the model's inputs for missing ones."""
        features = np.empty((self.n_views, self.clip.embed_dim), np.float32)
        try:
            where = describe(image, index)
            content = read_bytes(image, where, self.max_pixels)
            # An image without a file is decoded first, since its identity is the hash of its pixels.
            picture = None
            if content is None:
                picture = to_rgb(image, None, where, self.max_pixels)
            inputs = {}
            if picture is not None and self.store is None and self.seed == PLAIN:
                # Nothing else needs the identity, and the model's input is hashed in less time.
                pixels = self.clip.to_input(picture)
                identity = content_hash(pixels.numpy().tobytes(), None)
                inputs = {(identity, self.seed, 0): pixels}
            else:
                identity = content_hash(content, picture)
            keys = [(identity, self.seed, view) for view in range(self.n_views)]
            # Another thread drops features meanwhile, so each is looked up once.
            found = {key: row for key in keys if (row := known.get(key)) is not None}
            if self.store is not None:
                found |= self.store.get(key for key in keys if key not in found)
            for key, feature in found.items():
                features[key[2]] = feature
            missing = [key for key in keys if key not in found]
            if missing and self.reduced_decoding and is_jpeg(content):
                side = self._min_side()
                picture = to_rgb(image, content, where, self.max_pixels, side)
                # A smaller picture was decoded in full.
                if min(picture.size) >= side:
                    inputs = {key: self._input(picture, key, quickly=True) for key in missing}
                    if min(map(contrast, inputs.values())) < MIN_CONTRAST:
                        inputs, picture = {}, None
            if missing and picture is None:
                picture = to_rgb(image, content, where, self.max_pixels)
            if not inputs:
                inputs = {key: self._input(picture, key) for key in missing}
            inputs = {key: inputs[key] for key in missing}
            return _Encoded(features, inputs, n_missing=len(missing))
        except ImageReadError as error:
            features[:] = np.nan
            return _Encoded(features, error=error)

    def _min_side(self) -> int:
        """Smallest short side of a reduced picture, in pixels."""
        side = max(OVERSAMPLING * max(self.clip.input_size), MIN_SIDE)
        return side if self.seed == PLAIN else math.ceil(side / SMALLEST_CROP)

    def _input(self, picture: Any, key: Key, *, quickly: bool = False) -> Any:
        if self.seed == PLAIN:
            return self.clip.to_input(picture, quickly=quickly)
        identity, seed, view = key
        rng = view_generator(seed, identity, view)
        return to_pixels(random_view(picture, self.clip.input_size, rng))


class _Run:
    """One run over images: inputs that wait for the model, running batches, and ready features."""

    def __init__(self, encoder: ViewEncoder, pool: Executor, n_images: int, *, is_shared: bool):
        self.encoder, self.pool = encoder, pool
        self.n_left = n_images * encoder.n_views
        on_cpu = encoder.clip.device.type == "cpu"
        # Whether the threads run the model; if not, the calling thread does, with all torch threads.
        self.is_shared = on_cpu and is_shared
        # Largest number of inputs in one forward pass.
        self.most = encoder.batch_size
        if self.is_shared:
            # All threads together run about one batch, but each at least an efficient number of inputs.
            self.most = min(self.most, max(self.most // encoder.n_threads, MIN_PIECE), PIECE)
        elif on_cpu:
            self.most = min(self.most, PIECE * _torch_threads())
        self.waiting: deque[_Encoded] = deque()
        # The latest features of this call.
        self.known: dict[Key, NDArray] = {}
        # Inputs by key, and the images that need each of them; equal images share one input.
        self.inputs: dict[Key, Any] = {}
        self.wanted: dict[Key, list[_Encoded]] = {}
        self.running: deque[Future] = deque()

    def add(self, image: _Encoded) -> Iterator[NDArray[np.float32]]:
        """Add the next image, and yield the features that are ready."""
        self.n_left -= self.encoder.n_views
        self.waiting.append(image)
        for key, value in image.inputs.items():
            if key in self.known:
                image.fill(key[2], self.known[key])
                continue
            if key not in self.wanted:
                self.inputs[key] = value
            self.wanted.setdefault(key, []).append(image)
        image.inputs = {}
        too_many = len(self.waiting) * self.encoder.n_views >= MAX_WAITING
        while self.inputs and (too_many or len(self.inputs) >= self._piece()):
            self._submit()
        yield from self._ready(n_running=0 if too_many else 2 * self.encoder.n_threads)

    def rest(self) -> Iterator[NDArray[np.float32]]:
        """Encode all remaining inputs, and yield their features."""
        self.n_left = 0
        while self.inputs:
            self._submit()
        yield from self._ready(n_running=0)

    def _piece(self) -> int:
        """Return the number of inputs for one thread: fewer at the end, so that all threads finish together."""
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
        """Yield the complete features at the front, while up to `n_running` pieces are being encoded."""
        while self.running and (len(self.running) > n_running or self.running[0].done()):
            self._fill(self.running.popleft().result())
        while self.waiting and not self.waiting[0].n_missing:
            yield self.waiting.popleft().features

    def _fill(self, features: dict[Key, NDArray]) -> None:
        for key, feature in features.items():
            for image in self.wanted.pop(key):
                image.fill(key[2], feature)
            self.known[key] = feature
            if len(self.known) * feature.nbytes > MAX_KEPT:
                del self.known[next(iter(self.known))]


def _torch_threads() -> int:
    import torch

    return torch.get_num_threads()


def _map_ahead(
    pool: Executor, function: Callable, items: Sequence[Any], ahead: int
) -> Iterator[Any]:
    """Map items with their indices, in order, at most `ahead` results before the consumer."""
    pending: deque[Future] = deque()
    for task in enumerate(items):
        pending.append(pool.submit(function, *task))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
