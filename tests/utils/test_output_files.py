"""Files that are written completely or not at all."""

import pytest

from sktip._utils.output_files import replacing


def write(path, text, *, overwrite, then=lambda: None):
    with replacing(path, overwrite=overwrite) as beside, open(beside, "w") as file:
        file.write(text)
        then()


def fail():
    raise RuntimeError


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    write(path, "new", overwrite=False)
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError):
        write(path, "newer", overwrite=True, then=fail)
    assert path.read_text() == "new"
    write(path, "newer", overwrite=True, then=lambda: path.read_text() == "new" or fail())
    assert path.read_text() == "newer"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_comes_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(FileExistsError, match="a.csv already exists"):
        write(path, "mine", overwrite=False, then=lambda: path.write_text("theirs"))
    assert path.read_text() == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]
