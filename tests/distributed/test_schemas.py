"""Jobs over columns of every form: each block that is written has the same schema."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktip.distributed import EncodeImages, PredictImages

ONE = {"compute": ray.data.ActorPoolStrategy(size=1)}


def files(paths):
    """Twelve images; every second null, a damaged file, and the last four all null."""
    values = [path if number % 2 else None for number, path in enumerate(paths[:8])]
    return [*values[:7], "/lost/$x_{}.png", *[None] * 4]


def content(path):
    return None if path is None else Path(path).read_bytes() if Path(path).exists() else b"?"


def as_path(path):
    return path and Path(path)


def mixed(paths):
    """Paths, text and bytes in turns."""
    makes = (content, as_path, lambda path: path)
    return [makes[number // 2 % 3](path) for number, path in enumerate(paths)]


FORMS = {
    "str": lambda paths: paths,
    "Path": lambda paths: [as_path(path) for path in paths],
    "bytes": lambda paths: [content(path) for path in paths],
    "mixed": mixed,
}


def dataset(images, source):
    """Twelve rows in blocks of three, with a column that has nulls in two of them."""
    number = [None if row in (4, 9, 10) else row for row in range(len(images))]
    if source == "pandas":
        frames = [
            pd.DataFrame({"path": images[i : i + 3], "number": number[i : i + 3]})
            for i in range(0, len(images), 3)
        ]
        return ray.data.from_pandas(frames)
    rows = [{"path": image, "number": n} for image, n in zip(images, number, strict=True)]
    return ray.data.from_items(rows, override_num_blocks=4)


def schemas(scored):
    """Schemas of the blocks, without what pandas or Ray add about themselves."""
    tables = [ray.get(ref) for ref in scored.to_arrow_refs()]
    assert sum(table.num_rows for table in tables) == 12
    return [table.drop_columns("number").schema.remove_metadata() for table in tables]


@pytest.mark.usefixtures("cluster")
class TestSchemas:
    @pytest.mark.parametrize(
        ("form", "source", "batch_size"),
        [
            ("str", "pandas", 1),
            ("str", "items", 100),
            ("Path", "pandas", 100),
            ("Path", "items", 1),
            ("bytes", "pandas", 2),
            ("bytes", "items", 1),
            ("mixed", "pandas", 1),
            ("mixed", "items", 2),
        ],
    )
    def test_blocks_of_one_schema(self, clip, paths, form, source, batch_size):
        encoded = dataset(FORMS[form](files(paths)), source).map_batches(
            EncodeImages, fn_constructor_args=[clip], batch_size=batch_size, **ONE
        )
        for schema in schemas(encoded.materialize()):
            assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
                "path": "string",
                "features": "ArrowTensorTypeV2(shape=(128,), dtype=float)",
                "error": "string",
            }

    @pytest.mark.parametrize("form", FORMS)
    def test_written_and_read_again(self, clip, digits, paths, form, tmp_path):
        labels = np.unique(digits[1], return_inverse=True)[1] / 1.0
        probe = LogisticRegression().fit(clip.transform(digits[0][:100]), labels[:100])
        scored = dataset(FORMS[form](files(paths)), "items").map_batches(
            PredictImages,
            fn_constructor_args=[make_pipeline(clip, probe)],
            batch_size=2,
            batch_format="pyarrow",
            **ONE,
        )
        scored.write_parquet(str(tmp_path))
        tables = [pq.read_table(path) for path in tmp_path.glob("*.parquet")]
        assert len({str(table.schema.remove_metadata()) for table in tables}) == 1
        rows = pa.concat_tables(tables).sort_by("number").to_pylist()
        assert len(rows) == 12
        assert str(tables[0].schema.field("number").type) == "int64"
        for row in rows:
            assert (row["prediction"] is None) == (row["error"] is not None)
            assert (row["top_labels"] is None) == (row["error"] is not None)
        assert sum(row["error"] is None for row in rows) == 3
        if form in ("str", "Path"):
            expected = [path for path in files(paths) if path is not None]
            assert sorted(row["path"] for row in rows if row["path"]) == sorted(expected)
