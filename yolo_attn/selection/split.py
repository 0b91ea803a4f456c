"""The split of a search: a dataset carved from the training images of another one.

A search picks the best of many candidates, so its own estimates of the winners are too high. It therefore trains and
evaluates on two parts of the training images. The validation or test images, which it never sees, are for the study
that confirms the winners.

The carved dataset is a folder of links to the images, labels and masks, in which Ultralytics finds the labels as usual.
Lists of images would need no links. But Ultralytics keeps its label cache next to the folder with the labels of the
first image, so two lists of images from one folder would replace each other's cache, and that of the dataset, with
each run.
"""

from __future__ import annotations

import filecmp
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from yolo_attn.data import list_images
from yolo_attn.data.check import find_class_folders, label_rules, split_folder
from yolo_attn.data.data_yaml import DataYaml
from yolo_attn.data.labels import BOM, LABEL_TASKS, Rules, find_images, read_labels
from yolo_attn.errors import UserError, counted
from yolo_attn.selection.stratify import stratify
from yolo_attn.stats.groups import check_groups, group_images
from yolo_attn.system.failures import disk_error
from yolo_attn.system.files import as_json, link_or_copy, make_folder, read_json, write_atomically

__all__ = ["MIN_IMAGES", "Carved", "carve", "shared_images"]

MIN_IMAGES = 20
"""Smallest number of images, or of groups, in each of the two parts."""

_PARTS = ("train", "val")
_IMAGES = re.compile("images_*")  # with more underscores, so that two folders never get one name
_RECORD = "split.json"
_DATA_YAML = "data.yaml"
_LOCATIONS = ("path", *_PARTS, "validation", "test", "minival", "download", "yaml_file")  # keys that are not copied
_NAMED = 5  # classes in a note
_ANY_CLASS = "any"  # the class of objects whose classes count as one


@dataclass(frozen=True)
class Carved:
    """A carved dataset.

    Args:
        data: Its data YAML, or its folder for classification; an absolute path.
        train_images: Images to train on.
        search_images: Images to evaluate.
        summary: One line with the sizes and what is unusual.
    """

    data: str
    train_images: int
    search_images: int
    summary: str


def carve(
    data: str,
    task: str,
    folder: Path,
    *,
    groups: str | None = None,
    share: float = 0.2,
    single_class: bool = False,
) -> Carved:
    """Carve a dataset from the training images of another one.

    The split depends on names, sizes and labels of the images alone, so it is the same on each machine. A split that
    exists is completed and otherwise unchanged.

    Args:
        data: The return value of `resolve_data`; the dataset is on this machine.
        task: The task of its labels: detect, segment, pose, obb, semantic or classify.
        folder: The folder of the new dataset.
        groups: Rule for images that belong together, as in `group_images`; they are in the same part.
        share: Share of the images, and of the objects of each class, that are evaluated. Small datasets use more.
        single_class: Whether all classes count as one.

    Raises:
        UserError: There are too few images or groups, the dataset is invalid, the folder has the split of other images,
            or it cannot be written.
    """
    source = _read_source(data, task, single_class=single_class)
    evaluated = _choose(source, groups, share)
    parts = {image.name: _PARTS[image.name in evaluated] for image in source.images}
    folder = folder.absolute()
    make_folder(folder)
    _write_record(folder, source, parts)
    path = _write_files(folder, source, parts)
    return Carved(str(path), len(parts) - len(evaluated), len(evaluated), _summary(source, evaluated, groups))


def shared_images(data: str, task: str = "detect", split: str = "val") -> int:
    """Return how many images of a split are also training images, by any path to the same file.

    Args:
        data: The return value of `resolve_data`.
        task: The task of its labels.
        split: The split, such as "val".

    Raises:
        UserError: The data YAML is invalid.
    """
    trained = set(map(_identity, _images_of(data, task, "train"))) - {None}
    return sum(_identity(image) in trained for image in _images_of(data, task, split))


def _images_of(data: str, task: str, split: str) -> list[str]:
    """Return the images of a split; none if they are not on this machine."""
    if task != "classify":
        return list_images(data, split)
    root = find_class_folders(data)
    folder = None if root is None else split_folder(root, split)
    return [] if folder is None else list(find_images(folder))


def _identity(file: str) -> tuple[int, int] | None:
    """Return what all paths to a file have in common; None without a file."""
    with suppress(OSError):
        state = os.stat(file)  # noqa: PTH116 (speed)
        return state.st_dev, state.st_ino
    return None


# --- the training images --------------------------------------------------------------------------------------------


class _Image(NamedTuple):
    """A training image that Ultralytics uses.

    Args:
        file: Its file.
        name: Its path relative to the folder of all training images, with slashes.
        label: Its label file or mask; None if it has none.
        objects: Number of objects of each class.
        content: What identifies it in the record: its size and labels.
    """

    file: str
    name: str
    label: str | None
    objects: Mapping[str, int]
    content: bytes


