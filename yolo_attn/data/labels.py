"""Images of a split and checks of their label files, following Ultralytics' rules."""

from __future__ import annotations

import contextlib
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from yolo_attn.data.images import inspect_image
from yolo_attn.data.masks import Masks, find_mask, mask_problem

__all__ = ["LABEL_TASKS", "Labels", "Rules", "find_images", "find_orphans", "label_path", "read_labels"]

LABEL_TASKS = ("detect", "segment", "pose", "obb")  # the tasks whose labels are rows of numbers
TOLERANCE = 0.01  # allowed distance of a coordinate from 0..1; Ultralytics clips these
BOX = 5  # numbers in a row of class, center, width and height
POLYGON = 7  # fewest numbers in a row of class and points
ORIENTED = 9  # fewest numbers in a row of class and corners
BOM = b"\xef\xbb\xbf"  # Windows editors write it at the start of a UTF-8 file
SHOWN = 60  # characters of an invalid row in a message
TEXT = ".txt"
CHUNK = 512  # label files per task of a thread


class Rules(NamedTuple):
    """Constraints on label rows.

    Args:
        task: One of LABEL_TASKS.
        classes: The valid class indices; None if every index is, as with single_cls=True.
        keypoints: Number of keypoints and numbers per keypoint; (0, 0) when the data YAML has none.
        masks: The masks, if the labels are images.
    """

    task: str
    classes: frozenset[int] | None
    keypoints: tuple[int, int] = (0, 0)
    masks: Masks | None = None

    def label_file(self, image: str) -> str:
        """Return the label file or mask of an image."""
        return label_path(image) if self.masks is None else find_mask(image, self.masks.folder)

    def skips(self, labels: Labels) -> bool:
        """Return whether Ultralytics skips an image with these labels."""
        unmasked = self.masks is not None and labels.text is None
        return bool(labels.image_problem or labels.label_problem or unmasked)


class Labels(NamedTuple):
    """An image and its label file.

    Args:
        image_bytes: Size of the image file that training will read.
        changed: Time of the last change to either file, in nanoseconds.
        text: Content of the label file or mask, or None when there is none.
        instances: Number of objects without duplicates.
        image_problem: Why the image cannot be used, or "". Ultralytics skips such an image.
        label_problem: The problem in the label file with its line, or "". Ultralytics skips the image.
        duplicates: Number of repeated rows, which Ultralytics removes.
        most: Largest number of objects of one class.
    """

    image_bytes: int
    changed: int
    text: bytes | None = None
    instances: int = 0
    image_problem: str = ""
    label_problem: str = ""
    duplicates: int = 0
    most: int = 0


def find_images(source: Path) -> Iterator[str]:
    """Yield the image files of a folder, at any depth, or of a list file, with Ultralytics' rules."""
    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES

    if source.is_dir():
        pattern = os.path.join(glob.escape(str(source)), "**", "*.*")  # noqa: PTH118
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.rglob does not follow links)
    elif source.suffix[1:].lower() in IMAGE_SUFFIXES:
        found = [str(source)]
    else:
        lines = source.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        found = [
            str(source.parent / line[2:]) if line.startswith("./") else line.replace("/", os.sep)
            for line in map(str.strip, lines)
        ]
    for file in found:
        if file.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
            yield file


def label_path(image: str) -> str:
    """Return the label file of an image: replace the last folder `images` by `labels` and the suffix by .txt."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0] + TEXT


def find_orphans(images: Sequence[str]) -> list[str]:
    """Return the label files without an image in the label folders of the images, sorted."""
    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES

    folders: dict[str, dict[str, set[str]]] = {}  # label folder -> image folder -> names without suffix
    for image in images:
        labels, _, name = label_path(image).rpartition(os.sep)
        folders.setdefault(labels, {}).setdefault(image.rpartition(os.sep)[0], set()).add(name[: -len(TEXT)])
    orphans = []
    for folder, sources in folders.items():
        known = {"classes"}.union(*sources.values())  # labeling tools write classes.txt there
        rest = {stem for stem, suffix in _listed(folder) if suffix == TEXT[1:]} - known
        if rest and folder not in sources:  # a folder of images may contain any text files
            rest -= {stem for source in sources for stem, suffix in _listed(source) if suffix.lower() in IMAGE_SUFFIXES}
            orphans += [f"{folder}{os.sep}{stem}{TEXT}" for stem in rest]
    return sorted(orphans)


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """Yield stem and suffix of the names in a folder; nothing if it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            stem, _, suffix = entry.name.rpartition(".")
            yield stem, suffix


def read_labels(images: Sequence[str], rules: Rules) -> Iterator[Labels]:
    """Yield the checked labels of the images in order. Several threads read them to hide the latency of the disk."""
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    with ThreadPoolExecutor() as pool:
        try:
            for chunk in pool.map(lambda chunk: [_read_label(image, rules) for image in chunk], chunks):
                yield from chunk
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the other files are not needed


