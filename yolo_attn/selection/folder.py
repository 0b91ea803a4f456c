"""The folder of a search: its choice, its specification and its lock."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from yolo_attn.errors import UserError
from yolo_attn.selection.files import SPECIFICATION, SPLIT
from yolo_attn.selection.specification import Search
from yolo_attn.study.files import RUNS
from yolo_attn.study.store import numbered_folder
from yolo_attn.system.files import make_folder, plain_value, read_yaml, write_atomically
from yolo_attn.system.locks import FolderLock

__all__ = ["choose_folder", "opened"]


def choose_folder(search: Search) -> Path:
    """Return the folder of a search: the named one, or the first of the default names that is free or contains it.

    Raises:
        UserError: The named folder contains something else.
    """
    folder, content = search.folder, _content(search)
    if not folder.explicit:
        number = 1
        while not _is_usable(path := numbered_folder(folder.path, number), content):
            number += 1
        return path
    if _fits(folder.path, content):
        return folder.path
    stored = _read(folder.path)
    if stored is None:
        raise UserError(f"{folder.path}: contains other files, not a search; give another name=NAME")
    before, now = _flat(stored), _flat(content)
    changed = [_shown(key, before.get(key)) for key in {**now, **before} if now.get(key) != before.get(key)]
    raise UserError(f"{folder.path}: contains a search with {', '.join(changed)}; give another name=NAME")


def _shown(key: str, value: object) -> str:
    """Return a key with its value as in a command."""
    if value in (None, [], {}):
        return f"no {key}="
    return f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}"


def _flat(content: Mapping[str, object]) -> dict[str, object]:
    """Return what a search is with the training keys beside the others, as in a command."""
    train = content.get("train")
    given = {**content, **(train if isinstance(train, dict) else {})}
    return {key: value for key, value in given.items() if key != "train"}


def _fits(folder: Path, content: Mapping[str, object]) -> bool:
    """Whether a folder is free or contains the search with a content."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        raise UserError(f"{folder}: a file, not a folder; give another name=NAME")
    if all(item.name == ".lock" or item.name.endswith(".tmp") for item in folder.iterdir()):
        return True
    stored = _read(folder)
    return stored == content or (stored is not None and not _has_runs(folder))


def _is_usable(folder: Path, content: Mapping[str, object]) -> bool:
    """Whether a folder of a default name fits; one with a damaged search is passed over."""
    try:
        return _fits(folder, content)
    except UserError:
        return False


def _has_runs(folder: Path) -> bool:
    """Whether a search has begun to train; before, it can be replaced by another one."""
    return any(folder.glob(f"*/{RUNS}"))


def _content(search: Search) -> dict[str, object]:
    """Return what a search is, as it is read from its file."""
    content = yaml.safe_load(yaml.safe_dump(plain_value(search.content()), sort_keys=False))
    return dict(content)


def _read(folder: Path) -> dict[str, object] | None:
    """Return the stored specification, None without one.

    Raises:
        UserError: It is damaged.
    """
    path = folder / SPECIFICATION
    if not path.is_file():
        return None
    try:
        content = read_yaml(path)
    except UserError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged; restore it, or give another name=NAME (nothing was overwritten)")
    return content


@contextlib.contextmanager
def opened(folder: Path, search: Search) -> Iterator[None]:
    """Lock a search's folder, and write its specification into it, in the place of one that has not begun to train.

    Raises:
        UserError: Another process has locked the folder, or it cannot be written.
    """
    make_folder(folder)
    with FolderLock(folder):
        content = _content(search)
        if not _has_runs(folder):
            shutil.rmtree(folder / SPLIT, ignore_errors=True)  # of other data, or of images that were mended since
        if _read(folder) != content:
            write_atomically(folder / SPECIFICATION, yaml.safe_dump(content, sort_keys=False))
        yield
