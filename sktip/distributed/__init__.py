"""Encoding and scoring of more images than one machine should read, on Ray Data.

`EncodeImages` and `PredictImages` are classes for ``ray.data.Dataset.map_batches``. Each worker of
Ray makes one object of the class, and with it loads the CLIP once; what is sent to it are the
parameters and the fitted arrays, never the weights. Reading, scheduling, retries, back-pressure
and writing are Ray's. ``pip install "sktip[ray]"``.
"""

from sktip.distributed._count import count_errors
from sktip.distributed._encode import EncodeImages
from sktip.distributed._predict import PredictImages

__all__ = ["EncodeImages", "PredictImages", "count_errors"]
