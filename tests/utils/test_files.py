"""Files that are written whole or not at all."""

import pytest

from sktip._utils.files import replacing


def test_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.csv"
    with replacing(path, overwrite=False) as beside, open(beside, "w") as file:
        file.write("new")
        assert not path.exists()
        assert beside.endswith("a.csv")
    assert path.read_text() == "new"
    with pytest.raises(RuntimeError), replacing(path, overwrite=True) as beside:
        with open(beside, "w") as file:
            file.write("newer")
        raise RuntimeError
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]


def test_a_file_that_comes_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "a.csv"
    with (
        pytest.raises(FileExistsError, match="a.csv is there already"),
        replacing(path, overwrite=False) as beside,
    ):
        with open(beside, "w") as file:
            file.write("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.csv"]
