"""PIL images that the caller opened: as their files, whoever else reads them, wholly or not at all."""

import io
import sys
import tarfile
import threading
import warnings
from functools import cache

import numpy as np
import pytest
from fuzz_files import mutated, plain_pillow
from hypothesis import given
from hypothesis import strategies as st
from image_files import exif, picture, saved, whole_files
from PIL import Image, ImageSequence

from sktip import CLIPFeatureTransformer, TipAdapterClassifier
from sktip._images.pictures import to_rgb
from sktip.exceptions import ImageReadError

MAX_PIXELS = 89_478_485
WHOLE = [content for contents in whole_files().values() for content in contents]


@pytest.fixture
def impatient(clip):
    """Let threads take turns so often that none gets through anything undisturbed."""
    clip.transform([picture()])  # So that nothing is imported meanwhile, which takes long.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def encoder(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", **parameters)


def opened(content):
    return Image.open(io.BytesIO(content))


def rgb(image, content=None):
    return np.asarray(to_rgb(image, content, "image 0", MAX_PIXELS))


def large(file_format, **options):
    """A file that takes a while to read, turned by its orientation."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (40, 30, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    return saved(Image.fromarray(pixels), file_format, exif=exif(6), **options)


LARGE = {
    "JPEG": lambda: large("JPEG"),
    "PNG": lambda: large("PNG"),
    "TIFF": lambda: large("TIFF"),
    "TIFF by libtiff": lambda: large("TIFF", compression="tiff_lzw"),
    "WEBP": lambda: large("WEBP", lossless=True),
    "GIF": lambda: saved(opened(large("PNG")), "GIF"),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "TIFF by libtiff", "WEBP", "MPO"])
def test_the_orientation_is_applied_once(tmp_path, file_format, orientation):
    name, _, by_libtiff = file_format.partition(" ")
    options = {"compression": "tiff_lzw"} if by_libtiff else {}
    content = saved(picture().convert("RGB"), name, exif=exif(orientation), **options)
    expected = plain_pillow(content, MAX_PIXELS)[1]
    path = tmp_path / "photo"
    path.write_bytes(content)
    for image in (Image.open(path), opened(content)):
        for _ in range(2):
            np.testing.assert_array_equal(rgb(image), rgb(None, content))
    if name != "TIFF":
        np.testing.assert_array_equal(rgb(None, content), expected)
    assert rgb(None, content).shape[:2] == ((48, 32) if orientation > 4 else (32, 48))


@pytest.mark.parametrize("i", range(len(WHOLE)))
def test_every_kind_of_file_has_the_pixels_of_its_path(tmp_path, i):
    path = tmp_path / "photo"
    path.write_bytes(WHOLE[i])
    expected = rgb(None, WHOLE[i])
    loaded = opened(WHOLE[i])
    loaded.load()
    for image in (Image.open(path), opened(WHOLE[i]), loaded):
        np.testing.assert_array_equal(rgb(image), expected)


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("by_path", [True, False])
def test_one_image_many_times(clip, impatient, tmp_path, kind, by_path):
    path = tmp_path / "photo"
    path.write_bytes(LARGE[kind]())
    expected = clip.transform([path])
    for _ in range(3):
        image = Image.open(path) if by_path else opened(path.read_bytes())
        features = encoder(n_jobs=4).transform([image] * 12)
        np.testing.assert_allclose(features, expected.repeat(12, axis=0), atol=1e-5)


def test_one_image_in_calls_of_two_threads(clip, impatient):
    content = large("PNG")
    expected = clip.transform([content])
    for _ in range(5):
        image, found = opened(content), []
        threads = [
            threading.Thread(
                target=lambda image=image, found=found: found.append(clip.transform([image]))
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_allclose(np.concatenate(found), expected.repeat(4, axis=0), atol=1e-5)


@pytest.mark.parametrize("shared", ["members of a tar archive", "one file object"])
def test_images_that_share_a_file(clip, impatient, tmp_path, shared):
    # Noise cannot be compressed, so that reading takes many steps.
    noise = np.random.default_rng(0).integers(0, 256, (12, 300, 300, 3), dtype=np.uint8)
    contents = [saved(Image.fromarray(pixels), "PNG") for pixels in noise]
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for i, content in enumerate(contents):
            member = tarfile.TarInfo(f"{i}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for _ in range(3):
        with tarfile.open(tmp_path / "photos.tar") as archive:
            if shared == "one file object":
                file = io.BytesIO(contents[0])
                images = [Image.open(file) for _ in contents]
                expected = contents[:1] * 12
            else:
                images = [
                    Image.open(archive.extractfile(member)) for member in archive.getmembers()
                ]
                expected = contents
            features = encoder(n_jobs=4).transform(images)
        np.testing.assert_allclose(features, clip.transform(expected), atol=1e-5)


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_the_frame_that_an_image_is_at(file_format):
    turned = [picture().convert("RGB").rotate(angle) for angle in (0, 90, 180)]
    options = {} if file_format == "MPO" else {"lossless": True, "duration": 100}
    content = saved(turned[0], file_format, save_all=True, append_images=turned[1:], **options)
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        image = opened(content)
        for frame in order:
            image.seek(frame)
            pixels = rgb(image)
            np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
            np.testing.assert_allclose(
                pixels.mean((0, 1)), np.asarray(turned[frame]).mean((0, 1)), atol=9
            )
            assert image.tell() == frame


def test_frames_one_after_another_are_no_list(clip):
    frames = [picture().convert("RGB").rotate(angle) for angle in (0, 180)]
    image = opened(saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]))
    X = ImageSequence.Iterator(image)
    with pytest.raises(
        TypeError, match="the same image object for every frame.*frame.copy.. for frame in X"
    ):
        clip.transform(X)
    np.testing.assert_allclose(
        clip.transform([frame.copy() for frame in X]), clip.transform(frames), atol=1e-6
    )


def test_what_was_drawn_on_an_image_is_seen():
    image = opened(large("TIFF"))
    image.load()
    image.paste((1, 2, 3), (0, 0, 50, 50))
    before = image.tobytes()
    np.testing.assert_array_equal(rgb(image), np.asarray(image))
    assert (rgb(image)[:50, :50] == (1, 2, 3)).all()
    assert image.tobytes() == before


class Described(Image.Image):
    """An image of the caller's own that is made when it is first looked at."""

    def __init__(self, image):
        super().__init__()
        self._mode, self._size, self.source = image.mode, image.size, image

    def load(self):
        self.im = self.source.convert("RGB").im
        return super().load()


