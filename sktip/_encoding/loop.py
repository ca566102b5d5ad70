"""Encode images in order with one or more models, with a bounded number of images in memory."""

import math
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sktip._encoding.memory import PLAIN, FeatureStore, Key
from sktip._encoding.model import Model
from sktip._encoding.preprocessing import (
    SMALLEST_CROP,
    contrast,
    random_view,
    to_pixels,
    view_generator,
)
from sktip._images.crop import Crop
from sktip._images.files import is_jpeg, read_bytes
from sktip._images.inputs import describe
from sktip._images.rgb import content_hash, to_rgb
from sktip._utils.threads import torch_threads, workers
from sktip.exceptions import ImageReadError

#: Called for each image that cannot be read, with its index and the error.
OnFailure = Callable[[int, ImageReadError], None]
#: Largest number of features that wait for an earlier image; then the models run on less than a batch.
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


def encode(
    lanes: Sequence["Lane"],
    images: Sequence[Any],
    *,
    n_threads: int,
    max_pixels: int,
    on_failure: OnFailure | None = None,
) -> Generator[list[NDArray[np.float32]], None, None]:
    """Yield the features of each image's views, one array (n_views, d) per lane, in order.

    Each image is read and decoded once, by one of `n_threads` threads, which prepares the inputs of all
    models. On the CPU, the same threads run the models, each on a few inputs. So all threads are busy
    until the end, whether images or models take more time, and none waits for another within a matrix
    product.

    If an image cannot be read, `on_failure` is called, and its features are NaN; without `on_failure` an
    error is raised. All earlier images are yielded first.
    """
    n_threads = max(1, min(n_threads, len(images)))
    waiting: deque[_Image] = deque()
    with workers(n_threads) as pool:
        batches = [_Batches(lane, pool, n_threads, len(images)) for lane in lanes]
        side = None
        if all(lane.reduced_decoding for lane in lanes):
            side = max(lane.min_side for lane in lanes)
        prepare = partial(_prepare, batches, side)
        most_ahead = max(lane_batches.most // lane_batches.lane.n_views for lane_batches in batches)
        ahead = 0 if n_threads == 1 else n_threads + most_ahead
        for image in _map_ahead(pool, prepare, _with_photos(images, max_pixels), ahead):
            waiting.append(image)
            for lane_batches, needed in zip(batches, image.needed, strict=True):
                too_many = len(waiting) * lane_batches.lane.n_views >= MAX_WAITING
                lane_batches.add(needed)
                lane_batches.run(wait=too_many)
            yield from _ready(waiting, lanes, on_failure)
        for lane_batches in batches:
            lane_batches.run(wait=True)
        yield from _ready(waiting, lanes, on_failure)


class _Photo:
    """A photo that is read once, and decoded in full once at most, whatever crops of it there are."""

    def __init__(self, image: Any, max_pixels: int):
        self.image, self.max_pixels = image, max_pixels
        self._known: dict[str, Any] = {}
        self._lock = threading.RLock()

    def content(self, where: str) -> bytes | None:
        """Return the content of the file, None for decoded pixels."""
        return self._once("content", lambda: read_bytes(self.image, where, self.max_pixels))

    def full(self, where: str) -> Any:
        """Decode the picture in full."""
        return self._once(
            "full", lambda: to_rgb(self.image, self.content(where), where, self.max_pixels)
        )

    def identity(self, where: str) -> bytes:
        """Hash the file, or the pixels of an image without a file."""
        content = self.content(where)
        return self._once(
            "identity", lambda: content_hash(content, self.full(where) if content is None else None)
        )

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._known:
                self._known[name] = make()
            return self._known[name]


def _with_photos(images: Iterable[Any], max_pixels: int) -> Iterator[tuple[Any, _Photo]]:
    """Yield each image with its photo, which crops in a row share."""
    photo = None
    for image in images:
        source = image.image if isinstance(image, Crop) else image
        is_shared = (
            photo is not None
            and isinstance(image, Crop)
            and (
                source is photo.image
                or (isinstance(source, str | os.PathLike) and source == photo.image)
            )
        )
        if photo is None or not is_shared:
            photo = _Photo(source, max_pixels)
        yield image, photo


class _Opened:
    """An image: a photo or a crop of it, decoded once at most at each of two scales, in one thread.

    Not by `functools.cached_property`: in Python 3.11 all objects of a class share its lock, and one thread
    would wait while another decodes.
    """

    def __init__(self, image: Any, photo: _Photo, index: int, side: int | None):
        self.index, self.where = index, describe(image, index)
        self._photo, self._crop = photo, image if isinstance(image, Crop) else None
        self._side = side
        self._full: Any = None
        self._reduced: Any = None
        self.content = photo.content(self.where)

    @property
    def identity(self) -> bytes:
        """Hash of the file, or of the pixels of an image without a file, and of the box."""
        identity = self._photo.identity(self.where)
        return identity if self._crop is None else content_hash(identity + self._crop.key, None)

    @property
    def full(self) -> Any:
        """The picture in full."""
        if self._full is None:
            photo = self._photo.full(self.where)
            self._full = photo if self._crop is None else self._crop.cut(photo, self.where)
        return self._full

    @property
    def reduced(self) -> Any:
        """The picture of a large JPEG, at a reduced scale; None for crops and other images."""
        is_full = self._side is None or self._crop is not None or self._full is not None
        if self._reduced is not None or is_full or not is_jpeg(self.content):
            return self._reduced
        photo = self._photo
        picture = to_rgb(photo.image, self.content, self.where, photo.max_pixels, self._side)
        if min(picture.size) >= self._side:
            self._reduced = picture
        else:
            # It was decoded in full.
            self._full = picture
        return self._reduced


@dataclass
class _Needed:
    """The features of one image in one lane, and the model's inputs for missing ones."""

    features: NDArray[np.float32] | None
    inputs: dict[Key, Any] = field(default_factory=dict)
    n_missing: int = 0
    error: ImageReadError | None = None

    def fill(self, view: int, feature: Any) -> None:
        self.n_missing -= 1
        if isinstance(feature, ImageReadError):
            self.error = feature
        elif self.features is None:
            self.features = feature[np.newaxis]
        else:
            self.features[view] = feature


@dataclass
class _Image:
    """One image on its way through all lanes."""

    index: int
    needed: list[_Needed]
    error: ImageReadError | None = None


def _prepare(
    batches: "Sequence[_Batches]", side: int | None, index: int, item: tuple[Any, _Photo]
) -> _Image:
    """Open one image, look up its features, and prepare the inputs for missing ones."""
    image, photo = item
    opened = None
    try:
        needed = []
        for lane_batches in batches:
            if lane_batches.lane.model.library is None:
                key = (b"", index, 0)
                whole = image
                if isinstance(image, Crop):
                    whole = image.cut(photo.full(describe(image, index)), describe(image, index))
                needed.append(_Needed(None, {key: whole}, 1))
                continue
            opened = opened or _Opened(image, photo, index, side)
            needed.append(lane_batches.lane.prepare(opened, lane_batches.known))
        return _Image(index, needed)
    except ImageReadError as error:
        return _Image(index, [_Needed(None) for _ in batches], error)


def _ready(
    waiting: "deque[_Image]",
    lanes: "Sequence[Lane]",
    on_failure: OnFailure | None,
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the features of the first images, as far as they are complete."""
    while waiting and not any(needed.n_missing for needed in waiting[0].needed):
        image = waiting.popleft()
        errors = [image.error, *(needed.error for needed in image.needed)]
        error = next((one for one in errors if one is not None), None)
        if error is None:
            yield [needed.features for needed in image.needed if needed.features is not None]
        elif on_failure is None:
            raise error
        else:
            on_failure(image.index, error)
            yield [np.full((lane.n_views, lane.model.width), np.nan, np.float32) for lane in lanes]


@dataclass
class Lane:
    """One model for the duration of one call: the plain view of each image, or random views.

    Features in the store are used without decoding the image. New features are written to the store as
    soon as they are computed.
    """

    model: Model
    n_views: int
    seed: int
    batch_size: int
    reduced_decoding: bool
    store: FeatureStore | None

    @property
    def min_side(self) -> int:
        """Smallest short side of a reduced picture, in pixels."""
        side = max(OVERSAMPLING * max(self.model.input_size), MIN_SIDE)
        return side if self.seed == PLAIN else math.ceil(side / SMALLEST_CROP)

    def prepare(self, opened: _Opened, known: dict[Key, NDArray]) -> _Needed:
        """Look up the features of one image, and prepare the model's inputs for missing ones."""
        features = np.empty((self.n_views, self.model.width), np.float32)
        inputs: dict[Key, Any] = {}
        content = opened.content
        is_large = content is None or len(content) > 3 * math.prod(self.model.input_size)
        if is_large and self.store is None and self.seed == PLAIN:
            # Nothing else needs the identity, and the model's input is hashed in less time.
            (pixels,) = self._inputs(opened, [(b"", PLAIN, 0)])
            inputs = {(content_hash(pixels.numpy().tobytes(), None), PLAIN, 0): pixels}
            keys = list(inputs)
        else:
            keys = [(opened.identity, self.seed, view) for view in range(self.n_views)]
        # Another thread drops features meanwhile, so each is looked up once.
        found = {key: row for key in keys if (row := known.get(key)) is not None}
        if self.store is not None:
            found |= self.store.get(key for key in keys if key not in found)
        for key, feature in found.items():
            features[key[2]] = feature
        missing = [key for key in keys if key not in found]
        if missing and not inputs:
            inputs = dict(zip(missing, self._inputs(opened, missing), strict=True))
        return _Needed(features, {key: inputs[key] for key in missing}, len(missing))

    def _inputs(self, opened: _Opened, keys: list[Key]) -> list[Any]:
        """Prepare the model's inputs, from the reduced picture of a large JPEG if that is close enough."""
        if opened.reduced is not None:
            inputs = [self._input(opened.reduced, key, quickly=True) for key in keys]
            if min(map(contrast, inputs)) >= MIN_CONTRAST:
                return inputs
        return [self._input(opened.full, key) for key in keys]

    def _input(self, picture: Any, key: Key, *, quickly: bool = False) -> Any:
        identity, seed, view = key
        if seed == PLAIN:
            model: Any = self.model
            return model.to_input(picture, quickly=quickly)
        rng = view_generator(seed, identity, view)
        return to_pixels(random_view(picture, self.model.input_size, rng))

    def run(self, inputs: dict[Key, Any]) -> dict[Key, Any]:
        """Encode one batch, and write its features to the store."""
        # Another process may have stored some features since their inputs were prepared.
        features: dict[Key, NDArray] = {} if self.store is None else self.store.get(inputs)
        left = [key for key in inputs if key not in features]
        if left:
            new = self.model.encode({key: inputs[key] for key in left})
            if self.store is not None:
                self.store.put(new)
            features |= new
        return features


class _Batches:
    """The inputs of one lane that wait for its model, and the batches that are running."""

    def __init__(self, lane: Lane, pool: Executor, n_threads: int, n_images: int):
        self.lane, self.pool, self.n_threads = lane, pool, n_threads
        self.n_left = n_images * lane.n_views
        on_cpu = lane.model.device_type == "cpu"
        enough = MIN_PIECE * n_threads
        # Whether the threads run the model; if not, the calling thread does, with all torch threads.
        self.is_shared = on_cpu and 1 < n_threads <= n_images and self.n_left >= enough
        # Largest number of inputs in one forward pass.
        self.most = lane.batch_size
        if self.is_shared:
            # All threads together run about one batch, but each at least an efficient number of inputs.
            self.most = min(self.most, max(self.most // n_threads, MIN_PIECE), PIECE)
        elif on_cpu:
            self.most = min(self.most, PIECE * torch_threads())
        # The latest features of this call. Copies of an image get the features of the first one, since
        # features differ by rounding with their place in a batch.
        self.known: dict[Key, NDArray] = {}
        # Inputs by key, and the images that need each of them; equal images share one input.
        self.inputs: dict[Key, Any] = {}
        self.wanted: dict[Key, list[_Needed]] = {}
        self.running: deque[Future] = deque()

    def add(self, image: _Needed) -> None:
        """Add the inputs of the next image."""
        self.n_left -= self.lane.n_views
        for key, value in image.inputs.items():
            if key in self.known:
                image.fill(key[2], self.known[key])
                continue
            if key not in self.wanted:
                self.inputs[key] = value
            self.wanted.setdefault(key, []).append(image)
        image.inputs = {}

    def run(self, *, wait: bool) -> None:
        """Run the full batches, or with `wait` all, and wait for their features."""
        while self.inputs and (wait or len(self.inputs) >= self._piece()):
            keys = list(self.inputs)[: self._piece()]
            piece = {key: self.inputs.pop(key) for key in keys}
            if self.is_shared:
                self.running.append(self.pool.submit(self.lane.run, piece))
            else:
                self._fill(self.lane.run(piece))
        most = 0 if wait else 2 * self.n_threads
        while self.running and (len(self.running) > most or self.running[0].done()):
            self._fill(self.running.popleft().result())

    def _piece(self) -> int:
        """Return the number of inputs for one thread: fewer at the end, so that all threads finish together."""
        if not self.is_shared:
            return self.most
        left = self.n_left + len(self.inputs)
        fair = math.ceil(left / self.n_threads)
        return max(1, min(self.most, max(math.ceil(fair / 2), min(MIN_PIECE, fair))))

    def _fill(self, features: dict[Key, Any]) -> None:
        for key, feature in features.items():
            for image in self.wanted.pop(key):
                image.fill(key[2], feature)
            if isinstance(feature, ImageReadError):
                continue
            self.known[key] = feature
            if len(self.known) * feature.nbytes > MAX_KEPT:
                del self.known[next(iter(self.known))]


def _map_ahead(
    pool: Executor, function: Callable, items: Iterable[Any], ahead: int
) -> Iterator[Any]:
    """Map items with their indices, in order, at most `ahead` results before the consumer."""
    pending: deque[Future] = deque()
    for task in enumerate(items):
        pending.append(pool.submit(function, *task))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
