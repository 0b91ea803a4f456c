"""Where the page takes the images from: the dataset that the reader names, or the study's own folder, nothing else.

A study may come from somebody else, and the page may be sent on. So a path in its files must not decide what is read
from the reader's disk and put into the page. A study that this user made keeps the name of its dataset under a seal.
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

__all__ = ["DatasetImages", "FolderImages", "ImageSource", "find_images", "remember_dataset"]


class ImageSource(Protocol):
    """Finds the file of an image that a run was evaluated on."""

    def find(self, name: str) -> Path | None:
        """Return the file of an image, None when there is none that may be shown.

        Args:
            name: The image, as the matches call it.
        """


@dataclass(frozen=True)
class FolderImages:
    """The images of a folder inside the study's folder; links that lead out of it are not followed.

    Args:
        study: The study's folder.
        root: The folder that names of images are relative to; None when it is unknown.
    """

    study: Path
    root: Path | None

    def find(self, name: str) -> Path | None:
        """Return a file that lies in the study's folder."""
        if self.root is None:
            return None
        try:
            path, root = (self.root / name).resolve(), self.root.resolve()
            inside = path.is_relative_to(root) and root.is_relative_to(self.study.resolve())
            return path if inside and path.is_file() else None
        except (OSError, ValueError, RuntimeError):  # a name that no file system takes, links in a circle
            return None


@dataclass(frozen=True)
class DatasetImages:
    """The images of one split of a dataset. A name is looked up among them; it never becomes a path."""

    files: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, data: str, split: str) -> DatasetImages:
        """List the images of a split.

        Args:
            data: The path of a data YAML, or what else `resolve_data` returns; nothing is downloaded.
            split: Such as "val".

        Raises:
            UserError: There is no such dataset, or its YAML has a mistake.
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
    """Write into a study's folder which dataset its images are from, for reports made later by the same user."""
    text = json.dumps({"data": data, "split": split, "seal": seal.seal(*_sealed(data, split))}, indent=2) + "\n"
    path = folder / DATASET
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_atomically(path, text)


def find_images(folder: Path, *, data: str | None = None, split: str = "val", root: str | None = None) -> ImageSource:
    """Return where the page takes its images from.

    Args:
        folder: The study's folder.
        data: The dataset that the reader names, resolved; by default the one that this user made the study with.
        split: The split that was evaluated.
        root: The folder of the images, as the results call it; only used inside the study's folder.

    Raises:
        UserError: The dataset that the reader names does not exist.
    """
    if data is not None:
        return DatasetImages.of(data, split)
    known = _remembered(folder)
    if known is not None:
        try:
            return DatasetImages.of(*known)
        except UserError:  # it was moved since; the page is complete without the images
            pass
    return FolderImages(folder, Path(root) if root else None)


def _remembered(folder: Path) -> tuple[str, str] | None:
    """Return dataset and split that this user has made a study with."""
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
