"""Whole jobs on a cluster of three nodes: right, complete, and ended where they must be."""

import os

import numpy as np
import pandas as pd
import pytest
import ray
import torch

import sktip._encoding.clip
from sktip import CLIPFeatureTransformer, TipAdapterClassifierCV
from sktip._encoding.session import open_encoder
from sktip.distributed import EncodeImages, PredictImages, count_errors

TWO = {"compute": ray.data.ActorPoolStrategy(size=2), "batch_size": 32}


def dataset(paths, n_blocks=20):
    return ray.data.from_pandas(pd.DataFrame({"path": paths})).repartition(n_blocks)


def in_order(rows, paths):
    """Rows of a job, each exactly once, in the order of the paths."""
    assert sorted(rows["path"]) == sorted(paths)
    return rows.set_index("path").loc[paths]


class Counted(EncodeImages):
    """Writes down in which process and on which node models are loaded, and rows made."""

    def __init__(self, encoder, log):
        load = sktip._encoding.clip._load
        place = f"{ray.get_runtime_context().get_node_id()} {os.getpid()}"

        def counted(*args):
            with open(log, "a") as file:
                file.write(place + "\n")
            return load(*args)

        sktip._encoding.clip._load = counted
        super().__init__(encoder)
        self.place = place

    def __call__(self, batch):
        batch = super().__call__(batch)
        return batch | {"place": np.full(len(batch["features"]), self.place, object)}


class Told(EncodeImages):
    """Adds the precision in which it encodes."""

    def __call__(self, batch):
        batch = super().__call__(batch)
        precision = open_encoder(self.encoder).precision
        return batch | {"precision": np.full(len(batch["features"]), precision, object)}


@pytest.mark.usefixtures("cluster")
class TestJobs:
    def test_every_row_once_and_as_in_one_process(self, broken, clf, expected, tmp_path):
        paths, damaged = broken
        scored = dataset(paths).map_batches(PredictImages, fn_constructor_args=[clf], **TWO)
        scored.write_parquet(str(tmp_path))
        written = ray.data.read_parquet(str(tmp_path))
        assert count_errors(written) == {"images": 1000, "errors": 10}
        rows = in_order(written.to_pandas(), paths)
        features, probabilities = expected
        for name, values in (("features", features), ("probabilities", probabilities)):
            own = np.stack(rows[name])
            assert np.isnan(own[damaged]).all()
            np.testing.assert_allclose(own[~damaged], values[~damaged], atol=1e-5)
        winners = clf.classes_[probabilities.argmax(axis=1)]
        assert (rows["prediction"][~damaged] == winners[~damaged]).all()
        assert rows["error"][damaged].str.startswith("cannot be decoded").all()
        assert rows["error"][~damaged].isna().all()
        assert rows["prediction"][damaged].isna().all()

    def test_each_worker_loads_one_model(self, paths, clip, expected, tmp_path):
        log = tmp_path / "loads"
        encoded = dataset(paths).map_batches(Counted, fn_constructor_args=[clip, str(log)], **TWO)
        rows = in_order(encoded.to_pandas(), paths)
        loads = log.read_text().split("\n")[:-1]
        assert len(loads) == len(set(loads)) == 2
        assert set(rows["place"]) == set(loads)
        # On two nodes.
        assert len({place.split()[0] for place in loads}) == 2
        np.testing.assert_allclose(np.stack(rows["features"]), expected[0], atol=1e-5)

    def test_the_driver_decides_the_precision(self, paths, monkeypatch):
        """Also where the workers have other instructions."""
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False
        )
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")
        clip = CLIPFeatureTransformer("tiny", device="cpu", precision="auto")
        told = dataset(paths[:64]).map_batches(
            Told,
            fn_constructor_args=[clip],
            runtime_env={"env_vars": {"ONEDNN_MAX_CPU_ISA": "AVX2"}},
            **TWO,
        )
        assert set(told.to_pandas()["precision"]) == {"bf16"}

    def test_bytes_and_arrays(self, paths, clip, expected):
        for read, column in (
            (ray.data.read_binary_files, "bytes"),
            (ray.data.read_images, "image"),
        ):
            encoded = read(paths[:100], include_paths=True).map_batches(
                EncodeImages, fn_constructor_args=[clip, column], **TWO
            )
            rows = in_order(encoded.to_pandas(), paths[:100])
            assert set(rows) == {column, "features", "error"}
            assert rows[column].isna().all()
            np.testing.assert_allclose(np.stack(rows["features"]), expected[0][:100], atol=1e-5)

    def test_fit_on_features_that_ray_wrote(self, paths, clip, digits, expected, tmp_path):
        labels = np.tile(digits[1], 5)
        frame = pd.DataFrame({"path": paths, "label": labels})
        ray.data.from_pandas(frame).repartition(10).map_batches(
            EncodeImages, fn_constructor_args=[clip], **TWO
        ).write_parquet(str(tmp_path))
        # By pandas, in any order, without Ray.
        shots = pd.read_parquet(tmp_path).sort_values("path")[:80]
        clf = TipAdapterClassifierCV(clip, input="features", templates="the digit {}")
        clf.fit(np.stack(shots["features"]), shots["label"])
        F, _ = expected
        order = np.argsort(paths)[:80]
        plain = TipAdapterClassifierCV(clip, input="features", templates="the digit {}")
        plain.fit(F[order], labels[order])
        assert (clf.alpha_, clf.beta_) == (plain.alpha_, plain.beta_)
        np.testing.assert_allclose(clf.predict_proba(F), plain.predict_proba(F), atol=1e-4)
        # And back to the cluster, to score images.
        scored = dataset(paths).map_batches(PredictImages, fn_constructor_args=[clf], **TWO)
        rows = in_order(scored.to_pandas(), paths)
        assert (rows["prediction"] == plain.predict(F)).mean() > 0.999

    @pytest.mark.parametrize(
        ("encoder", "column", "message"),
        [
            (
                CLIPFeatureTransformer("local-dir:/nowhere"),
                "path",
                "folder '/nowhere' does not exist",
            ),
            (CLIPFeatureTransformer("tiny"), "image", "no column 'image'; the columns are 'path'"),
        ],
    )
    def test_a_systematic_failure_ends_the_job(self, paths, encoder, column, message):
        encoded = dataset(paths).map_batches(
            EncodeImages, fn_constructor_args=[encoder, column], **TWO
        )
        with pytest.raises(Exception, match=message):
            encoded.materialize()

    def test_the_wrong_width_ends_the_job(self, paths, clf):
        import copy

        narrow = copy.copy(clf)
        for name in ("cache_keys_", "text_features_"):
            setattr(narrow, name, getattr(clf, name)[:, :64])
        scored = dataset(paths).map_batches(PredictImages, fn_constructor_args=[narrow], **TWO)
        with pytest.raises(Exception, match="64"):
            scored.materialize()

    def test_a_missing_mount_ends_the_job(self, paths, clip):
        lost = [path.replace("/tmp", "/mnt/lost") for path in paths]
        encoded = dataset(lost).map_batches(EncodeImages, fn_constructor_args=[clip], **TWO)
        with pytest.raises(Exception, match="100 consecutive images could not be read on"):
            encoded.materialize()
