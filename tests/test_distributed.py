"""The classes for Ray Data, called as Ray calls them, and one small job."""

import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from sktip import CLIPFeatureTransformer, Crop, FewShotTagger, RejectUnknown, TipAdapterClassifier
from sktip.distributed import EncodeImages, PredictImages, count_errors
from sktip.exceptions import ImageReadError


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray.data") and sys.modules["ray"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory, digits):
    """Files of 40 digits; the fourth is damaged, the sixth missing."""
    folder = tmp_path_factory.mktemp("images")
    paths = [str(folder / f"{number}.png") for number in range(40)]
    for path, image in zip(paths, digits[0], strict=False):
        Image.fromarray(image).save(path)
    (folder / "3.png").write_bytes(b"not an image")
    (folder / "5.png").unlink()
    return paths


@pytest.fixture(scope="module")
def good(paths):
    return np.isin(np.arange(len(paths)), [3, 5], invert=True)


@pytest.fixture(scope="module")
def clf(clip, digits):
    return TipAdapterClassifier(clip, templates="the digit {}").fit(
        digits[0][100:], digits[1][100:]
    )


def column(paths):
    return np.array(paths, dtype=object)


def forms_of(paths, kind):
    """Two images, a null in between, a damaged file and a missing one, in one form or in several."""
    forms = {
        "str": str,
        "Path": Path,
        "bytes": lambda path: Path(path).read_bytes() if Path(path).exists() else b"",
    }
    makes = [forms.get(kind, form) for form in (forms["bytes"], str, Path, forms["bytes"], Path)]
    images = np.empty(5, object)
    for place, (make, number) in enumerate(zip(makes, [0, None, 1, 3, 5], strict=True)):
        images[place] = None if number is None else make(paths[number])
    return images


def block(batch):
    """The block that Ray makes of a batch."""
    from ray.data.block import BlockAccessor

    return BlockAccessor.batch_to_block(batch)


def batch_of(columns, batch_format):
    """Columns as Ray hands them on."""
    return block(columns) if batch_format == "pyarrow" else columns


@pytest.mark.parametrize("caller", [EncodeImages, PredictImages, count_errors])
def test_without_ray(caller, clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ImportError, match=r'needs ray.*\. Run: pip install "sktip\[ray\]"'):
        caller(clip)


