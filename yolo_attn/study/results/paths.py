"""Paths as results display them: without the folders of this machine, because results are shared."""

from __future__ import annotations

import re
from pathlib import Path

from yolo_attn.system.files import YAML_SUFFIXES

__all__ = ["dataset_name", "without_folders"]

# File names that do not identify a dataset; its folder does.
_GENERIC_NAMES = frozenset({"data", "dataset", "config", "custom_data", "coco_data"})

# The folders of an absolute path, up to the file name; not those of a URL.
_FOLDERS = re.compile(r"(?<![\w.~…:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s,'\"=/\\]+[/\\])+(?=[^\s,/\\])")


def dataset_name(data: str) -> str:
    """Return the name of a dataset: its own, its YAML's or, for a `data.yaml`, its folder's.

    Args:
        data: The value of `data=`.
    """
    names = [name for name in re.split(r"[/\\]+", data) if name]
    if not names or (len(names) == 1 and not data.lower().endswith(YAML_SUFFIXES)):
        return data
    stem = re.sub(r"\.ya?ml$", "", names[-1], flags=re.IGNORECASE)
    if stem.lower() not in _GENERIC_NAMES or stem == names[-1]:
        return stem
    if len(names) == 1 or names[-2] in {".", ".."}:
        names = list(Path(data).resolve().parts)
    return names[-2] if len(names) > 1 and not re.fullmatch(r"[/\\]|[A-Za-z]:\\?", names[-2]) else stem


def without_folders(text: str) -> str:
    """Return a command line with absolute paths shortened to their last names: `data=…/fruit.yaml`."""
    return _FOLDERS.sub("…/", text)