class _Source(NamedTuple):
    """The training images of a dataset.

    Args:
        where: The data YAML or folder, for messages.
        images: Those that Ultralytics uses, sorted.
        skipped: Number of others.
        rules: The rules of their labels.
        entries: Entries of the data YAML other than locations; None for classification.
        class_folders: Names of the classes of classification.
    """

    where: str
    images: Sequence[_Image]
    skipped: int
    rules: Rules
    entries: Mapping[str, Any] | None = None
    class_folders: Sequence[str] = ()


def _read_source(data: str, task: str, *, single_class: bool) -> _Source:
    source = _read_class_folders(data) if task == "classify" else _read_data_yaml(data, task, single_class=single_class)
    if not source.images:
        raise UserError(f"{source.where}: there are no usable training images on this machine")
    return source


def _absent(data: str) -> UserError:
    return UserError(
        f"data={data}: a search divides the training images, and they are not on this machine; download the dataset, "
        "and give its data YAML, or its folder for classification"
    )


def _read_data_yaml(data: str, task: str, *, single_class: bool) -> _Source:
    if task not in (*LABEL_TASKS, "semantic"):
        raise UserError(f"a dataset of the task {task} cannot be divided for a search")
    dataset = DataYaml.find(data)
    if dataset is None:
        raise _absent(data)
    rules, names = label_rules(dataset, task, single_class=single_class), dataset.names
    files = sorted({os.path.abspath(file) for file in dataset.images("train")})  # noqa: PTH100 (speed)
    if not files:
        raise _absent(data)
    root, images = _common_folder(files, dataset.path), []
    for file, labels in zip(files, read_labels(files, rules), strict=True):
        if not rules.skips(labels):
            name = os.path.relpath(file, root).replace(os.sep, "/")
            text = labels.text or b""
            objects = Counter[str]() if rules.masks else _objects(text, names, single_class=single_class)
            label = None if labels.text is None else rules.label_file(file)
            images.append(_Image(file, name, label, objects, b"%d " % labels.image_bytes + text))
    entries = {key: value for key, value in dataset.entries.items() if key not in _LOCATIONS}
    if rules.masks:
        entries["masks_dir"] = rules.masks.folder  # otherwise found by the folder's name
    return _Source(str(dataset.path), images, len(files) - len(images), rules, entries)


def _common_folder(files: Sequence[str], where: Path) -> str:
    """Return the folder that contains all of some files.

    Raises:
        UserError: They are on several drives of Windows.
    """
    try:
        return os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120
    except ValueError:
        raise UserError(
            f"{where}: the training images are on several drives, and a search needs them on one; move them"
        ) from None


def _objects(text: bytes, names: Mapping[int, str], *, single_class: bool) -> Counter[str]:
    """Return the number of objects of each class in a valid label file."""
    rows = text.removeprefix(BOM).splitlines()
    kinds = [int(float(row.split(None, 1)[0])) for row in rows if row.strip()]
    return Counter(_ANY_CLASS if single_class else names[kind] for kind in kinds)


def _read_class_folders(data: str) -> _Source:
    root = find_class_folders(data)
    if root is None:
        raise _absent(data)
    train = root.absolute() / "train"
    if not train.is_dir():
        raise UserError(f"{root}: there is no folder train with the images to train on; add it")
    classes = sorted(folder.name for folder in train.iterdir() if folder.is_dir())
    rules = Rules("classify", frozenset())
    files = sorted(find_images(train))
    images = []
    for file, labels in zip(files, read_labels(files, rules), strict=True):
        name = os.path.relpath(file, train).replace(os.sep, "/")
        kind, slash, _ = name.partition("/")
        if slash and not rules.skips(labels):
            images.append(_Image(file, name, None, {kind: 1}, b"%d" % labels.image_bytes))
    return _Source(str(root), images, len(files) - len(images), rules, class_folders=classes)


# --- the choice -----------------------------------------------------------------------------------------------------


def _choose(source: _Source, groups: str | None, share: float) -> set[str]:
    """Return the names of the images to evaluate.

    Raises:
        UserError: There are too few images or groups.
    """
    if not 0 < share < 1:
        raise UserError(f"share={share}: must be between 0 and 1, such as 0.2")
    names = [image.name for image in source.images]
    if groups is not None:
        check_groups(names, groups, 0)
    members: dict[int, list[_Image]] = {}
    for image, group in zip(source.images, group_images(names, groups).tolist(), strict=True):
        members.setdefault(group, []).append(image)
    if len(members) < 2 * MIN_IMAGES:
        unit = "image" if groups is None else "group"
        found = counted(len(names), "usable image") + (f" in {counted(len(members), unit)}" if groups else "")
        raise UserError(
            f"{source.where}: train has {found}, and a search needs at least {2 * MIN_IMAGES} {unit}s, {MIN_IMAGES} to "
            f"train on and {MIN_IMAGES} to evaluate; add images{' or give smaller groups' if groups else ''}"
        )
    least = MIN_IMAGES / len(members)
    units = {group[0].name: _quantities(group) for group in members.values()}
    taken = stratify(units, min(max(share, least), 1 - least), MIN_IMAGES)
    evaluated = {image.name for group in members.values() if group[0].name in taken for image in group}
    trained, seen = _class_counts(source, evaluated)
    if not source.rules.masks and not set(trained) & set(seen):
        raise UserError(
            f"{source.where}: no class would have objects both to train on and to evaluate; add labeled images"
            f"{'' if groups is None else ', or give smaller groups'}"
        )
    return evaluated


