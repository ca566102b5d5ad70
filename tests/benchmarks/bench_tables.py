"""Large tables of features and images: Parquet to Parquet in blocks, and Ray."""

import re
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import CLOCKS, Problem, unit
from PIL import Image

from sktip import CLIPFeatureTransformer, FewShotClassifier

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N_FEATURES, BLOCK, N_PHOTOS = 1_000_000, 8_000, 20_000


def columns(rows):
    flat = pa.array(rows.ravel())
    return pa.table({"rows": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])})


def peak():
    """Peak memory of this process in MB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def bench_features(row, tmp_path):
    data = Problem(n=1, n_shots=2)
    clf = FewShotClassifier(text_features=data.text).fit(data.keys, data.y)
    table = columns(unit(np.random.default_rng(0).normal(size=(BLOCK, 512))))
    with parquet.ParquetWriter(tmp_path / "X.parquet", table.schema, compression="none") as writer:
        for _ in range(N_FEATURES // BLOCK):
            writer.write_table(table)
    weights, offset = clf.coef_.T.astype(np.float32), clf.intercept_.astype(np.float32)
    ways = {
        "ours": lambda X: clf.predict_proba(X).astype(np.float32),
        "product": lambda X: X @ weights + offset,
    }
    # In turns, so that both wait for the disk alike.
    seconds, writers, memory = dict.fromkeys(ways, 0.0), {}, []
    source = parquet.ParquetFile(tmp_path / "X.parquet", pre_buffer=False)
    for batch in source.iter_batches(BLOCK):
        values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
        for name, way in ways.items():
            start = CLOCKS[-1]()
            table = columns(way(values.reshape(batch.num_rows, -1)))
            if name not in writers:
                file = tmp_path / f"{name}.parquet"
                writers[name] = parquet.ParquetWriter(file, table.schema, compression="none")
            writers[name].write_table(table)
            seconds[name] += CLOCKS[-1]() - start
        if Path("/proc/self/status").exists():
            memory.append(peak())
    for writer in writers.values():
        writer.close()
    grown = f", {memory[-1] - memory[len(memory) // 10]:+.0f} MB after a tenth" if memory else ""
    row(
        f"predict_proba of 1,000 classes, {N_FEATURES:,} features in blocks, to Parquet: "
        f"{seconds['ours']:.0f} s",
        "NumPy's product and sum of the same blocks, to Parquet",
        f"{seconds['ours'] / seconds['product']:.2f}x{grown}",
        "1.3x at most",
    )


def bench_ray(row, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from sktip.distributed import EncodeImages

    monkeypatch.setenv("RAY_worker_niceness", "0")
    coarse = np.random.default_rng(0).integers(0, 256, (N_PHOTOS, 16, 16, 3), dtype=np.uint8)
    paths = [str(tmp_path / f"{number}.jpg") for number in range(N_PHOTOS)]
    for path, pixels in zip(paths, coarse, strict=True):
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC).save(path)
    clip = CLIPFeatureTransformer("tiny", device="cpu", n_jobs=2).warm_up()

    def alone():
        table = pa.table({"path": paths, "features": list(clip.transform(paths))})
        parquet.write_table(table, tmp_path / "alone.parquet")

    ray.init(num_cpus=3, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:

        def on_ray(some):
            listed = ray.data.from_items([{"path": path} for path in some]).repartition(20)
            encoded = listed.map_batches(
                EncodeImages,
                fn_constructor_args=[clip.set_params(n_jobs=1)],
                compute=ray.data.ActorPoolStrategy(size=2),
                batch_size=200,
            )
            start = time.perf_counter()
            encoded.write_parquet(str(tmp_path / f"{len(some)}"))
            return time.perf_counter() - start

        # What a job costs before the first image: starting workers, importing, loading the model.
        begin = on_ray(paths[:2])
        ours = on_ray(paths) - begin
    finally:
        ray.shutdown()
    clip.set_params(n_jobs=2)
    start = time.perf_counter()
    alone()
    plain = time.perf_counter() - start
    row(
        f"Ray, two local workers, {N_PHOTOS:,} photos of 256 x 256 to features in Parquet (its start of "
        f"{begin:.0f} s left out)",
        "one process of two threads",
        f"{plain / ours:.2f}x as fast",
        "0.9x",
    )