@pytest.mark.usefixtures("ray")
class TestEncodeImages:
    def test_features_and_errors(self, clip, paths, good):
        numbers = np.arange(len(paths))
        batch = EncodeImages(clip)({"path": column(paths), "number": numbers})
        assert list(batch) == ["path", "number", "features", "error"]
        assert batch["features"].dtype == np.float32
        expected = clip.transform([path for path, fine in zip(paths, good, strict=True) if fine])
        np.testing.assert_allclose(batch["features"][good], expected, atol=1e-6)
        assert np.isnan(batch["features"][~good]).all()
        errors = batch["error"].to_pylist()
        assert [error is None for error in errors] == good.tolist()
        assert errors[3].startswith("not an image in a supported format")
        assert errors[5].startswith("no such file")

    def test_bytes_and_arrays_are_encoded_and_not_copied(self, clip, digits):
        images = digits[0][:4]
        expected = clip.transform(images)
        ragged = np.empty(4, object)
        ragged[:] = [*images[:3], images[3][:, :8]]
        for own, n_equal in ((np.stack(images), 4), (ragged, 3)):
            batch = EncodeImages(clip, "image")({"image": own, "number": np.arange(4)})
            assert list(batch) == ["image", "number", "features", "error"]
            assert batch["image"].to_pylist() == [None] * 4
            np.testing.assert_allclose(batch["features"][:n_equal], expected[:n_equal], atol=1e-6)
            assert batch["error"].null_count == 4

    def test_a_batch_without_errors_has_the_type_of_one_with_errors(self, clip, paths):
        encode = EncodeImages(clip)
        fine, wrong = (encode({"path": column(paths[i : i + 1])}) for i in (0, 3))
        assert fine["error"].type == wrong["error"].type == "string"
        assert encode({"path": column([])})["features"].shape == (0, 128)

    def test_the_path_of_every_form_is_text(self, clip, paths):
        with open(paths[0], "rb") as file:
            content = file.read()
        unreadable = b"/lost/\xff_$x_{}.png"
        values = [
            Path(paths[0]), paths[1], content, None, float("nan"), pd.NA,
            os.fsdecode(unreadable), np.str_(paths[2]),
        ]  # fmt: skip
        images = np.empty(len(values), object)
        images[:] = values
        batch = EncodeImages(clip)({"path": images})
        escaped = "/lost/\\udcff_$x_{}.png"
        expected = [paths[0], paths[1], *[None] * 4, escaped, paths[2]]
        assert batch["path"].to_pylist() == expected
        read = [error is None for error in batch["error"].to_pylist()]
        assert read == [True, True, True, False, False, False, False, True]
        np.testing.assert_allclose(batch["features"][2], batch["features"][0], atol=1e-6)

    @pytest.mark.parametrize(
        ("kind", "batch_format"),
        [("str", "pyarrow"), ("Path", "numpy"), ("bytes", "pyarrow"), ("mixed", "numpy")],
    )
    def test_one_schema_whatever_is_in_a_batch(self, clip, paths, kind, batch_format):
        images = forms_of(paths, kind)
        encode = EncodeImages(clip)
        schemas = [
            block(encode(batch_of({"path": images[rows]}, batch_format))).schema
            for rows in ([0, 1, 2], [0], [1], [2], [3], [1, 1], [4, 1])
        ]
        assert schemas[0].names == ["path", "features", "error"]
        assert schemas[0].field("path").type == "string"
        assert all(schema == schemas[0] for schema in schemas)

    def test_arrow_batches_keep_the_types_of_other_columns(self, clip, paths):
        pa = pytest.importorskip("pyarrow")
        other = {
            "number": pa.array([1, None, 3]),
            "tags": pa.array([["a"], None, []]),
            "raw": pa.array([None, None, b"x"]),
        }
        table = pa.table({"number": other["number"], "path": paths[:3], **other})
        encode = EncodeImages(clip)
        encoded = encode(table)
        assert encoded.column_names == ["number", "path", "tags", "raw", "features", "error"]
        assert encoded.select(table.column_names) == table
        assert encode(table[1:2]).schema == encode(table).schema == encoded.schema
        plain = block(encode({"path": column(paths[:3])}))
        assert encoded.select(plain.column_names) == plain

    def test_raise(self, clip, paths):
        with pytest.raises(ImageReadError, match="3.png"):
            EncodeImages(clip, on_error="raise")({"path": column(paths)})

    def test_the_callers_on_error_does_not_warn_besides(self, paths, recwarn):
        clip = CLIPFeatureTransformer("tiny", device="cpu", on_error="nan", n_jobs=2)
        batch = EncodeImages(clip)({"path": column(paths)})
        assert batch["error"].null_count == 38
        assert not recwarn

    def test_a_missing_mount_ends_the_job(self, clip, paths):
        encode = EncodeImages(clip, max_errors=30)
        lost = column([f"/mnt/lost/{number}.jpg" for number in range(20)])
        encode({"path": lost})
        # One that can be read, and the count begins again.
        encode({"path": column(paths[:1])})
        encode({"path": lost})
        message = "30 consecutive images.*image 9 .'/mnt/lost/9.jpg'.: no such file.*Check that"
        with pytest.raises(ImageReadError, match=message):
            encode({"path": lost})
        unlimited = EncodeImages(clip, max_errors=None)
        assert unlimited({"path": column(list(lost) * 10)})["error"].null_count == 0

    @pytest.mark.parametrize(
        ("batch", "error", "message"),
        [
            (
                {"image": column(["a"])},
                ValueError,
                "no column 'path'; the columns are 'image'.*column=",
            ),
            (
                {"path": column(["a"]), "error": column([1])},
                ValueError,
                "already has a column 'error'",
            ),
            (pd.DataFrame({"path": ["a"]}), TypeError, "batch_format.*'pyarrow'"),
        ],
    )
    def test_systematic_failures(self, clip, batch, error, message):
        with pytest.raises(error, match=message):
            EncodeImages(clip)(batch)

    @pytest.mark.parametrize(
        ("parameters", "error", "message"),
        [
            ({"encoder": 3}, TypeError, "is not an encoder"),
            ({"on_error": "nan"}, ValueError, "on_error='nan' is unknown; pass 'record'"),
            ({"max_errors": 0}, ValueError, "max_errors=0"),
            ({"encoder": CLIPFeatureTransformer("tinny")}, ValueError, "unknown model_name"),
        ],
    )
    def test_parameters(self, clip, parameters, error, message):
        with pytest.raises(error, match=message):
            EncodeImages(**{"encoder": clip} | parameters)


