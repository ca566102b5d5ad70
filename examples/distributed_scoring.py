"""
Millions of images on Ray Data
==============================

Encodes and classifies a folder of images, or a Parquet file with a column ``path``, and writes
Parquet files with features and predictions. A run that is stopped or killed goes on where it was:
what is written is not encoded again.

On this machine, with scikit-learn's digits and the bundled model, then with images of yours::

    python examples/distributed_scoring.py --out digits_scored
    python examples/distributed_scoring.py photos --classifier dogs.joblib --out scored

On a cluster of Ray, with a GPU for each of 32 workers. All machines see images and output under the
same paths, and have sktip installed::

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
    parser.add_argument("--classifier", help="a fitted classifier of images, by joblib.dump")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--address", help="of a cluster, such as auto; otherwise this machine")
    parser.add_argument("--workers", type=int, default=1, help="each loads the model once")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker, or a part of one")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument(
        "--block", type=int, default=4096, help="images in a piece of work, and in a file"
    )
    args = parser.parse_args(arguments)
    if bool(args.images) != bool(args.classifier):
        parser.error("images and --classifier go together; without both, digits are scored")
    return args


def digits(folder):
    """Write scikit-learn's digits as images, and a classifier fitted on ten of each."""
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
    """Data set of paths, in pieces of so many."""
    if images.is_dir():
        paths = sorted(
            str(path.resolve()) for path in images.rglob("*") if path.suffix.lower() in SUFFIXES
        )
        if not paths:
            raise SystemExit(f"{str(images)!r} holds no images.")
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

    # Rows of another classifier would not go together with those that are there.
    known, identity = out / "classifier.sha256", sha256(Path(file).read_bytes()).hexdigest()
    if known.exists() and known.read_text() != identity:
        raise SystemExit(f"{str(out)!r} holds results of another classifier; give another --out.")
    known.write_text(identity)

    if args.address:
        ray.init(address=args.address)
    else:
        # Two more than there are workers, for reading and writing, which cost next to nothing.
        ray.init(address="local", num_cpus=args.workers + 2, include_dashboard=False)
    # Ray writes down which paths are done, and leaves them out of the next run.
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
