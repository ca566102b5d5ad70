"""Files that are read if they are files, and written completely or not at all."""

import os
import stat
import subprocess
import sys
import threading

import pytest

from sktip._cli import load_model
from sktip._utils.paths import write_file
from sktip.datasets import load_image_table, read_detections
from sktip.prompts import read_descriptions

posix = pytest.mark.skipif(os.name == "nt", reason="links, modes and devices of Unix")


@posix
@pytest.mark.parametrize(
    "read",
    [load_image_table, read_descriptions, read_detections, load_model],
    ids=lambda f: f.__name__,
)
def test_what_never_ends_is_not_read(tmp_path, read):
    for name in ("a.csv", "a.json", "a.skops"):
        os.mkfifo(tmp_path / name)
        (tmp_path / f"device-{name}").symlink_to("/dev/zero")
    for path in tmp_path.glob("*.skops" if read is load_model else "*"):
        with pytest.raises(ValueError, match="is not a file, but a folder, device or pipe"):
            read(str(path))


def then(action):
    """Two parts of a file, with something that happens between them."""
    yield b"half"
    action()
    yield b" and half"


def fail():
    raise RuntimeError


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    write_file(path, [b"n", b"ew"], overwrite=False)
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError):
        write_file(path, then(fail), overwrite=True)
    assert path.read_text() == "new"
    write_file(path, then(lambda: path.read_text() == "new" or fail()), overwrite=True)
    assert path.read_text() == "half and half"
    assert names(tmp_path) == ["a.csv"]


def test_a_file_that_comes_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(FileExistsError, match="a.csv already exists"):
        write_file(path, then(lambda: path.write_text("theirs")), overwrite=False)
    assert path.read_text() == "theirs"
    assert names(tmp_path) == ["a.csv"]


def test_names_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("a" * 251 + ".csv")
    write_file(path, [b"new"], overwrite=False)
    assert path.read_text() == "new"


@posix
def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    write_file(tmp_path / "new", [b"new"], overwrite=False)
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


@posix
@pytest.mark.parametrize("mode", [0o600, 0o775])
def test_links_are_followed_and_modes_kept(tmp_path, mode):
    (tmp_path / "data").mkdir()
    (tmp_path / "links").mkdir()
    target, link = tmp_path / "data" / "a.csv", tmp_path / "links" / "b.csv"
    target.write_text("old")
    target.chmod(mode)
    link.symlink_to("../links/c.csv")
    (tmp_path / "links" / "c.csv").symlink_to("../data/a.csv")
    with pytest.raises(FileExistsError, match="b.csv already exists"):
        write_file(link, [b"new"], overwrite=False)
    write_file(link, [b"new"], overwrite=True)
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert link.is_symlink()
    assert names(tmp_path / "data") == ["a.csv"]
    assert names(tmp_path / "links") == ["b.csv", "c.csv"]

    target.unlink()
    write_file(link, [b"newer"], overwrite=False)
    assert target.read_text() == "newer"
    (tmp_path / "dead").symlink_to("none/a.csv")
    with pytest.raises(FileNotFoundError, match="the folder .*none does not exist"):
        write_file(tmp_path / "dead", [b"new"], overwrite=True)


@posix
def test_devices_and_pipes_stay_and_are_written_to(tmp_path):
    pipe, link, read = tmp_path / "pipe", tmp_path / "link", []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
        reader.start()
        write_file(path, [b"n", b"ew"], overwrite=False)
        reader.join()
    assert read == [b"new", b"new"]
    assert pipe.is_fifo()
    assert names(tmp_path) == ["link", "pipe"]

    write_file("/dev/null", [b"new"], overwrite=True)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space left.*/dev/full"):
            write_file("/dev/full", [b"new"], overwrite=False)


@posix
@pytest.mark.parametrize("mode", ["w", "a"])
def test_standard_output_to_a_file(tmp_path, mode):
    """Neither what was in the file nor what is printed before and after is lost."""
    program = (
        "from sktip._utils.paths import write_file\n"
        "print('before')\n"
        "write_file('/dev/stdout', [b'new\\n'], overwrite=False)\n"
        "print('after')"
    )
    path = tmp_path / "a.csv"
    path.write_text("old\n")
    with open(path, mode) as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert path.read_text() == ("old\n" if mode == "a" else "") + "before\nnew\nafter\n"
