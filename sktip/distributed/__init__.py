"""Encode and classify images on a cluster, with Ray Data: ``pip install "sktip[ray]"``.

`EncodeImages` and `PredictImages` are classes for ``ray.data.Dataset.map_batches``. Each Ray worker
creates one object of the class, and loads the CLIP model once. Only the parameters and the fitted arrays
are sent to it, not the weights. Ray does the reading, scheduling, retries, back-pressure and writing.
"""

from sktip.distributed._count import count_errors
from sktip.distributed._encode import EncodeImages
from sktip.distributed._predict import PredictImages

__all__ = ["EncodeImages", "PredictImages", "count_errors"]
