"""Damaged files make Pillow and libtiff talk; a user hears of each call at most once."""

import contextlib
import io
import logging
import pickle
import re
import sys
import threading
import warnings

import pytest
from fuzz_files import mutated
from image_files import picture, png, saved, tiff, whole_files
from joblib import Parallel, delayed
from PIL import Image
from sklearn.utils.parallel import Parallel as SklearnParallel
from sklearn.utils.parallel import delayed as sklearn_delayed

from sktip import CLIPFeatureTransformer
from sktip._images.quiet import quiet

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="libtiff cannot be silenced in Pillow's builds for Windows"
)


def warn(text="spoken"):
    warnings.warn(text, stacklevel=1)


@pytest.fixture(scope="module")
def damaged():
    """Files about which there is something to say, one by one, and two bombs."""
    files = whole_files()
    # Every seventh case is a TIFF.
    contents = [mutated(files, case)[1] for case in range(5, 1400, 7)]
    too_many = tiff({256: (4, 4), 257: (4, 4), 277: (4, 60_000)}, b"", 273)
    return [*contents, too_many, png(10_000, 10_000, 8, 0, b""), png(10_001, 10_000, 8, 0, b"")]


@pytest.fixture
def paths(damaged, tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(len(damaged))]
    for path, content in zip(paths, damaged, strict=True):
        path.write_bytes(content)
    return paths


@contextlib.contextmanager
def everything_heard():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        yield heard


def decode_plainly(contents):
    for content in contents:
        with contextlib.suppress(Exception), Image.open(io.BytesIO(content)) as image:
            image.load()


def test_plain_pillow_talks(damaged, capfd, caplog):
    with everything_heard() as heard:
        decode_plainly(damaged)
    assert len(heard) > 50
    assert any(warning.category is Image.DecompressionBombWarning for warning in heard)
    assert "More samples per pixel than can be decoded" in caplog.text
    assert len(capfd.readouterr().err.splitlines()) > 5


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_one_warning_a_call(paths, capfd, caplog, n_jobs):
    encoder = CLIPFeatureTransformer("tiny", device="cpu", on_error="nan", n_jobs=n_jobs)
    encoder.transform([picture()])
    capfd.readouterr()
    with everything_heard() as heard:
        encoder.transform(paths)
    (only,) = heard
    assert re.match(rf"\d+ of {len(paths)} images could not be read", str(only.message))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_warnings_that_are_errors_do_not_refuse_an_image(clip, tmp_path):
    path = tmp_path / "odd.jpg"
    whole = saved(picture().convert("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="Corrupt EXIF"):
            Image.open(path).getexif()
        clip.transform([path])


def test_others_are_heard(damaged, capfd, caplog):
    """In the same thread afterwards, in another at the same time, in workers of joblib."""
    decoding, done = threading.Event(), threading.Event()

    def decode():
        with quiet():
            warn("not spoken")
            decoding.set()
            done.wait(10)

    with everything_heard() as heard:
        thread = threading.Thread(target=decode)
        thread.start()
        decoding.wait(10)
        warn()
        logging.getLogger("PIL.TiffImagePlugin").error("logged")
        done.set()
        thread.join()
        warn()
    assert [str(warning.message) for warning in heard] == ["spoken", "spoken"]
    assert caplog.messages == ["logged"]
    with everything_heard():
        decode_plainly(damaged)
    assert len(capfd.readouterr().err.splitlines()) > 5


def test_an_error_ends_the_silence():
    with pytest.raises(KeyError), quiet():
        raise KeyError
    with pytest.warns(UserWarning, match="spoken"):
        warn()


def test_the_filter_is_there_once_and_travels():
    """Joblib sends the filters to its workers, scikit-learn makes regular expressions of them."""
    with warnings.catch_warnings():
        for _ in range(5):
            warnings.simplefilter("ignore", ResourceWarning)
            with quiet():
                pass
        ours = warnings.filters[0]
        assert sum(item is ours for item in warnings.filters) == 1
        assert pickle.loads(pickle.dumps(ours))[1] is ours[1]
        assert not re.match(ours[1].pattern, "spoken")
        assert Parallel(n_jobs=2)(delayed(len)(word) for word in ("a", "bc")) == [1, 2]
        many = SklearnParallel(n_jobs=2)(sklearn_delayed(len)(word) for word in ("a", "bc"))
        assert many == [1, 2]
