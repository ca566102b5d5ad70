"""Warnings of Pillow about single files follow the caller's filters, which are never changed."""

import contextlib
import io
import logging
import re
import threading
import warnings

import numpy as np
import pytest
from fuzz_files import mutated
from image_files import exif, picture, png, saved, tiff, whole_files
from PIL import Image, ImageFile, PngImagePlugin

from sktip import CLIPFeatureTransformer
from sktip._images.pictures import to_rgb
from sktip.exceptions import ImageReadError

CORRUPT_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files that cause one warning each, and two bombs."""
    files, folder = whole_files(), tmp_path_factory.mktemp("damaged")
    # Every seventh case is a TIFF.
    contents = [mutated(files, case)[1] for case in range(5, 1400, 7)]
    too_many = tiff({256: (4, 4), 257: (4, 4), 277: (4, 60_000)}, b"", 273)
    contents += [too_many, png(10_000, 10_000, 8, 0, b""), png(10_001, 10_000, 8, 0, b"")]
    paths = [folder / f"{i}.jpg" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture
def odd(tmp_path):
    """A whole picture with damaged EXIF data."""
    path = tmp_path / "odd.jpg"
    path.write_bytes(saved(picture().convert("RGB"), "JPEG", exif=CORRUPT_EXIF))
    return path


@contextlib.contextmanager
def everything_heard():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield heard


def encoder(**parameters):
    return CLIPFeatureTransformer("tiny", device="cpu", **parameters)


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_pillow_is_heard_and_we_are_once(paths, caplog, n_jobs):
    with everything_heard() as heard:
        encoder(on_error="nan", n_jobs=n_jobs).transform(paths)
    ours = [warning for warning in heard if warning.filename == __file__]
    assert len(ours) == 1
    assert re.match(rf"\d+ of {len(paths)} images could not be read", str(ours[0].message))
    others = [warning for warning in heard if warning not in ours]
    assert len(others) > 50
    assert all("PIL" in warning.filename for warning in others)
    assert any(warning.category is Image.DecompressionBombWarning for warning in others)
    assert "More samples per pixel than can be decoded" in caplog.text


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_the_filter_of_the_guide_leaves_ours(paths, n_jobs):
    with everything_heard() as heard:
        warnings.filterwarnings("ignore", module="PIL")
        encoder(on_error="nan", n_jobs=n_jobs).transform(paths)
    assert [warning.filename for warning in heard] == [__file__]


def state():
    """Everything of the process that decoding could be tempted to change."""
    loggers = [logging.getLogger(name) for name in ("PIL", "PIL.TiffImagePlugin", "py.warnings")]
    return (
        *(id(warnings.filters), list(warnings.filters), warnings.showwarning, warnings.warn),
        *([(log.level, log.disabled, list(log.filters), list(log.handlers)) for log in loggers],),
        *(Image.MAX_IMAGE_PIXELS, Image.WARN_POSSIBLE_FORMATS, ImageFile.LOAD_TRUNCATED_IMAGES),
        *(PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY),
    )


@pytest.mark.parametrize("n_jobs", [1, 4])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
@pytest.mark.filterwarnings("ignore:.*could not be read")
def test_nothing_global_is_changed(paths, monkeypatch, n_jobs):
    """Neither afterwards nor while a file is decoded."""
    encoder().transform([picture()])
    before, load, n_seen = state(), ImageFile.ImageFile.load, 0

    def watching(image):
        nonlocal n_seen
        assert state() == before
        n_seen += 1
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", watching)
    encoder(on_error="nan", n_jobs=n_jobs).transform(paths)
    assert n_seen > 20
    assert state() == before


def test_another_thread_is_heard_meanwhile(clip, monkeypatch, tmp_path):
    """Its own warnings, and none are lost or kept after."""
    picture().save(tmp_path / "good.png")
    decoding, done = threading.Event(), threading.Event()
    load = ImageFile.ImageFile.load

    def waiting(image):
        decoding.set()
        assert done.wait(10)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", waiting)
    with everything_heard() as heard:
        thread = threading.Thread(target=clip.transform, args=([tmp_path / "good.png"],))
        thread.start()
        assert decoding.wait(10)
        warnings.warn("spoken", stacklevel=1)
        done.set()
        thread.join()
    assert [str(warning.message) for warning in heard] == ["spoken"]


class TestWarningsThatAreErrors:
    @pytest.fixture(autouse=True)
    def _errors(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield

    @pytest.mark.parametrize("form", ["path", "bytes"])
    def test_the_error_says_so(self, clip, odd, form):
        image = odd if form == "path" else odd.read_bytes()
        message = "image 1.*: Pillow issued a warning, which a warning filter turns into an error .*Corrupt EXIF"
        with pytest.raises(ImageReadError, match=message) as caught:
            clip.transform([picture(), image])
        assert "damaged" not in str(caught.value)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("error")
            warnings.filterwarnings("always", "1 of 2 images could not be read")
            features = encoder(on_error="nan").transform([picture(), image])
        (only,) = heard
        assert re.search(message, str(only.message))
        assert np.isnan(features).any(axis=1).tolist() == [False, True]

    def test_an_opened_image_is_refused_or_whole(self):
        """Its loading warns as well; what Pillow warned of once, it passes over at the next use."""
        files, n_refused = whole_files(), 0
        # Every seventh case is a TIFF.
        for case in range(5, 1400, 7):
            content = mutated(files, case)[1]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcomes = [pixels(None, content)]
            if outcomes == [None]:
                continue
            image = opened(content)
            outcomes += [pixels(image), pixels(image)]
            assert {None, outcomes[0]} >= set(outcomes[1:]), case
            n_refused += outcomes[1] is None
        assert n_refused > 0

    def test_what_the_error_advises_reads_it(self, clip, odd):
        warnings.filterwarnings("ignore", module="PIL")
        pixels = opened(odd.read_bytes()).convert("RGB")
        np.testing.assert_allclose(clip.transform([odd]), clip.transform([pixels]), atol=1e-6)

    def test_files_without_faults_are_read(self, clip, tmp_path):
        for contents in whole_files().values():
            for i, content in enumerate(contents):
                path = tmp_path / str(i)
                path.write_bytes(content)
                clip.transform([path, content, opened(content)])

    def test_bombs(self, clip):
        bomb = png(10_000, 10_000, 8, 0, b"")
        with pytest.raises(
            ImageReadError, match="Pillow issued a warning.*DecompressionBombWarning"
        ):
            clip.transform([bomb])


def opened(content):
    """An image whose opening was allowed to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content))


def pixels(image, content=None):
    try:
        return to_rgb(image, content, "image 0", 10**6).tobytes()
    except ImageReadError:
        return None


def test_the_orientation_beside_damaged_data_counts(clip, tmp_path):
    """Pixels before the damage, as plain Pillow reads them."""
    content = saved(picture().convert("RGB"), "JPEG", exif=exif(6))
    damaged = bytearray(content)
    # More tags are announced than there are.
    damaged[content.index(b"Exif\0\0") + 15] = 9
    path = tmp_path / "damaged.jpg"
    path.write_bytes(damaged)
    assert opened(bytes(damaged)).getexif().get(0x0112) == 6
    with pytest.warns(UserWarning, match="EXIF"):
        features = clip.transform([path])
    np.testing.assert_allclose(features, clip.transform([content]), atol=1e-6)
