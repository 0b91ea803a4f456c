"""Finding the images of a split and checking their label files, as Ultralytics reads them."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from yolo_attn.data.images import inspect_image

__all__ = ["LABEL_TASKS", "Labels", "Rules", "find_images", "find_orphans", "label_path", "read_labels"]

LABEL_TASKS = ("detect", "segment", "pose", "obb")  # the tasks whose labels are rows of numbers
TOLERANCE = 0.01  # how far outside 0..1 a coordinate may lie: Ultralytics clips these
BOX = 5  # numbers in a row of class, centre, width and height
POLYGON = 7  # the least numbers in a row of class and points
ORIENTED = 9  # the least numbers in a row of class and corners
BOM = b"\xef\xbb\xbf"  # Windows editors put it at the start of a UTF-8 file
SHOWN = 60  # characters of a bad row that a message shows
TEXT = ".txt"
CHUNK = 512  # label files that one thread takes at a time


class Rules(NamedTuple):
    """What a label row may look like.

    Args:
        task: One of LABEL_TASKS.
        classes: The class indices there are.
        keypoints: Number of keypoints and of numbers for each, (0, 0) when the data YAML states none.
    """

    task: str
    classes: frozenset[int]
    keypoints: tuple[int, int]


class Labels(NamedTuple):
    """What there is of one image.

    Args:
        image_bytes: Size of its file, as training will find it.
        changed: When its file or its label file last changed, in nanoseconds.
        text: Content of its label file, None when there is none.
        instances: Number of objects, each counted once.
        image_problem: Why its file cannot be used, "" when it can. Ultralytics leaves such an image out.
        label_problem: What is wrong with its label file, with the line, "" when nothing is. Its image is left out too.
        duplicates: Rows that repeat another one, which Ultralytics removes.
    """

    image_bytes: int
    changed: int
    text: bytes | None = None
    instances: int = 0
    image_problem: str = ""
    label_problem: str = ""
    duplicates: int = 0


def find_images(source: Path) -> Iterator[str]:
    """Yield the image files of a folder, at any depth, or of a list file, as Ultralytics finds them."""
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
    """Return the label file of an image: the last folder `images` becomes `labels`, the suffix .txt."""
    images, labels = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0] + TEXT


def find_orphans(images: Sequence[str]) -> list[str]:
    """Return the label files in the label folders of some images that no image file belongs to, sorted."""
    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES

    folders: dict[str, dict[str, set[str]]] = {}  # by folder of labels and of images: names without suffix
    for image in images:
        labels, _, name = label_path(image).rpartition(os.sep)
        folders.setdefault(labels, {}).setdefault(image.rpartition(os.sep)[0], set()).add(name[: -len(TEXT)])
    orphans = []
    for folder, sources in folders.items():
        known = {"classes"}.union(*sources.values())  # classes.txt is written there by labelling tools
        rest = {stem for stem, suffix in _listed(folder) if suffix == TEXT[1:]} - known
        if rest and folder not in sources:  # beside the images there may be texts of any kind
            rest -= {stem for source in sources for stem, suffix in _listed(source) if suffix.lower() in IMAGE_SUFFIXES}
            orphans += [f"{folder}{os.sep}{stem}{TEXT}" for stem in rest]
    return sorted(orphans)


def _listed(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the names in a folder, with their suffixes apart; none where it cannot be read."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            stem, _, suffix = entry.name.rpartition(".")
            yield stem, suffix


def read_labels(images: Sequence[str], rules: Rules) -> Iterator[Labels]:
    """Yield the checked labels of the images in order; several threads read them, for disks that answer late."""
    chunks = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
    with ThreadPoolExecutor() as pool:
        try:
            for chunk in pool.map(lambda chunk: [_read_label(image, rules) for image in chunk], chunks):
                yield from chunk
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the other files do not matter


def _read_label(image: str, rules: Rules) -> Labels:
    """Inspect one image, and read and check its label file."""
    size, changed, problem = inspect_image(image)
    if rules.task not in LABEL_TASKS:
        return Labels(size, changed, image_problem=problem)
    try:
        with open(label_path(image), "rb") as stream:  # noqa: PTH123
            text = stream.read()
            state = os.fstat(stream.fileno())
    except FileNotFoundError:
        return Labels(size, changed, image_problem=problem)  # an image without objects
    except OSError as error:
        return Labels(size, changed, image_problem=problem, label_problem=f"cannot be read ({error.strerror})")
    changed = max(changed, state.st_mtime_ns, state.st_ctime_ns)
    rows = text.removeprefix(BOM).splitlines()
    fault, objects = _check_rows(rows, rules)
    written = sum(map(bool, map(bytes.strip, rows)))
    if problem or fault:
        return Labels(size, changed, text, 0, problem, fault)
    return Labels(size, changed, text, objects, duplicates=written - objects)


def _check_rows(rows: Sequence[bytes], rules: Rules) -> tuple[str, int]:
    """Return what is wrong with the rows of a label file, "" when nothing is, and how many different ones there are."""
    different, kinds = set(), set()
    for line, row in enumerate(map(bytes.split, rows), start=1):
        if row:
            problem = _row_problem(row, rules)
            if problem:
                return f"line {line}: {problem}", 0
            kinds.add(len(row) == BOX)
            different.add(tuple(map(float, row)))
    if len(kinds) > 1:
        return "mixes boxes (5 numbers) and polygons; Ultralytics drops such files", 0
    return "", len(different)


def _row_problem(row: Sequence[bytes], rules: Rules) -> str:
    """Return what is wrong with a label row, "" when nothing is."""
    try:
        values = [float(number) for number in row]
    except ValueError:
        return f"{_shown(row)} is not a row of numbers"
    coordinates = _coordinates(values, rules)
    if coordinates is None:
        return f"{len(values)} numbers; task {rules.task} takes {_wanted(rules)}"
    if values[0] not in rules.classes:
        return f"class {values[0]:g} is not one of the classes 0 to {len(rules.classes) - 1}"
    for value in coordinates:
        if not -TOLERANCE <= value <= 1 + TOLERANCE:
            return f"the coordinate {value:g} is outside 0..1; they are shares of the image's width and height"
    return ""


def _coordinates(values: list[float], rules: Rules) -> list[float] | None:
    """Return the numbers of a row that have to be from 0 to 1, None when their count does not fit the task."""
    points, numbers = rules.keypoints
    with_keypoints = BOX + points * numbers
    if rules.task == "pose" or (points and rules.task == "detect" and len(values) == with_keypoints):
        if len(values) != with_keypoints:
            return None
        return values[1:BOX] + [value for i in (0, 1) for value in values[BOX + i :: numbers]]
    if len(values) == BOX and rules.task == "detect":
        return values[1:]
    least = ORIENTED if rules.task == "obb" else POLYGON
    return values[1:] if len(values) >= least and len(values) % 2 else None


def _wanted(rules: Rules) -> str:
    """Tell how many numbers a row may have."""
    polygon = "class and 3 or more points (7, 9, 11, ...)"
    if rules.task == "detect":
        return f"class, centre x and y, width and height (5), or {polygon}"
    if rules.task == "pose":
        points, numbers = rules.keypoints
        return f"class, box and {points} keypoints of {numbers} numbers ({BOX + points * numbers})"
    return "class and 4 corners (9)" if rules.task == "obb" else polygon


def _shown(row: Sequence[bytes]) -> str:
    """Return the start of a row as a message can show it."""
    text = b" ".join(row).decode("utf-8", errors="replace")
    return repr(text if len(text) <= SHOWN else text[:SHOWN] + "...")
