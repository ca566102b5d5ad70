"""
Millions of images on Ray Data
==============================

Encode and classify a folder of images, or a Parquet file with a column ``path``, and write Parquet files
with features and predictions. An interrupted run can be resumed: images that were written are not
encoded again.

On this machine, with scikit-learn's digits and the bundled model, then with your own images::

    python examples/distributed_scoring.py --out digits_scored
    python examples/distributed_scoring.py photos --classifier dogs.joblib --out scored

On a Ray cluster, with 32 workers that have one GPU each. All machines need sktip, and the images and the
output under the same paths::

    python examples/distributed_scoring.py /mnt/paths.parquet --classifier dogs.joblib \\
        --out /mnt/scored --address auto --workers 32 --gpus 1
"""

import argparse
from hashlib import sha256
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image
from ray.data.checkpoint import CheckpointConfig

from sktip import CLIPFeatureTransformer, TipAdapterClassifierCV
from sktip.datasets import load_digit_images
from sktip.distributed import PredictImages, count_errors

SUFFIXES = {".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1])
    parser.add_argument("images", nargs="?", help="a folder, or a Parquet file of unique paths")
    parser.add_argument(
        "--classifier", help="file of a fitted classifier of images, from joblib.dump"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--address", help="address of a cluster, such as auto; default: this machine"
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="number of workers; each loads the model once"
    )
    parser.add_argument(
        "--gpus", type=float, default=0, help="GPUs per worker, or a fraction of one"
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--block", type=int, default=4096, help="images per block of work, and per file"
    )
    args = parser.parse_args(arguments)
    if bool(args.images) != bool(args.classifier):
        parser.error("pass both images and --classifier, or none of them to score the digits")
    return args


def digits(folder):
    """Write scikit-learn's digits as images, and a classifier fitted on ten shots per class."""
    file = folder / "digits.joblib"
    if file.exists():
        return folder, file
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = load_digit_images(return_X_y=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:04}.png")
    shots = np.concatenate([np.flatnonzero(labels == name)[:10] for name in set(labels)])
    clf = TipAdapterClassifierCV(CLIPFeatureTransformer("tiny"), templates="the digit {}")
    joblib.dump(clf.fit(images[shots], labels[shots]), file)
    return folder, file


def read_paths(images, out, block):
    """Data set of paths, in blocks of the given size."""
    if images.is_dir():
        paths = sorted(
            str(path.resolve()) for path in images.rglob("*") if path.suffix.lower() in SUFFIXES
        )
        if not paths:
            raise SystemExit(f"{str(images)!r} contains no images.")
        images = out / "paths.parquet"
        pq.write_table(pa.table({"path": paths}), images)
    paths = ray.data.read_parquet(str(images.resolve())).select_columns("path")
    return paths.repartition(target_num_rows_per_block=block)


def main(arguments=None):
    args = parse(arguments)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    images, file = (args.images, args.classifier) if args.images else digits(out / "digits")
    clf = joblib.load(file)

    # Results of different classifiers must not be mixed.
    known, identity = out / "classifier.sha256", sha256(Path(file).read_bytes()).hexdigest()
    if known.exists() and known.read_text() != identity:
        raise SystemExit(
            f"{str(out)!r} contains results of another classifier; pass another --out."
        )
    known.write_text(identity)

    if args.address:
        ray.init(address=args.address)
    else:
        # Two more CPUs than workers, for reading and writing, which need little time.
        ray.init(address="local", num_cpus=args.workers + 2, include_dashboard=False)
    # Ray records the paths that are done, and skips them in the next run.
    context = ray.data.DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        id_column="path", checkpoint_path=str(out / "done"), delete_checkpoint_on_success=False
    )
    scored = read_paths(Path(images), out, args.block).map_batches(
        PredictImages,
        fn_constructor_args=[clf],
        compute=ray.data.ActorPoolStrategy(size=args.workers),
        batch_size=args.batch_size,
        num_gpus=args.gpus,
    )
    scored.write_parquet(str(out / "rows"))

    context.checkpoint_config = None
    counts = count_errors(ray.data.read_parquet(str(out / "rows")))
    print(f"{counts['images']} images scored, {counts['errors']} of them could not be read.")
    ray.shutdown()


if __name__ == "__main__":
    main()
