"""The images in a folder. Which of them belong to which class is in test_datasets.py."""

import pytest
from image_files import picture

from sktip._images.folders import list_images


def test_images_of_a_folder_are_sorted_and_the_rest_is_one_warning(tmp_path):
    with pytest.raises(ValueError, match="contains no images"):
        list_images(tmp_path)
    for name in ("b/1.png", "a-1.png", "a/2.png", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    names = ["a/2.png", "a-1.png", "a.png", "b/1.png"]
    assert list_images(str(tmp_path)) == [str(tmp_path / name) for name in names]
    (tmp_path / "b/notes.txt").touch()
    with pytest.warns(UserWarning, match="Skipped in .*: 1 files that are not images: 'b/notes"):
        assert len(list_images(tmp_path)) == 4