def test_images_of_another_class():
    np.testing.assert_array_equal(
        rgb(Described(picture().convert("RGB"))), np.asarray(picture().convert("RGB"))
    )


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "GIF", "WEBP"])
def test_the_image_is_left_as_its_own_load_leaves_it(clip, file_format):
    content = LARGE[file_format]()
    mine, other = opened(content), opened(content)
    other.load()
    clip.transform([mine])
    assert mine == other
    assert mine.size == other.size
    assert mine.getexif() == other.getexif()
    assert mine.info == other.info
    assert mine.tell() == other.tell() if hasattr(mine, "tell") else True


class TestUnreadable:
    def refused(self, image, clip, message):
        """At every use, in either way, and among others."""
        for _ in range(2):
            with pytest.raises(ImageReadError, match=f"image 1.*: .*{message}"):
                clip.transform([picture(), image])
        for n_jobs in (1, 4):
            with pytest.warns(UserWarning, match=f"2 of 4 images .*: .*{message}") as warned:
                features = encoder(on_error="nan", n_jobs=n_jobs).transform(
                    [picture(), image, image, picture()]
                )
            # Files that earlier tests left open may be noticed now.
            own = [w for w in warned if w.category is not ResourceWarning]
            assert len(own) == 1, [str(w.message) for w in own]
            np.testing.assert_array_equal(
                np.isnan(features).any(axis=1), [False, True, True, False]
            )

    @pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "TIFF by libtiff", "GIF"])
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_truncated(self, clip, tmp_path, file_format):
        content = LARGE[file_format]()
        (tmp_path / "half").write_bytes(content[: len(content) // 2])
        try:
            image = Image.open(tmp_path / "half")
        except Image.UnidentifiedImageError:
            # The directory of a TIFF may lie at its end: cut the file once it is open.
            (tmp_path / "half").write_bytes(content)
            image = Image.open(tmp_path / "half")
            with open(tmp_path / "half", "r+b") as file:
                file.truncate(len(content) // 2)
        self.refused(image, clip, "cannot be decoded|an earlier attempt to load it failed")

    @pytest.mark.parametrize("file_format", LARGE)
    @pytest.mark.parametrize("way", ["with", "close", "file", "verify"])
    def test_closed(self, clip, tmp_path, file_format, way):
        path = tmp_path / "photo"
        path.write_bytes(LARGE[file_format]())
        if way == "file":
            with path.open("rb") as file:
                image = Image.open(file)
                if file_format == "WEBP":  # Has read its file when it is opened.
                    return
        elif way == "with":
            with Image.open(path) as image:
                pass
        else:
            image = Image.open(path)
            getattr(image, way)()
        if file_format == "WEBP" and way != "close":
            np.testing.assert_allclose(clip.transform([image]), clip.transform([path]), atol=1e-6)
            return
        self.refused(
            image, clip, "its file was closed before the image was loaded|Operation on closed image"
        )

    def test_damaged_files_fail_at_every_load(self):
        """A second look shows neither half a picture nor another error than a missing file."""
        files, n_failed = whole_files(), 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in range(400):
                content = mutated(files, case)[1]
                try:
                    image = opened(content)
                except Exception:
                    continue
                outcomes = []
                for _ in range(2):
                    try:
                        outcomes.append(to_rgb(image, None, "image 0", 2_000_000).tobytes())
                    except ImageReadError:
                        outcomes.append(None)
                assert outcomes[0] == outcomes[1], case
                n_failed += outcomes[0] is None
        assert n_failed > 50

    def test_too_large(self, clip):
        with pytest.raises(ImageReadError, match="more than max_pixels=1000"):
            encoder(max_pixels=1000).transform([opened(large("PNG"))])


@cache
def alone(i):
    return encoder().transform([WHOLE[i]])[0]


def _loaded(path):
    image = Image.open(path)
    image.load()
    return image


FORMS = ["path", "Path", "bytes", "opened", "opened by path", "loaded", "array", "the same"]


@given(
    items=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.sampled_from(FORMS)), min_size=1, max_size=24
    ),
    n_jobs=st.integers(1, 8),
    batch_size=st.sampled_from([1, 3, 64]),
)
def test_any_mixture_is_as_each_alone(tmp_path_factory, items, n_jobs, batch_size):
    folder = tmp_path_factory.mktemp("mixture")
    images, same = [], {}
    for i, form in items:
        path = folder / str(i)
        path.write_bytes(WHOLE[i])
        make = {
            "path": lambda path=path: str(path),
            "Path": lambda path=path: path,
            "bytes": lambda path=path: path.read_bytes(),
            "opened": lambda path=path: opened(path.read_bytes()),
            "opened by path": lambda path=path: Image.open(path),
            "loaded": lambda path=path: _loaded(path),
            "array": lambda i=i: rgb(None, WHOLE[i]),
            "the same": lambda i=i, path=path: same.setdefault(i, Image.open(path)),
        }[form]
        images.append(make())
    features = encoder(n_jobs=n_jobs, batch_size=batch_size).transform(images)
    np.testing.assert_allclose(features, [alone(i) for i, _ in items], atol=1e-5)


@pytest.mark.parametrize("n_views", [1, 2])
def test_in_a_classifier(clip, impatient, digits, n_views):
    arrays, labels = digits
    contents = [saved(Image.fromarray(array), "TIFF", exif=exif(3)) for array in arrays[:40]]
    clf = TipAdapterClassifier(encoder(n_jobs=4), n_views=n_views, random_state=0)
    expected = clf.fit(contents, labels[:40]).predict_proba(contents)
    images = [opened(content) for content in contents]
    probabilities = clf.fit([opened(content) for content in contents], labels[:40]).predict_proba(
        [image for image in images for _ in range(3)]
    )
    if n_views == 1:
        np.testing.assert_allclose(probabilities, expected.repeat(3, axis=0), atol=1e-4)
    assert (probabilities[::3] == probabilities[1::3]).all(axis=1).mean() > 0.9


def test_in_a_batch_of_ray(clip, impatient):
    pytest.importorskip("ray")
    from sktip.distributed import EncodeImages

    content = large("TIFF")
    half = opened(content[:-1000])
    image, images = opened(content), np.empty(9, object)
    # One by one: NumPy would load them to see whether they make one array.
    for i in range(9):
        images[i] = image if i < 8 else half
    columns = EncodeImages(encoder(n_jobs=4), "image")({"image": images})
    expected = clip.transform([content]).repeat(8, axis=0)
    np.testing.assert_allclose(columns["features"][:8], expected, atol=1e-5)
    errors = columns["error"].to_pylist()
    assert errors[:8] == [None] * 8
    assert errors[8].startswith("cannot be decoded")