def _class_counts(source: _Source, evaluated: set[str]) -> tuple[Counter[str], Counter[str]]:
    """Return the number of objects of each class in the images to train on and in those to evaluate."""
    counts = Counter[str](), Counter[str]()
    for image in source.images:
        counts[image.name in evaluated].update(image.objects)
    return counts


def _quantities(group: Sequence[_Image]) -> dict[str, int]:
    """Return what is divided by its share: images, and images and objects of each class."""
    counts = Counter({"images": len(group)})
    for image in group:
        for kind, count in image.objects.items():
            counts[f"images of {kind}"] += 1
            counts[f"objects of {kind}"] += count
        counts["images without objects"] += not image.objects
    return {quantity: count for quantity, count in counts.items() if count}


def _summary(source: _Source, evaluated: set[str], groups: str | None) -> str:
    """Describe a split in one line."""
    total, taken = len(source.images), len(evaluated)
    grouping = "" if groups is None else f", divided by groups={groups}"
    parts = [f"{total - taken} images to train on and {taken} to evaluate, of the {total} training images{grouping}"]
    if source.skipped:
        parts.append(f"{counted(source.skipped, 'unusable image')} skipped")
    trained, seen = _class_counts(source, evaluated)
    for rest, had, lacking in (("not evaluated", trained, seen), ("not trained on", seen, trained)):
        if classes := sorted(had.keys() - lacking.keys()):
            parts.append(f"{rest}, because too few images have it: {_listed(classes)}")
    return f"search split: {'; '.join(parts)}"


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:_NAMED])
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return f"{'class' if len(classes) == 1 else 'classes'} {shown}{more}"


# --- files ----------------------------------------------------------------------------------------------------------


def _write_record(folder: Path, source: _Source, parts: Mapping[str, str]) -> None:
    """Write what the split consists of, before its files, which a killed search may leave incomplete.

    Raises:
        UserError: The folder has the record of another split.
    """
    digest = hashlib.sha256(repr((sorted((source.entries or {}).items(), key=str), source.class_folders)).encode())
    for image in source.images:
        digest.update(f"\n{parts[image.name]} {image.name} ".encode("utf-8", "surrogateescape") + image.content)
    record = {"digest": digest.hexdigest(), **Counter(parts.values())}
    path = folder / _RECORD
    if not path.exists():
        write_atomically(path, as_json(record))
    elif read_json(path).get("digest") != record["digest"]:
        raise UserError(
            f"{source.where}: the training images or their labels have changed since the search in {folder.parent} "
            "began, or groups= has; give another name= to begin a new one"
        )


def _write_files(folder: Path, source: _Source, parts: Mapping[str, str]) -> Path:
    """Write what the folder lacks, and return the data YAML, or the folder for classification."""
    try:
        for image in source.images:
            _link_image(image, folder, parts[image.name], source)
        for name in source.class_folders:
            for part in _PARTS:  # also of a class that one part lacks, because the folders number the classes
                (folder / part / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from error
    if source.entries is None:
        return folder
    path = folder / _DATA_YAML
    _write_missing(path, _data_yaml(source.entries))
    return path


def _data_yaml(entries: Mapping[str, Any]) -> str:
    located = {"train": "images/train", "val": "images/val"}
    return yaml.safe_dump({**located, **entries}, sort_keys=False, allow_unicode=True)


def _write_missing(path: Path, text: str) -> None:
    """Write a file unless it exists with this content."""
    with suppress(OSError):
        if path.read_bytes() == text.encode():
            return
    write_atomically(path, text)


def _link_image(image: _Image, folder: Path, part: str, source: _Source) -> None:
    """Link an image, and its label file or mask, in the folder of a part."""
    if source.entries is None:
        _link(image.file, folder / part / image.name)
        return
    # A folder named images below images/PART would be taken for the one that corresponds to labels.
    name = "/".join(f"{piece}_" if _IMAGES.fullmatch(piece) else piece for piece in image.name.split("/"))
    path = folder / "images" / part / name
    _link(image.file, path)
    if image.label is not None:
        _link(image.label, Path(source.rules.label_file(str(path))).with_suffix(Path(image.label).suffix))


def _link(source: str, path: Path) -> None:
    """Give a file a second path: a symbolic link, or else a hard link or a copy."""
    with suppress(OSError):
        if filecmp.cmp(source, path):
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        path.symlink_to(source)
    except OSError:
        link_or_copy(Path(source), path)
