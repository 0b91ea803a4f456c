"""Sources of the page's images: the dataset that the user names, or the one that this user ran the study with.

A study may come from someone else, and the page may be shared. A path in the study's files must therefore not select
what is read from this machine and embedded in the page. A study run by this user stores its dataset with a seal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from yolo_attn.errors import UserError
from yolo_attn.security import seal
from yolo_attn.study.files import DATASET
from yolo_attn.system.files import read_json, write_atomically

__all__ = ["DatasetImages", "ImageSource", "find_images", "remember_dataset"]


class ImageSource(Protocol):
    """Finds the file of an image that a run was evaluated on."""

    def find(self, name: str) -> Path | None:
        """Return the file of an image; None if it is missing or must not be shown.

        Args:
            name: Name of the image in the matches.
        """


@dataclass(frozen=True)
class DatasetImages:
    """The images of one split of a dataset. A name is looked up among them and never used as a path."""

    files: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, data: str, split: str) -> DatasetImages:
        """List the images of a split.

        Args:
            data: Path of a data YAML, or another result of `resolve_data`; nothing is downloaded.
            split: The split, such as "val".

        Raises:
            UserError: The dataset is missing, or its YAML is invalid.
        """
        from yolo_attn.data import list_images

        images = list_images(data, split)
        if not images:
            return cls()
        root = os.path.commonpath([os.path.dirname(image) for image in images])  # noqa: PTH120 (as the recorder does)
        return cls({os.path.relpath(image, root).replace(os.sep, "/"): Path(image) for image in images})

    def find(self, name: str) -> Path | None:
        """Return a file of the dataset."""
        path = self.files.get(name)
        return path if path is not None and path.is_file() else None


def remember_dataset(folder: Path, data: str, split: str) -> None:
    """Store the dataset of a study in its folder, for later reports by the same user."""
    text = json.dumps({"data": data, "split": split, "seal": seal.seal(*_sealed(data, split))}, indent=2) + "\n"
    path = folder / DATASET
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_atomically(path, text)


def find_images(folder: Path, *, data: str | None = None, split: str = "val") -> ImageSource:
    """Return the source of the page's images, empty when no dataset is known.

    Args:
        folder: The study's folder.
        data: Resolved dataset named by the user; by default the one that this user ran the study with.
        split: The split that was evaluated.

    Raises:
        UserError: The dataset named by the user does not exist.
    """
    if data is not None:
        return DatasetImages.of(data, split)
    known = _remembered(folder)
    if known is not None:
        try:
            return DatasetImages.of(*known)
        except UserError:  # moved since; the page is valid without images
            pass
    return DatasetImages()


def _remembered(folder: Path) -> tuple[str, str] | None:
    """Return dataset and split that this user ran the study with."""
    path = folder / DATASET
    if not path.is_file():
        return None
    try:
        known = read_json(path)
        data, split = str(known["data"]), str(known["split"])
    except (UserError, KeyError):
        return None
    return (data, split) if seal.is_sealed(known.get("seal"), *_sealed(data, split)) else None


def _sealed(data: str, split: str) -> tuple[bytes, ...]:
    return DATASET.encode(), data.encode(errors="replace"), split.encode(errors="replace")
