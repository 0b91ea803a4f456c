"""Locations of a dataset's images."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.data.data_yaml import DataYaml
from yolo_attn.data.labels import find_images
from yolo_attn.data.names import list_datasets, resolve_data
from yolo_attn.errors import UserError, did_you_mean
from yolo_attn.system.files import expand_home

__all__ = ["find_source", "find_split", "find_val_images", "list_images"]

SPLITS = ("train", "val", "test")


def find_source(value: str) -> str:
    """Return the location of images; a dataset's name, if no such path exists, means its validation images."""
    known = {name.casefold() for name in list_datasets()}
    return str(find_val_images(value)) if value.casefold() in known and not Path(value).exists() else value


def find_split(source: str, split: str | None) -> str | list[Path]:
    """Return the location of images, or the images of a split of a dataset.

    Args:
        source: A location, or a dataset's name if no such path exists.
        split: The split; None for the validation images.

    Raises:
        UserError: The dataset has no images of this split, or a split is given for something else.
    """
    known = {name.casefold() for name in list_datasets()}
    if source.casefold() not in known or Path(source).exists():
        if split is not None:
            raise UserError(f"split={split}: a split is for the name of a dataset, and source={source} is none")
        return source
    if split not in {None, *SPLITS}:
        raise UserError(f"split={split}: use {', '.join(SPLITS)}{did_you_mean(str(split), SPLITS)}")
    found = [Path(name) for name in list_images(resolve_data(source), split or "val")]
    if not found:
        raise UserError(
            f"source={source}: no images of the split {split or 'val'} are on this machine; "
            "Ultralytics downloads those of a dataset when it trains"
        )
    return found


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

    for folder in (expand_home(data), datasets_folder() / data):
        if (folder / split).is_dir() and not any(folder.glob("*.yaml")):  # of classification, without a data YAML
            return sorted(find_images(folder / split))
    found = DataYaml.find(data)
    return [] if found is None else found.images(split)