def _read_label(image: str, rules: Rules) -> Labels:
    """Inspect one image, and read and check its label file."""
    size, changed, problem = inspect_image(image)
    if rules.task not in LABEL_TASKS and rules.masks is None:
        return Labels(size, changed, image_problem=problem)
    try:
        with open(rules.label_file(image), "rb") as stream:  # noqa: PTH123
            text = stream.read()
            state = os.fstat(stream.fileno())
    except FileNotFoundError:
        return Labels(size, changed, image_problem=problem)  # a background image, unless it needs a mask
    except OSError as error:
        return Labels(size, changed, image_problem=problem, label_problem=f"cannot be read ({error.strerror})")
    changed = max(changed, state.st_mtime_ns, state.st_ctime_ns)
    if rules.masks is not None:
        return Labels(size, changed, text, 0, problem, "" if problem else mask_problem(image, text, rules.masks))
    rows = text.removeprefix(BOM).splitlines()
    label_problem, objects, most = _check_rows(rows, rules)
    total = sum(map(bool, map(bytes.strip, rows)))
    if problem or label_problem:
        return Labels(size, changed, text, 0, problem, label_problem)
    return Labels(size, changed, text, objects, duplicates=total - objects, most=most)


def _check_rows(rows: Sequence[bytes], rules: Rules) -> tuple[str, int, int]:
    """Check the rows of a label file.

    Returns:
        The first problem or "", the number of distinct rows, and the largest number of them of one class.
    """
    distinct, kinds = set(), set()
    for line, row in enumerate(map(bytes.split, rows), start=1):
        if row:
            problem = _row_problem(row, rules)
            if problem:
                return f"line {line}: {problem}", 0, 0
            kinds.add(_is_polygon(len(row), rules))
            distinct.add(tuple(map(float, row)))
    if len(kinds) > 1:
        return "mixes boxes (5 numbers) and polygons, which Ultralytics rejects", 0, 0
    return "", len(distinct), max(Counter(row[0] for row in distinct).values(), default=0)


def _row_problem(row: Sequence[bytes], rules: Rules) -> str:
    """Return the problem in a label row, or ""."""
    try:
        values = [float(number) for number in row]
    except ValueError:
        return f"{_shown(row)} is not a row of numbers"
    if not _fits(len(values), rules):
        return f"{len(values)} numbers; task {rules.task} takes {_expected(rules)}"
    return _class_problem(values[0], rules) or _coordinate_problem(values, rules)


def _class_problem(index: float, rules: Rules) -> str:
    if rules.classes is None:
        return "" if index >= 0 and index % 1 == 0 else f"class {index:g} is not the index of a class"
    return "" if index in rules.classes else f"class {index:g} is not one of the classes 0 to {len(rules.classes) - 1}"


def _coordinate_problem(values: list[float], rules: Rules) -> str:
    """Return the problem in the numbers after the class, or "".

    Ultralytics checks a polygon by the box around it, and a pose by its keypoints instead of its box.
    """
    if _is_polygon(len(values), rules):
        what, checked, size = " of the box around the polygon", _enclosing(values[1:]), list[float]()
    else:
        box = values[1:BOX]
        what, checked, size = "", _keypoints(values, rules) or box, box[2:]
    wrong = [value for value in checked if not -TOLERANCE <= value <= 1 + TOLERANCE] or [one for one in size if one < 0]
    if not wrong:
        return ""
    return f"the coordinate {wrong[0]:g}{what} is outside 0..1; use fractions of the image's width and height"


def _fits(numbers: int, rules: Rules) -> bool:
    """Return whether a row of a task can have that many numbers."""
    if rules.task == "pose":
        return numbers == _with_keypoints(rules)
    if rules.task == "detect" and numbers in (BOX, _with_keypoints(rules)):
        return True
    return numbers >= (ORIENTED if rules.task == "obb" else POLYGON) and numbers % 2 == 1


def _is_polygon(numbers: int, rules: Rules) -> bool:
    """Return whether a row with that many numbers is one of class and points."""
    return numbers != BOX and (not rules.keypoints[0] or numbers != _with_keypoints(rules))


def _with_keypoints(rules: Rules) -> int:
    points, numbers = rules.keypoints
    return BOX + points * numbers


def _keypoints(values: Sequence[float], rules: Rules) -> list[float]:
    """Return x and y of the keypoints; none in other tasks, for which Ultralytics drops them."""
    if rules.task != "pose":
        return []
    return [value for axis in (0, 1) for value in values[BOX + axis :: rules.keypoints[1]]]


def _enclosing(points: Sequence[float]) -> list[float]:
    """Return center and size of the box around a polygon, which is all that Ultralytics checks of it."""
    sides = [(min(axis), max(axis)) for axis in (points[0::2], points[1::2])]
    return [(low + high) / 2 for low, high in sides] + [high - low for low, high in sides]


def _expected(rules: Rules) -> str:
    """Describe the valid rows of a task."""
    polygon = "class and 3 or more points (7, 9, 11, ...)"
    if rules.task == "detect":
        return f"class, center x and y, width and height (5), or {polygon}"
    if rules.task == "pose":
        points, numbers = rules.keypoints
        return f"class, box and {points} keypoints of {numbers} numbers ({BOX + points * numbers})"
    return "class and 4 corners (9)" if rules.task == "obb" else polygon


def _shown(row: Sequence[bytes]) -> str:
    """Return the beginning of a row for a message."""
    text = b" ".join(row).decode("utf-8", errors="replace")
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