@pytest.mark.usefixtures("ray")
class TestPredictImages:
    def check(self, batch, expected, classes, good, k=5):
        probabilities = batch["probabilities"]
        np.testing.assert_allclose(probabilities[good], expected, atol=1e-5)
        assert np.isnan(probabilities[~good]).all()
        order = np.argsort(-expected, axis=1)[:, :k]
        for row, read in enumerate(good):
            place = good[:row].sum()
            labels = classes[order[place]].tolist() if read else None
            assert batch["prediction"][row].as_py() == (labels[0] if read else None)
            assert batch["top_labels"][row].as_py() == labels
        top = np.take_along_axis(expected, order, axis=1)
        np.testing.assert_allclose(batch["top_probabilities"][good], top, atol=1e-5)
        assert np.isnan(batch["features"][~good]).all()
        assert batch["error"].is_null().to_pylist() == good.tolist()

    def test_as_the_classifier_says(self, clf, paths, good):
        batch = PredictImages(clf)({"path": column(paths)})
        expected = clf.predict_proba([p for p, fine in zip(paths, good, strict=True) if fine])
        self.check(batch, expected, clf.classes_, good)
        assert list(batch)[:3] == ["path", "features", "prediction"]

    def test_every_form_of_estimator(self, clip, clf, digits, digit_features, paths, good):
        F, labels = digit_features
        codes = np.unique(labels, return_inverse=True)[1]
        of_features = TipAdapterClassifier(clip, input="features").fit(F[100:], labels[100:])
        search = GridSearchCV(
            TipAdapterClassifier(clip, input="features", class_names=np.unique(labels).tolist()),
            {"alpha": [1, 3]},
            cv=2,
        ).fit(F[60:], codes[60:])
        X = clip.transform([p for p, fine in zip(paths, good, strict=True) if fine])
        for estimator, classifier in (
            (of_features, of_features),
            (search, search),
            (make_pipeline(clip, of_features), of_features),
            (make_pipeline(clip, search.best_estimator_), search),
        ):
            batch = PredictImages(estimator, top_k=3)({"path": column(paths)})
            self.check(batch, classifier.predict_proba(X), classifier.classes_, good, k=3)
        probe = LogisticRegression(C=100).fit(F[60:], labels[60:])
        batch = PredictImages(make_pipeline(clip, probe))({"path": column(paths)})
        self.check(batch, probe.predict_proba(X), probe.classes_, good)

    def test_unknown_images_are_rejected(self, clip, digits, paths, good):
        shots = [row for row in range(60, 200) if digits[1][row] in ("one", "four", "seven")]
        clf = RejectUnknown(TipAdapterClassifier(clip, templates="the digit {}"), quantile=0.2)
        clf.fit([digits[0][row] for row in shots], digits[1][shots])
        batch = PredictImages(clf, outputs=["prediction", "top_labels"])({"path": column(paths)})
        expected = clf.predict([p for p, fine in zip(paths, good, strict=True) if fine])
        answers = np.array(batch["prediction"].to_pylist(), dtype=object)
        assert answers[good].tolist() == expected.tolist()
        assert "unknown" in answers
        assert set(batch["top_labels"][0].as_py()) == {"one", "four", "seven"}

    def test_tags(self, clip, digits, paths, good):
        y = np.column_stack([np.isin(digits[1], own) for own in (["one", "four"], ["zero"])])
        tagger = FewShotTagger(clip, class_names=["a line", "a loop"]).fit(digits[0], y.astype(int))
        batch = PredictImages(tagger)({"path": column(paths)})
        read = [path for path, fine in zip(paths, good, strict=True) if fine]
        answers = [row for row in batch["prediction"].to_pylist() if row is not None]
        assert answers == tagger.predict(read).tolist()
        p = tagger.predict_proba(read)
        np.testing.assert_allclose(batch["probabilities"][good], p, atol=1e-5)
        top = [row[0] for row in batch["top_labels"].to_pylist() if row is not None]
        assert top == tagger.tags_[p.argmax(axis=1)].tolist()

    def test_some_outputs(self, clip, digit_features, paths):
        svc = make_pipeline(clip, LinearSVC().fit(*digit_features))
        batch = PredictImages(svc, outputs=["prediction"])({"path": column(paths)})
        assert list(batch) == ["path", "prediction", "error"]
        with pytest.raises(ValueError, match="no probabilities.*outputs="):
            PredictImages(svc)

    def test_one_schema_whatever_is_in_a_batch(self, clf, paths):
        images = forms_of(paths, "mixed")
        predict = PredictImages(clf)
        schemas = [
            block(predict({"path": images[rows]})).schema
            for rows in ([0, 1, 2], [0], [1], [2], [3], [1, 1], [4, 1])
        ]
        assert schemas[0].field("prediction").type == "string"
        assert schemas[0].field("top_labels").type.value_type == "string"
        assert all(schema == schemas[0] for schema in schemas)

    @pytest.mark.parametrize(
        ("labels", "arrow"),
        [
            (np.array([0.0, 1.0, 7.0]), "double"),
            (np.array([1, 2, 2**63], np.uint64), "uint64"),
            (np.array([False, True]), "bool"),
            (np.array(["a", "$b_{}", "c%"]), "string"),
        ],
        ids=str,
    )
    def test_labels_of_every_type_are_null_where_nothing_was_read(
        self, clip, digit_features, paths, labels, arrow
    ):
        F = digit_features[0][:60]
        probe = LogisticRegression(C=100).fit(F, labels[np.arange(60) % len(labels)])
        predict = PredictImages(make_pipeline(clip, probe), top_k=2)
        batch = predict({"path": column([paths[0], paths[3], None, paths[1]])})
        assert str(batch["prediction"].type) == arrow
        assert str(batch["top_labels"].type.value_type) == arrow
        X = clip.transform([paths[0], paths[1]])
        winners = probe.predict(X).tolist()
        assert batch["prediction"].to_pylist() == [winners[0], None, None, winners[1]]
        top = probe.classes_[np.argsort(-probe.predict_proba(X), axis=1)[:, :2]].tolist()
        assert batch["top_labels"].to_pylist() == [top[0], None, None, top[1]]
        nothing = predict({"path": column([None])})
        assert block(nothing).schema == block(batch).schema
        assert nothing["top_labels"].to_pylist() == nothing["prediction"].to_pylist() == [None]

    @pytest.mark.parametrize("steps", [[], [StandardScaler()]], ids=["direct", "scaled"])
    def test_set_output(self, digits, paths, steps, recwarn):
        images, labels = digits
        last = LogisticRegression() if steps else TipAdapterClassifier()
        pipe = make_pipeline(CLIPFeatureTransformer("tiny", device="cpu"), *steps, last)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no text prior")
            pipe.set_output(transform="pandas").fit(images[100:], labels[100:])
        recwarn.clear()
        readable = [paths[0], paths[1], paths[2]]
        batch = PredictImages(pipe)({"path": column([*readable, paths[3]])})
        assert batch["prediction"].to_pylist() == [*pipe.predict(readable), None]
        np.testing.assert_allclose(
            batch["probabilities"][:3], pipe.predict_proba(readable), atol=1e-5
        )
        assert not [str(warning.message) for warning in recwarn]

    @pytest.mark.parametrize(
        ("estimator", "error", "message"),
        [
            (lambda clip, F, y: TipAdapterClassifier(clip), NotFittedError, "not fitted"),
            (
                lambda clip, F, y: LogisticRegression().fit(F, y),
                ValueError,
                r"LogisticRegression has no encoder.*make_pipeline\(CLIPFeatureTransformer",
            ),
            (
                lambda clip, F, y: make_pipeline(clip, LogisticRegression().fit(F[:, :7], y)),
                ValueError,
                "128 features, but LogisticRegression is expecting 7",
            ),
        ],
    )
    def test_systematic_failures(self, clip, digit_features, estimator, error, message):
        with pytest.raises(error, match=message):
            PredictImages(estimator(clip, *digit_features))

    def test_another_model_than_in_fit(self, clf, folder):
        from sklearn.base import clone

        other = clone(clf).fit([np.zeros((4, 4), np.uint8)] * 2, ["one", "two"])
        other.set_params(encoder=CLIPFeatureTransformer(f"local-dir:{folder}", device="cpu"))
        with pytest.raises(ValueError, match="not the model that this .* was fitted with"):
            PredictImages(other)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"outputs": "features"}, "outputs='features' is not valid; pass a list of"),
            ({"outputs": ["label"]}, "some of features, prediction"),
            ({"top_k": 0}, "top_k=0"),
        ],
    )
    def test_parameters(self, clf, parameters, message):
        with pytest.raises(ValueError, match=message):
            PredictImages(clf, **parameters)


def test_crops_are_a_column_of_objects(ray, clf, paths):
    crops = np.array([Crop(paths[0], (0, 0, 0.5, 1)), Crop(paths[5], (0, 0, 1, 1))], object)
    batch = PredictImages(clf)({"path": crops})
    assert batch["path"].to_pylist() == [paths[0], paths[5]]
    assert batch["prediction"].to_pylist() == [*clf.predict(crops[:1]), None]


def test_a_job(ray, clf, paths, good, tmp_path):
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        scored = ray.data.from_items([{"path": path} for path in paths]).map_batches(
            PredictImages,
            fn_constructor_args=[clf],
            compute=ray.data.ActorPoolStrategy(size=1),
            batch_size=8,
        )
        scored.write_parquet(str(tmp_path))
        written = ray.data.read_parquet(str(tmp_path))
        assert count_errors(written) == {"images": 40, "errors": 2}
        rows = written.to_pandas().set_index("path").loc[paths]
    finally:
        ray.shutdown()
    expected = clf.predict_proba([p for p, fine in zip(paths, good, strict=True) if fine])
    np.testing.assert_allclose(np.stack(rows["probabilities"])[good], expected, atol=1e-5)
    assert rows["error"].isna().tolist() == good.tolist()
