"""Datasets: the built-in `digits`, the names that `data=` accepts, and checks before training."""

from __future__ import annotations

from yolo_attn.data.caches import drop_stale_caches
from yolo_attn.data.check import check_data
from yolo_attn.data.digits import make_digits
from yolo_attn.data.locate import find_source, find_split, find_val_images, list_images
from yolo_attn.data.names import DatasetInfo, find_dataset, find_recipe, list_datasets, resolve_data
from yolo_attn.data.summary import DataProblem, DataSummary, SplitSummary, describe_data

__all__ = [
    "DataProblem",
    "DataSummary",
    "DatasetInfo",
    "SplitSummary",
    "check_data",
    "describe_data",
    "drop_stale_caches",
    "find_dataset",
    "find_recipe",
    "find_source",
    "find_split",
    "find_val_images",
    "list_datasets",
    "list_images",
    "make_digits",
    "resolve_data",
]
