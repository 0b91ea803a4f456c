"""Locations of a dataset's images."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.data.data_yaml import DataYaml
from yolo_attn.data.labels import find_images
from yolo_attn.data.names import list_datasets, resolve_data
from yolo_attn.errors import UserError

__all__ = ["find_source", "find_val_images", "list_images"]


def find_source(value: str) -> str:
    """Return the location of images; a dataset's name, if no such path exists, means its validation images."""
    known = {name.casefold() for name in list_datasets()}
    return str(find_val_images(value)) if value.casefold() in known and not Path(value).exists() else value


def find_val_images(name: str) -> Path:
    """Return the folder or list file of a dataset's validation images.

    Args:
        name: `digits`, or another name that `data=` accepts.

    Raises:
        UserError: There is no such dataset, or its images are not on this machine.
    """
    data = resolve_data(name)
    class_folders = {entry.name for entry in list_datasets().values() if entry.task == "classify"}  # have no data YAML
    found = None if data in class_folders else DataYaml.find(data)
    if found is None:
        raise UserError(f"{name} has no data YAML, so the location of its images is unknown; give their folder")
    source = found.sources("val")[0]
    if not source.exists():
        raise UserError(f"the images of {name} are not at {source}; Ultralytics downloads them when it trains")
    return source


def list_images(data: str, split: str) -> list[str]:
    """Return the image files of a split, sorted; empty when the dataset is not on this machine.

    Args:
        data: The return value of `resolve_data`.
        split: A split such as "val".

    Raises:
        UserError: There is no such data YAML, or it is invalid.
    """
    from yolo_attn.host.installation import datasets_folder

    for folder in (Path(data).expanduser(), datasets_folder() / data):
        if (folder / split).is_dir() and not any(folder.glob("*.yaml")):  # of classification, without a data YAML
            return sorted(find_images(folder / split))
    found = DataYaml.find(data)
    return [] if found is None else found.images(split)
