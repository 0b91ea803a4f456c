"""The dataset of a study: checked, downloaded if it is missing, and reduced to its hash and sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yolo_attn.errors import UserError

__all__ = ["Dataset", "read_dataset"]


@dataclass(frozen=True)
class Dataset:
    """Hash and sizes of a dataset.

    Args:
        digest: Hash of classes, labels, and names and sizes of the images; it depends on neither the dataset's path nor
            file dates.
        names: Names of the classes.
        images: Images of the evaluated split.
        instances: Objects in them.
        train_images: Images of the training split.
        summary: Contents and problems in one line.
        image_names: Names of the evaluated images, as in stored matches; empty if their files are unknown.
        most_objects: Largest number of objects of one class in an evaluated image.
    """

    digest: str
    names: Mapping[int, str]
    images: int | None = None
    instances: int | None = None
    train_images: int | None = None
    summary: str = ""
    image_names: Sequence[str] = ()
    most_objects: int = 0


def read_dataset(data: str, task: str, split: str = "val", *, single_class: bool = False) -> Dataset:
    """Check a dataset and return its hash and sizes.

    Args:
        data: The resolved dataset; Ultralytics downloads it if it is missing.
        task: The task of its labels.
        split: The evaluated split.
        single_class: Whether all classes count as one.

    Raises:
        UserError: The dataset cannot be downloaded or cannot be used.
    """
    from yolo_attn.data import check_data, describe_data, drop_stale_caches
    from yolo_attn.host.dataset_files import download_dataset

    splits = tuple(dict.fromkeys(["train", split]))
    summary = check_data(data, task, splits, single_class=single_class)
    if not summary.present:
        download_dataset(data, task)
        summary = check_data(data, task, splits, single_class=single_class)
    if task == "classify" and split not in summary.splits:
        raise UserError(f"data={data}: there is no folder {split} with the images to evaluate; add it, or give split=")
    drop_stale_caches(summary)
    trained, evaluated = summary.splits.get("train"), summary.splits.get(split)
    return Dataset(
        summary.digest or data,  # the content of an archive or a URL is not read
        summary.names,
        evaluated.images if evaluated else None,
        evaluated.instances if evaluated else None,
        trained.images if trained else None,
        describe_data(summary),
        _names(evaluated.files) if evaluated else (),
        evaluated.most if evaluated else 0,
    )


def _names(files: Sequence[str]) -> list[str]:
    """Return the names of images relative to the folder that contains all of them, as `host.recorder` does."""
    if not files:
        return []
    root = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120
    return [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
