"""Checking a dataset before hours of training: what Ultralytics would skip in silence or fail on late is told at once.

Ultralytics leaves out an image that it cannot read, or whose label file has a bad row, with a warning in a long log;
then training runs on other data than the user believes. Here all of these are counted and the first of them named, in
one line before training (`describe_data`). A split that is mostly unusable, or without any object, is an error. A check
downloads, writes and unpickles nothing (Ultralytics' own .cache files are pickles); `drop_stale_caches` removes those
that are older than their labels.
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
from yolo_attn.data.labels import LABEL_TASKS, Labels, Rules, find_images, find_orphans, label_path, read_labels
from yolo_attn.data.names import list_datasets, resolve_data
from yolo_attn.errors import UserError, counted
from yolo_attn.security.trust import is_script, refuse_script, trusts_files

__all__ = [
    "DataSummary",
    "Fault",
    "SplitSummary",
    "check_data",
    "describe_data",
    "drop_stale_caches",
    "find_source",
    "find_val_images",
    "list_images",
]

_NAMED = 3  # faults of each kind


@dataclass(frozen=True)
class Fault:
    """Faults of one kind in a split.

    Args:
        noun: What they are, in the singular, such as "unreadable image".
        rest: What belongs behind the noun, such as "without a label file".
        count: How many there are.
        examples: The first of them, with the reason; the last is "..." where there are more.
        left_out: Whether Ultralytics leaves their images out of training and evaluation.
    """

    noun: str
    rest: str
    count: int
    examples: Sequence[str]
    left_out: bool = False

    def __str__(self) -> str:
        """Return such as "2 unreadable images (a.jpg: empty file; b.jpg: not an image)"."""
        what = f"{counted(self.count, self.noun)} {self.rest}".strip()
        return f"{what} ({'; '.join(self.examples)})"


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds.

    Args:
        images: Number of images that can be used.
        labelled: Number of images with at least one object.
        instances: Number of objects.
        stale_cache: Ultralytics' label cache, when it is older than a label file or an image.
        faults: What is wrong, by kind.
    """

    images: int
    labelled: int = 0
    instances: int = 0
    stale_cache: Path | None = None
    faults: Sequence[Fault] = ()


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
        UserError: The data YAML has a mistake, or a split cannot be used: most of its images cannot be read or have bad
            label files, or there is no object in it. The first of the faults are named, with file and line.
    """
    from yolo_attn.host.installation import is_stock_data_yaml

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
            if is_script(entries["download"]) and not is_stock_data_yaml(path) and not trusts_files():
                refuse_script(str(path))
            return DataSummary(str(path), task, names, present=False)
        split, source = missing[0]
        raise UserError(f"{path}: the images of {split} are not at {source}; correct {split} or path (now {root})")
    dataset = _Dataset(path, root, Rules(task, frozenset(names), keypoint_shape(entries, path, task)))
    digest = hashlib.sha256(repr(sorted(names.items())).encode())
    for key, value in training_entries(entries).items():
        digest.update(f"{key} {value!r}\n".encode())
    summaries = {split: _check_split(split, sources[split], dataset, digest) for split in splits}
    return DataSummary(str(path), task, names, summaries, digest=digest.hexdigest())


def find_source(value: str) -> str:
    """Return where images are: a dataset's name, where no file or folder has it, means its validation images."""
    known = {name.casefold() for name in list_datasets()}
    return str(find_val_images(value)) if value.casefold() in known and not Path(value).exists() else value


def find_val_images(name: str) -> Path:
    """Return where the validation images of a dataset are.

    Args:
        name: `digits`, or another name that `data=` takes.

    Raises:
        UserError: There is no such dataset, or its images are not on this machine.
    """
    resolved = resolve_data(name)
    folders = {entry.name for entry in list_datasets().values() if entry.task == "classify"}  # known without a YAML
    path = None if resolved in folders else find_yaml(resolved)
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


@dataclass(frozen=True)
class _Dataset:
    """What all splits of a dataset share: its data YAML, the folder that its paths start from, and its rules."""

    path: Path
    root: Path
    rules: Rules


def _check_split(split: str, sources: Sequence[Path], dataset: _Dataset, digest: hashlib._Hash) -> SplitSummary:
    """Check every image and label file of a split, add their content to the digest, and count."""
    path, rules = dataset.path, dataset.rules
    images = sorted(image for source in sources for image in find_images(source))
    if not images:
        raise UserError(f"{path}: there are no images in {split}: {', '.join(map(str, sources))}")
    labelled = instances = files = changed = 0
    noted = _Notes(dataset.root)
    for image, labels in zip(images, read_labels(images, rules), strict=True):
        digest.update(f"{split} {os.path.basename(image)} {labels.image_bytes}\n".encode())  # noqa: PTH119 (speed)
        digest.update(labels.text or b"")
        files += labels.text is not None
        labelled += labels.instances > 0
        instances += labels.instances
        changed = max(changed, labels.changed)
        noted.add(image, labels, rules)
    if rules.task in LABEL_TASKS and files:
        noted.add_orphans(find_orphans(images))
    faults, left_out = noted.faults(), noted.left_out
    if 2 * left_out > len(images):
        raise UserError(f"{path}: {left_out} of {counted(len(images), 'image')} of {split} cannot be used: {noted}")
    if rules.task in LABEL_TASKS and not instances:
        what = "are all empty" if files else f"are missing, the first one is {label_path(images[0])}"
        what = f"leave none: {noted}" if left_out else what
        raise UserError(f"{path}: no object in the {len(images)} images of {split}: their label files {what}")
    return SplitSummary(len(images) - left_out, labelled, instances, _stale_cache(images[0], changed), faults)


