"""Checking a dataset before hours of training: what Ultralytics would skip in silence or fail on late is told at once.

Ultralytics leaves an image with a bad label file out of training, with a warning in a long log; then a comparison
runs on other data than the user believes. Here the first such file is an error. A check downloads, writes and unpickles
nothing (Ultralytics' own .cache files are pickles); `drop_stale_caches` removes those that are older than their labels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolo_attn.data.description import (
    class_names,
    find_yaml,
    image_root,
    keypoint_shape,
    read_description,
    split_sources,
    training_entries,
)
from yolo_attn.data.labels import LABEL_TASKS, Rules, find_images, label_path, read_labels
from yolo_attn.data.names import datasets_folder, host_yamls, list_datasets, resolve_data
from yolo_attn.errors import UserError
from yolo_attn.trust import is_script, refuse_script, trusts_files

__all__ = ["DataSummary", "SplitSummary", "check_data", "drop_stale_caches", "find_val_images", "list_images"]


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds.

    Args:
        images: Number of images.
        labelled: Number of images with at least one object.
        instances: Number of objects.
        stale_cache: Ultralytics' label cache, when it is older than a label file or an image.
    """

    images: int
    labelled: int = 0
    instances: int = 0
    stale_cache: Path | None = None


@dataclass(frozen=True)
class DataSummary:
    """What a dataset holds.

    Args:
        data: The path of the data YAML or folder, or the name of a dataset that is not on this machine.
        task: The task it was checked for.
        names: Class names by index.
        splits: What each checked split holds; empty when the dataset is not on this machine.
        present: Whether the images are on this machine; if not, Ultralytics will download them.
        digest: SHA-256 of class names, image names, image sizes in bytes, labels and what else the data YAML says to
            training; "" when they were not read.
    """

    data: str
    task: str
    names: dict[int, str]
    splits: dict[str, SplitSummary] = field(default_factory=dict)
    present: bool = True
    digest: str = ""


def check_data(data: str, task: str = "detect", splits: Sequence[str] = ("train", "val")) -> DataSummary:
    """Check a dataset and count what it holds.

    Args:
        data: What `resolve_data` returns: the path of a data YAML or a classification folder, a name that Ultralytics
            knows, or a URL or archive, which is not looked into.
        task: What the labels are for. For other tasks than detect, segment, pose, obb and classify, whose labels are
            images, only the images are counted.
        splits: The splits to check.

    Raises:
        UserError: The first problem found, with file and line.
    """
    if task == "classify":
        return _check_folder(data)
    path = find_yaml(data)
    if path is None:
        return DataSummary(data, task, names={}, present=False)
    entries = read_description(path)
    names = class_names(entries, path)
    root = image_root(entries, path)
    sources = {split: split_sources(entries, split, root, path) for split in splits}
    missing = [(split, source) for split in splits for source in sources[split] if not source.exists()]
    if missing:
        # Ultralytics downloads when the images of val are missing
        if entries.get("download") and (not _some_exist(sources) or "val" in dict(missing)):
            if is_script(entries["download"]) and path.resolve() not in _stock_yamls() and not trusts_files():
                refuse_script(str(path))
            return DataSummary(str(path), task, names, present=False)
        split, source = missing[0]
        raise UserError(f"{path}: the images of {split} are not at {source}; correct {split} or path (now {root})")
    rules = Rules(task, frozenset(names), keypoint_shape(entries, path, task))
    digest = hashlib.sha256(repr(sorted(names.items())).encode())
    for key, value in training_entries(entries).items():
        digest.update(f"{key} {value!r}\n".encode())
    summaries = {split: _check_split(split, sources[split], rules, path, digest) for split in splits}
    return DataSummary(str(path), task, names, summaries, digest=digest.hexdigest())


def _stock_yamls() -> set[Path]:
    return {path.resolve() for path in host_yamls().values()}


def find_val_images(name: str) -> Path:
    """Return where the validation images of a dataset are.

    Args:
        name: `digits`, or another name that `data=` takes.

    Raises:
        UserError: There is no such dataset, or its images are not on this machine.
    """
    path = find_yaml(resolve_data(name))
    if path is None:
        raise UserError(f"{name} has no data YAML, so where its images are is not known; give their folder")
    entries = read_description(path)
    source = split_sources(entries, "val", image_root(entries, path), path)[0]
    if not source.exists():
        raise UserError(f"the images of {name} are not at {source}; Ultralytics downloads them when it trains")
    return source


