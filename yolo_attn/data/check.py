"""Checks of a dataset before training: images and labels that Ultralytics would skip are counted and reported.

Ultralytics skips an image that it cannot read, or whose label file has an invalid row, with a warning in a long log.
Training then uses other data than the user expects. A check counts all such images and names the first ones
(`describe_data` returns them in one line). A split that is mostly unusable, or that has no objects, is an error.
A check downloads, writes and unpickles nothing. Ultralytics' own .cache files, which are pickles, are not read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from yolo_attn.data.caches import stale_cache
from yolo_attn.data.data_yaml import ARCHIVES, DataYaml
from yolo_attn.data.labels import LABEL_TASKS, Labels, Rules, find_images, find_orphans, label_path, read_labels
from yolo_attn.data.masks import Masks, read_mapping
from yolo_attn.data.names import list_datasets
from yolo_attn.data.summary import DataProblem, DataSummary, SplitSummary
from yolo_attn.errors import UserError, counted
from yolo_attn.security.trust import is_script, refuse_script, trusts_files
from yolo_attn.system.files import expand_home, is_file

__all__ = ["check_data", "find_class_folders", "label_rules", "split_folder"]

_MAX_EXAMPLES = 3  # of each kind of problem
_VAL_FOLDERS = ("val", "validation", "valid")


def check_data(
    data: str, task: str = "detect", splits: Sequence[str] = ("train", "val"), *, single_class: bool = False
) -> DataSummary:
    """Check a dataset and count its content.

    Args:
        data: The return value of `resolve_data`: the path of a data YAML or a classification folder, a name that
            Ultralytics resolves, or a URL or archive, whose content is not checked.
        task: The task of the labels. For depth, only the images are counted.
        splits: The splits to check; without any, only the data YAML is.
        single_class: Whether all classes count as one (`single_cls=True`), so that labels can have any index.

    Raises:
        UserError: The data YAML is invalid, or a split cannot be used: most of its images are unreadable or have
            invalid label files, or it has no objects. The message names the first problems, with file and line.
    """
    if task == "classify":
        return _check_class_folders(data, splits)
    dataset = DataYaml.find(data)
    if dataset is None:
        return DataSummary(data, task, names={}, present=False)
    names = dataset.names
    if not _is_present(dataset, splits):
        return DataSummary(str(dataset.path), task, names, present=False)
    rules = label_rules(dataset, task, single_class=single_class)
    digest = hashlib.sha256(repr(sorted(names.items())).encode())
    for key, value in dataset.training_entries.items():
        digest.update(f"{key} {value!r}\n".encode())
    if rules.masks:
        digest.update(f"masks {dataset.entries.get('label_mapping')!r}\n".encode())
    summaries = {split: _check_split(dataset, split, rules, digest) for split in splits}
    return DataSummary(str(dataset.path), task, names, summaries, digest=digest.hexdigest())


def label_rules(dataset: DataYaml, task: str, *, single_class: bool = False) -> Rules:
    """Return the rules of a dataset's labels; those of semantic segmentation are masks or polygons.

    Args:
        dataset: The dataset.
        task: The task of the labels.
        single_class: Whether all classes count as one, so that labels can have any index; masks have their own.
    """
    names = dataset.names
    classes = None if single_class else frozenset(names)
    if task != "semantic":
        return Rules(task, classes, dataset.keypoint_shape(task))
    folder = dataset.masks_folder
    if folder is None:
        return Rules("segment", classes)
    valid = read_mapping(dataset.entries.get("label_mapping"), len(names), dataset.path)
    return Rules(task, frozenset(names), masks=Masks(folder, valid))


def _is_present(dataset: DataYaml, splits: Sequence[str]) -> bool:
    """Return whether the images of the splits are on this machine; False means that Ultralytics downloads them.

    Raises:
        UserError: Images are missing and would not be downloaded, or only by a script that is not trusted.
    """
    from yolo_attn.host.installation import is_stock_data_yaml

    sources = [(split, source) for split in splits for source in dataset.sources(split)]
    missing = [(split, source) for split, source in sources if not source.exists()]
    if not missing:
        return True
    download = dataset.entries.get("download")
    # Ultralytics downloads only when images of val are missing
    if download and (len(missing) == len(sources) or "val" in dict(missing)):
        if is_script(download) and not is_stock_data_yaml(dataset.path) and not trusts_files():
            refuse_script(str(dataset.path), download)
        return False
    split, source = missing[0]
    raise UserError(
        f"{dataset.path}: the images of {split} are not at {source}; correct {split} or path (now {dataset.root})"
    )


def _check_split(dataset: DataYaml, split: str, rules: Rules, digest: hashlib._Hash) -> SplitSummary:
    """Check every image and label file of a split, add their content to the digest, and count objects."""
    images = dataset.images(split)
    if not images:
        sources = ", ".join(map(str, dataset.sources(split)))
        raise UserError(f"{dataset.path}: there are no images in {split}: {sources}")
    labeled = instances = files = changed = most = 0
    problems = _ProblemCounter(dataset.root)
    for image, labels in zip(images, read_labels(images, rules), strict=True):
        digest.update(os.fsencode(f"{split} {os.path.basename(image)} {labels.image_bytes}\n"))  # noqa: PTH119 (speed)
        digest.update(labels.text or b"")
        files += labels.text is not None
        labeled += labels.instances > 0
        instances += labels.instances
        changed, most = max(changed, labels.changed), max(most, labels.most)
        problems.add(image, labels, rules)
    if rules.task in LABEL_TASKS and files:
        problems.add_orphans(find_orphans(images))
    skipped = problems.skipped_images
    if 2 * skipped > len(images):
        total = counted(len(images), "image")
        raise UserError(f"{dataset.path}: {skipped} of {total} of {split} cannot be used: {problems.skipping()}")
    if rules.task in LABEL_TASKS and not instances:
        reason = "are all empty" if files else f"are missing, the first one is {label_path(images[0])}"
        reason = f"leave none: {problems.skipping()}" if skipped else reason
        raise UserError(f"{dataset.path}: no object in the {len(images)} images of {split}: their label files {reason}")
    cache = None if rules.masks else stale_cache(images[0], changed)  # a cache of masks has no labels
    return SplitSummary(len(images) - skipped, labeled, instances, cache, problems.found(), images, most)


class _ProblemCounter:
    """Counts the problems of a split by kind and keeps the first examples.

    Args:
        root: The folder that the examples' paths are relative to.
    """

    _KINDS = (  # noun, rest, and whether Ultralytics skips the image
        ("unreadable image", "", True),
        ("bad label file", "", True),
        ("duplicated row", "", False),
        ("image", "without a label file", False),
        ("label file", "without an image", False),
        ("missing mask", "", True),
        ("bad mask", "", True),
        ("image", "of a class that train lacks", True),
    )
    _UNREADABLE, _BAD_LABELS, _DUPLICATES, _UNLABELED, _ORPHAN, _NO_MASK, _BAD_MASK, _NO_CLASS = range(len(_KINDS))

    def __init__(self, root: Path) -> None:
        self.root = root
        self.skipped_images = 0
        self._counts = [0] * len(self._KINDS)
        self._examples: list[list[str]] = [[] for _ in self._KINDS]

    def add(self, image: str, labels: Labels, rules: Rules) -> None:
        """Count the problems of an image and its labels."""
        self.skipped_images += rules.skips(labels)
        if labels.image_problem:
            self._count(self._UNREADABLE, image, f": {labels.image_problem}")
        elif rules.masks is not None and labels.label_problem:
            self._count(self._BAD_MASK, rules.label_file(image), f": {labels.label_problem}")
        elif rules.masks is not None and labels.text is None:
            self._count(self._NO_MASK, rules.label_file(image))
        elif labels.label_problem:
            self._count(self._BAD_LABELS, label_path(image), f", {labels.label_problem}")
        elif labels.duplicates:
            self._count(self._DUPLICATES, label_path(image), count=labels.duplicates)
        elif labels.text is None and rules.task in LABEL_TASKS:
            self._count(self._UNLABELED, image)

    def add_unknown_class(self, image: str) -> None:
        """Count an image in the folder of a class that cannot be predicted."""
        self.skipped_images += 1
        self._count(self._NO_CLASS, image)

    def add_orphans(self, files: Sequence[str]) -> None:
        """Count label files that have no image."""
        for file in files:
            self._count(self._ORPHAN, file)

    def _count(self, kind: int, file: str, reason: str = "", count: int = 1) -> None:
        self._counts[kind] += count
        examples = self._examples[kind]
        if len(examples) < _MAX_EXAMPLES:
            path = Path(file)
            name = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else file
            examples.append(f"{name}{reason}")
        elif examples[-1] != "...":
            examples.append("...")

    def found(self) -> list[DataProblem]:
        """Return the kinds that occurred."""
        kinds = zip(self._KINDS, self._counts, self._examples, strict=True)
        return [DataProblem(noun, rest, n, examples, skip) for (noun, rest, skip), n, examples in kinds if n]

    def skipping(self) -> str:
        """Describe the problems for which Ultralytics skips images."""
        return "; ".join(str(problem) for problem in self.found() if problem.skipped)


def _check_class_folders(data: str, splits: Sequence[str]) -> DataSummary:
    """Check a classification dataset: a folder per class inside the folder of each split."""
    root = None if data.lower().endswith(ARCHIVES) and is_file(data) else find_class_folders(data)
    if root is None:
        return DataSummary(data, "classify", names={}, present=False)
    train = root / "train" if (root / "train").is_dir() else root
    names = dict(enumerate(sorted(folder.name for folder in train.iterdir() if folder.is_dir())))
    if not names:
        raise UserError(f"{train} contains no folders; task classify takes a folder with one folder per class")
    digest = hashlib.sha256(repr(sorted(names.items())).encode())
    folders = {split: folder for split in splits if (folder := split_folder(root, split)) is not None}
    checked = {
        split: _check_class_images(split, folder, set(names.values()), digest) for split, folder in folders.items()
    }
    return DataSummary(str(root), "classify", names, checked, digest=digest.hexdigest())


def split_folder(root: Path, split: str) -> Path | None:
    """Return the folder of a split under any of the names that Ultralytics knows; None without one."""
    names = _VAL_FOLDERS if split == "val" else (split,)
    return next((root / name for name in names if (root / name).is_dir()), None)


def find_class_folders(data: str) -> Path | None:
    """Return the folder of a classification dataset; None if it is not on this machine.

    Raises:
        UserError: There is no such folder, and Ultralytics does not download it.
    """
    from yolo_attn.host.installation import datasets_folder

    if "://" in data:
        return None
    root = next((path for path in (expand_home(data), datasets_folder() / data) if path.is_dir()), None)
    known = list_datasets().get(data.casefold())
    if root is None and (known is None or known.task != "classify"):
        raise UserError(f"there is no dataset folder {data}; task classify takes a folder with one folder per class")
    return root


def _check_class_images(split: str, folder: Path, classes: set[str], digest: hashlib._Hash) -> SplitSummary:
    """Check the images of a split of a classification dataset, and add their names and sizes to the digest."""
    rules, problems = Rules("classify", frozenset()), _ProblemCounter(folder.parent)
    images = sorted(find_images(folder))
    for image, labels in zip(images, read_labels(images, rules), strict=True):
        name = Path(image).relative_to(folder)
        digest.update(os.fsencode(f"{split} {name.as_posix()} {labels.image_bytes}\n"))
        if name.parts[0] in classes or labels.image_problem:
            problems.add(image, labels, rules)
        else:
            problems.add_unknown_class(image)
    if not images:
        raise UserError(f"there are no images in {folder}")
    skipped = problems.skipped_images
    if 2 * skipped > len(images):
        total = counted(len(images), "image")
        raise UserError(f"{folder}: {skipped} of {total} cannot be used: {problems.skipping()}")
    return SplitSummary(len(images) - skipped, problems=problems.found(), files=images)
