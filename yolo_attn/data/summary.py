"""Results of a dataset check: counts and problems, and their one-line description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolo_attn.errors import counted

__all__ = ["DataProblem", "DataSummary", "SplitSummary", "describe_data"]


@dataclass(frozen=True)
class DataProblem:
    """Problems of one kind in a split.

    Args:
        noun: Their name in the singular, such as "unreadable image".
        rest: Words after the noun, such as "without a label file".
        count: Number of occurrences.
        examples: The first occurrences, with reasons. The last item is "..." when there are more.
        skipped: Whether Ultralytics skips the affected images in training and evaluation.
    """

    noun: str
    rest: str
    count: int
    examples: Sequence[str]
    skipped: bool = False

    def __str__(self) -> str:
        """Return a phrase such as "2 unreadable images (a.jpg: empty file; b.jpg: not an image)"."""
        phrase = f"{counted(self.count, self.noun)} {self.rest}".strip()
        return f"{phrase} ({'; '.join(self.examples)})"


@dataclass(frozen=True)
class SplitSummary:
    """Content of a split.

    Args:
        images: Number of usable images.
        labeled: Number of images with at least one object.
        instances: Number of objects.
        stale_cache: Ultralytics' label cache, if it is older than a label file or an image.
        problems: The problems found, by kind.
        files: The files of all images, sorted.
        most: Largest number of objects of one class in an image.
    """

    images: int
    labeled: int = 0
    instances: int = 0
    stale_cache: Path | None = None
    problems: Sequence[DataProblem] = ()
    files: Sequence[str] = ()
    most: int = 0


@dataclass(frozen=True)
class DataSummary:
    """Content of a dataset.

    Args:
        data: The path of the data YAML or folder, or the name of a dataset that is not on this machine.
        task: The task it was checked for.
        names: Class names by index.
        splits: The checked splits. Empty when the dataset is not on this machine.
        present: Whether the images are on this machine. If not, Ultralytics will download them.
        digest: SHA-256 of class names, image names, image sizes in bytes, labels and the entries of the data YAML that
            affect training. Empty when they were not read.
    """

    data: str
    task: str
    names: dict[int, str]
    splits: dict[str, SplitSummary] = field(default_factory=dict)
    present: bool = True
    digest: str = ""


def describe_data(summary: DataSummary) -> str:
    """Return one line with the sizes of the splits and the problems found.

    Args:
        summary: The return value of `check_data`.
    """
    if not summary.present:
        return "data: not on this machine yet, so not checked"
    if not summary.splits:
        return f"data: {summary.data} has no folder train, so Ultralytics divides its images; not checked"
    sizes = [_size(name, split) for name, split in summary.splits.items()]
    problems = {
        f"{'skipped in' if skipped else 'in'} {name}": found
        for name, split in summary.splits.items()
        for skipped in (True, False)
        if (found := [str(problem) for problem in split.problems if problem.skipped is skipped])
    }
    listed = "; ".join(f"{where}: {', '.join(found)}" for where, found in problems.items())
    return f"data: {'; '.join(sizes)}; {listed or 'no problems found'}"


def _size(name: str, split: SplitSummary) -> str:
    objects = f", {counted(split.instances, 'object')}" if split.instances else ""
    return f"{name} {counted(split.images, 'image')}{objects}"
