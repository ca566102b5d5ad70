"""The file of a detector: read as crops, and written back with classes."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image

from sktip._cli import main
from sktip.datasets import read_detections, write_detections


def box(category, conf, *bbox, **more):
    return {"category": category, "conf": conf, "bbox": list(bbox), **more}


@pytest.fixture
def camera(tmp_path):
    """Four photos of which one has two animals, one a person, one nothing, and one is missing; and the file."""
    rng = np.random.default_rng(0)
    (tmp_path / "day 1").mkdir()
    for name in ("a.png", "b.png", "day 1/c.png"):
        photo = np.zeros((60, 80, 3), np.uint8)
        photo[:, 40:] = rng.integers(256, size=(60, 40, 3))
        Image.fromarray(photo).save(tmp_path / name)
    content = {
        "info": {"detector": "md_v5a.0.0.pt", "format_version": "1.3"},
        "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {"7": "fox"},
        "images": [
            {
                "file": "a.png",
                "detections": [
                    box("1", 0.91, 0, 0.25, 0.5, 0.5, classifications=[["7", 0.8]]),
                    box("1", 0.1, 0.4, 0.4, 0.1, 0.1),
                    box("1", 0.5, 0.5, 0, 0.5, 1),
                ],
                "max_detection_conf": 0.91,
            },
            {"file": "b.png", "detections": [box("2", 0.8, 0.1, 0.1, 0.3, 0.3)]},
            {"file": "day 1\\c.png", "detections": [box("1", 0.15, 0, 0, 1, 1)]},
            {"file": "d.png", "detections": None, "failure": "Failure image access"},
            {"file": "missing.png", "detections": [box("1", 0.9, 0.5, 0.5, 0.25, 0.25)]},
        ],
    }
    path = tmp_path / "md.json"
    path.write_text(json.dumps(content))
    return path, content


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A classifier of plain and of noisy pictures, in a file."""
    rng = np.random.default_rng(1)
    pictures = [np.zeros((40, 40, 3), np.uint8) for _ in range(4)]
    pictures += [rng.integers(256, size=(40, 40, 3), dtype=np.uint8) for _ in range(4)]
    root = tmp_path_factory.mktemp("plain")
    for i, picture in enumerate(pictures):
        folder = root / "photos" / ("plain" if i < 4 else "noise")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{i}.png")
    arguments = [root / "photos", "--output", root / "model.skops", "--model", "tiny", "--quiet"]
    assert main(["fit", *map(str, arguments)]) == 0
    return root / "model.skops"


def test_boxes_become_crops(camera):
    path, _ = camera
    found = read_detections(path)
    assert [crop.box for crop in found.data] == [
        (0, 0.25, 0.5, 0.75),
        (0.5, 0, 1, 1),
        pytest.approx((0.1, 0.1, 0.4, 0.4)),
        (0.5, 0.5, 0.75, 0.75),
    ]
    assert found.target.tolist() == ["animal", "animal", "person", "animal"]
    assert found.confidence.tolist() == [0.91, 0.5, 0.8, 0.9]
    assert found.groups.tolist() == [0, 0, 1, 4]
    assert found.empty.tolist() == [False, False, True, False, False]
    assert found.failures == {3: "Failure image access"}
    assert os.path.isfile(found.photos[2])
    assert "4 boxes in 3 of 5 photos" in found.DESCR
    animals = read_detections(path, categories=["animal"], min_confidence=0.6, margin=0.1)
    assert animals.groups.tolist() == [0, 4]
    assert animals.data[0].margin == 0.1


