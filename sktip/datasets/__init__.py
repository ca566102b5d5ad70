"""Load paths and labels of your own photos, boxes of detectors, the paper's eleven data sets, and images for examples.

Nothing is downloaded. A loader of files opens no image: it returns paths, labels and class names.
"""

from sktip.datasets._detections import read_detections, write_detections
from sktip.datasets._digits import load_digit_images
from sktip.datasets._drawings import load_drawings
from sktip.datasets._folder import load_image_folder
from sktip.datasets._paper import (
    load_caltech101,
    load_dataset,
    load_dtd,
    load_eurosat,
    load_fgvc_aircraft,
    load_food101,
    load_imagenet,
    load_oxford_flowers,
    load_oxford_pets,
    load_stanford_cars,
    load_sun397,
    load_ucf101,
)
from sktip.datasets._table import load_image_table

__all__ = [
    "load_caltech101",
    "load_dataset",
    "load_digit_images",
    "load_drawings",
    "load_dtd",
    "load_eurosat",
    "load_fgvc_aircraft",
    "load_food101",
    "load_image_folder",
    "load_image_table",
    "load_imagenet",
    "load_oxford_flowers",
    "load_oxford_pets",
    "load_stanford_cars",
    "load_sun397",
    "load_ucf101",
    "read_detections",
    "write_detections",
]