def list_images(data: str, split: str) -> list[str]:
    """Return the image files of a split, sorted; [] when the dataset is not on this machine.

    Args:
        data: What `resolve_data` returns.
        split: Such as "val".

    Raises:
        UserError: There is no such data YAML, or it has a mistake.
    """
    path = find_yaml(data)
    if path is None:
        return []
    entries = read_description(path)
    sources = split_sources(entries, split, image_root(entries, path), path)
    return sorted(image for source in sources if source.exists() for image in find_images(source))


def _some_exist(sources: Mapping[str, Sequence[Path]]) -> bool:
    return any(source.exists() for parts in sources.values() for source in parts)


def _check_split(split: str, sources: Sequence[Path], rules: Rules, path: Path, digest: hashlib._Hash) -> SplitSummary:
    """Check every label file of a split, add its content to the digest, and count."""
    images = sorted(image for source in sources for image in find_images(source))
    if not images:
        raise UserError(f"{path}: there are no images in {split}: {', '.join(map(str, sources))}")
    labelled = instances = files = changed = 0
    for image, labels in zip(images, read_labels(images, rules), strict=True):
        digest.update(f"{split} {os.path.basename(image)} {labels.image_bytes}\n".encode())  # noqa: PTH119 (speed)
        digest.update(labels.text or b"")
        files += labels.text is not None
        labelled += labels.instances > 0
        instances += labels.instances
        changed = max(changed, labels.changed)
    if rules.task in LABEL_TASKS and not instances:
        what = "are all empty" if files else f"are missing, the first one is {label_path(images[0])}"
        raise UserError(f"{path}: no object in the {len(images)} images of {split}: their label files {what}")
    return SplitSummary(len(images), labelled, instances, _stale_cache(images[0], changed))


def _stale_cache(first: str, changed: int) -> Path | None:
    """Return the label cache of a split when it is older than what it was made from.

    Args:
        first: The split's first image, whose label folder the cache lies beside.
        changed: When the split's images and label files last changed, in nanoseconds.
    """
    cache = Path(label_path(first)).parent.with_suffix(".cache")
    return cache if cache.is_file() and cache.stat().st_mtime_ns < changed else None


def drop_stale_caches(summary: DataSummary) -> None:
    """Remove the label caches that are older than their labels; Ultralytics makes them anew.

    Up to some release it takes a cache whose files have the same names and sizes for fresh, and would train and
    evaluate with the old labels. Where a cache cannot be removed, that is told.

    Args:
        summary: From `check_data`.
    """
    for cache in (split.stale_cache for split in summary.splits.values()):
        if cache is None:
            continue
        try:
            cache.unlink(missing_ok=True)
        except OSError as error:
            from ultralytics.utils import LOGGER

            LOGGER.warning(
                f"yolo-attn: {cache} is older than the labels and cannot be removed ({error.strerror}); remove it, "
                "since some Ultralytics releases would train with the labels that it holds"
            )


def _check_folder(data: str) -> DataSummary:
    """Check a classification dataset: a folder with a folder for each class, inside train, val and test."""
    if "://" in data:
        return DataSummary(data, "classify", names={}, present=False)
    root = next((path for path in (Path(data).expanduser(), datasets_folder() / data) if path.is_dir()), None)
    if root is None:
        known = list_datasets().get(data.casefold())
        if known is not None and known.task == "classify":
            return DataSummary(data, "classify", names={}, present=False)
        raise UserError(f"there is no dataset folder {data}; task classify takes a folder with a folder for each class")
    train = root / "train" if (root / "train").is_dir() else root
    names = dict(enumerate(sorted(folder.name for folder in train.iterdir() if folder.is_dir())))
    if not names:
        raise UserError(f"{train} holds no folders; task classify takes a folder with a folder for each class")
    counts = {
        split: sum(1 for _ in find_images(root / split))
        for split in ("train", "val", "test")
        if (root / split).is_dir()
    }
    if counts.get("train") == 0:
        raise UserError(f"there are no images in {train}")
    return DataSummary(str(root), "classify", names, {split: SplitSummary(count) for split, count in counts.items()})
