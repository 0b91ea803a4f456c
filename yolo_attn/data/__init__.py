"""Datasets: the built-in `digits`, the names that `data=` takes, and checking a dataset before training on it."""

from __future__ import annotations

from yolo_attn.data.check import (
    DataSummary,
    Fault,
    SplitSummary,
    check_data,
    describe_data,
    drop_stale_caches,
    find_source,
    find_val_images,
    list_images,
)
from yolo_attn.data.digits import make_digits
from yolo_attn.data.names import DatasetInfo, find_recipe, list_datasets, resolve_data

__all__ = [
    "DataSummary",
    "DatasetInfo",
    "Fault",
    "SplitSummary",
    "check_data",
    "describe_data",
    "drop_stale_caches",
    "find_recipe",
    "find_source",
    "find_val_images",
    "list_datasets",
    "list_images",
    "make_digits",
    "resolve_data",
]