class _Notes:
    """Faults of a split as they are found.

    Args:
        root: The folder that files are named from.
    """

    _KINDS = (
        ("unreadable image", "", True),
        ("bad label file", "", True),
        ("duplicated row", "", False),
        ("image", "without a label file", False),
        ("label file", "without an image", False),
    )

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out = 0
        self._counts = [0] * len(self._KINDS)
        self._examples: list[list[str]] = [[] for _ in self._KINDS]

    def add(self, image: str, labels: Labels, rules: Rules) -> None:
        """Note what is wrong with an image and its labels."""
        self.left_out += bool(labels.image_problem or labels.label_problem)
        if labels.image_problem:
            self._note(0, image, f": {labels.image_problem}")
        elif labels.label_problem:
            self._note(1, label_path(image), f", {labels.label_problem}")
        elif labels.duplicates:
            self._note(2, label_path(image), count=labels.duplicates)
        elif labels.text is None and rules.task in LABEL_TASKS:
            self._note(3, image)

    def add_orphans(self, files: Sequence[str]) -> None:
        """Note label files that have no image."""
        for file in files:
            self._note(4, file)

    def _note(self, kind: int, file: str, reason: str = "", count: int = 1) -> None:
        self._counts[kind] += count
        examples = self._examples[kind]
        if len(examples) < _NAMED:
            path = Path(file)
            named = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else file
            examples.append(f"{named}{reason}")
        elif examples[-1] != "...":
            examples.append("...")

    def __str__(self) -> str:
        """Return the faults that leave images out."""
        return "; ".join(str(fault) for fault in self.faults() if fault.left_out)

    def faults(self) -> list[Fault]:
        """Return the kinds of which there are any."""
        found = zip(self._KINDS, self._counts, self._examples, strict=True)
        return [Fault(noun, rest, count, names, out) for (noun, rest, out), count, names in found if count]


def describe_data(summary: DataSummary) -> str:
    """Return one line that tells what a dataset holds and what is wrong with it.

    Args:
        summary: From `check_data`.
    """
    if not summary.splits:
        return "data: not on this machine yet, so not checked"
    sizes = [_size(split, found) for split, found in summary.splits.items()]
    faults = {
        f"{'left out of' if left_out else 'in'} {split}": of
        for split, found in summary.splits.items()
        for left_out in (True, False)
        if (of := [str(fault) for fault in found.faults if fault.left_out is left_out])
    }
    told = "; ".join(f"{where}: {', '.join(of)}" for where, of in faults.items())
    return f"data: {'; '.join(sizes)}; {told or 'no faults found'}"


def _size(split: str, found: SplitSummary) -> str:
    objects = f", {counted(found.instances, 'object')}" if found.instances else ""
    return f"{split} {counted(found.images, 'image')}{objects}"


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
            from yolo_attn.host.installation import LOGGER

            LOGGER.warning(
                f"yolo-attn: {cache} is older than the labels and cannot be removed ({error.strerror}); remove it, "
                "since some Ultralytics releases would train with the labels that it holds"
            )


def _check_folder(data: str) -> DataSummary:
    """Check a classification dataset: a folder with a folder for each class, inside train, val and test."""
    from yolo_attn.host.installation import datasets_folder

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
    found = {split: root / split for split in ("train", "val", "test") if (root / split).is_dir()}
    splits = {split: _check_class_images(split, folder, root) for split, folder in found.items()}
    return DataSummary(str(root), "classify", names, splits)


def _check_class_images(split: str, folder: Path, root: Path) -> SplitSummary:
    """Check the images of a split of a classification dataset."""
    rules, noted = Rules("classify", frozenset(), (0, 0)), _Notes(root)
    images = sorted(find_images(folder))
    for image, labels in zip(images, read_labels(images, rules), strict=True):
        noted.add(image, labels, rules)
    if split == "train" and not images:
        raise UserError(f"there are no images in {folder}")
    if 2 * noted.left_out > len(images):
        raise UserError(f"{folder}: {noted.left_out} of {counted(len(images), 'image')} cannot be used: {noted}")
    return SplitSummary(len(images) - noted.left_out, faults=noted.faults())