def test_coco_has_boxes_in_pixels(tmp_path):
    Image.new("RGB", (80, 60)).save(tmp_path / "a.png")
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": 80, "height": 60}],
        "annotations": [
            {"image_id": 5, "category_id": 3, "bbox": [8, 6, 40, 30]},
            {"image_id": 5, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.1},
        ],
        "categories": [{"id": 3, "name": "bolt"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    found = read_detections(tmp_path / "coco.json")
    assert found.target.tolist() == ["bolt"]
    assert found.data[0].box == pytest.approx((0.1, 0.1, 0.6, 0.6))
    write_detections(found, ["M6"], [0.75], tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["detection_categories"] == {"3": "bolt"}
    assert written["images"][0]["detections"][0]["classifications"] == [["0", 0.75]]


def test_classes_are_written_back_and_nothing_else_changes(camera, tmp_path):
    path, content = camera
    found = read_detections(path, categories=["animal"])
    classes = [f"class {i}" for i in range(7)]
    shares = np.tile([0.3, 0.02, 0.4, 0.08, 0.1, 0.06, 0.04], (3, 1))
    shares[2] = np.nan
    write_detections(found, classes, shares, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["classification_categories"] == {str(i): f"class {i}" for i in range(7)}
    boxes = written["images"][0]["detections"]
    expected = [["2", 0.4], ["0", 0.3], ["4", 0.1], ["3", 0.08], ["5", 0.06]]
    assert [one.pop("classifications", None) for one in boxes] == [expected, None, expected]
    assert "classifications" not in written["images"][4]["detections"][0]
    del content["images"][0]["detections"][0]["classifications"]
    assert written["images"] == content["images"]
    assert written["info"].pop("classifier") == "sktip"
    assert written["info"] == content["info"]
    # And it can be read again.
    assert read_detections(tmp_path / "out.json").groups.tolist() == [0, 0, 1, 4]
    with pytest.raises(FileExistsError):
        write_detections(found, classes, shares, tmp_path / "out.json")


def test_predict_boxes_as_a_command(camera, model, capsys):
    path, _ = camera
    folder = path.parent
    arguments = ["predict", str(model), str(folder), "--detections", str(path), "--quiet"]
    assert main([*arguments, "--output", str(folder / "out.csv")]) == 3
    printed = capsys.readouterr()
    assert "4 boxes in 3 of 5 photos" in printed.err
    assert printed.err.count("not read: ") == 2
    with open(folder / "out.csv") as file:
        rows = list(csv.DictReader(file))
    assert [os.path.basename(row["path"]) for row in rows] == [
        "a.png", "a.png", "b.png", "c.png", "d.png", "missing.png",
    ]  # fmt: skip
    assert [row["prediction"] for row in rows] == ["plain", "noise", "person", "empty", "", ""]
    assert rows[1]["box"] == "0.5 0 1 1"
    assert rows[2]["probability"] == "0.8"
    assert rows[4]["error"] == "Failure image access"
    assert "no such file" in rows[5]["error"]
    assert main([*arguments, "--output", str(folder / "out.json")]) == 3
    written = json.loads((folder / "out.json").read_text())
    names = written["classification_categories"]
    tops = [
        names[one["classifications"][0][0]]
        for image in written["images"]
        for one in image["detections"] or ()
        if "classifications" in one
    ]
    assert tops == ["plain", "noise", "person"]


def test_a_file_without_boxes_is_all_empty(camera, model, capsys):
    path, content = camera
    for image in content["images"]:
        image.update(detections=[], failure=None)
    path.write_text(json.dumps(content))
    output = path.parent / "out.csv"
    arguments = ["predict", model, path.parent, "--detections", path, "--output", output]
    assert main([*map(str, arguments), "--quiet"]) == 0
    assert output.read_text().count(",empty,") == 5


def test_damaged_boxes_are_left_out_and_named(camera):
    path, content = camera
    content["images"][1]["detections"] = [
        box("2", 0.9, 0.1, 0.1, 0, 0.3),
        box("2", 0.9, 1.2, 0.1, 0.1, 0.1),
        box("2", 0.9, 0.1, 0.1, 0.1),
        box("9", 0.9, 0.1, 0.1, 0.1, 0.1),
        box("2", None, 0.1, 0.1, 0.1, 0.1),
        "box",
        box("2", 0.9, 0.2, 0.2, 0.1, float("nan")),
    ]
    content["images"].append({"detections": []})
    path.write_text(json.dumps(content))
    with pytest.warns(
        UserWarning, match=r"8 boxes or photos.*'b.png', box \[0.1, .* has no area"
    ) as seen:
        found = read_detections(path)
    assert len(seen) == 1
    assert found.groups.tolist() == [0, 0, 4]
    assert not found.empty[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged, or not a JSON file"),
        ('{"images": [', "damaged, or not a JSON file"),
        ("[" * 100_000, "damaged, or not a JSON file"),
        ("[]", "neither MegaDetector's"),
        ('{"images": [], "annotations": {}}', "neither MegaDetector's"),
        ('{"images": [1], "annotations": [], "categories": []}', "an entry of COCO's"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, message):
    path = tmp_path / "md.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"md.json.*{message}"):
        read_detections(path)


def test_what_is_wrong_is_said(camera, tmp_path):
    path, _ = camera
    with pytest.raises(FileNotFoundError, match="none of the 5 photos .*pass folder"):
        read_detections(path, folder=tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_detections(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"no category 'animals' \(there is 'animal'\)"):
        read_detections(path, categories=["animals"])
    found = read_detections(path)
    with pytest.raises(ValueError, match="for 4 boxes"):
        write_detections(found, ["a", "b"], [0.1, 0.9], tmp_path / "out.json")
