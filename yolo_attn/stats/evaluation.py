"""The evaluation of one checkpoint, image by image, from which all numbers of its run are computed.

There is one subclass of `Evaluation` for each kind of task (`tasks.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import first_line
from yolo_attn.stats import npz

if TYPE_CHECKING:
    from yolo_attn.stats.chance import Chance

__all__ = ["Evaluation", "distinct_names", "evaluate", "mean_of_known", "names_in"]

Floats = NDArray[np.float64]
_Self = TypeVar("_Self", bound="Evaluation")


@dataclass(frozen=True)
class Evaluation(ABC):
    """The predictions of a checkpoint on N images of K classes, with their labels.

    Args:
        images: Names of the images, sorted.
        classes: Names of the classes.

    Attributes:
        version: Version of the format of its file.
        metrics: Names of the M metrics, which are fractions. The first one is also computed per class, and it decides
            the verdict.
        class_mean: Whether the first metric is a mean over classes.
        class_folders: Whether the folders of the images are their classes.
        reported: Names of the metrics that Ultralytics' validator reports.
        labeled: What the numbers of labels count.
        definition: A sentence that defines the metrics.
        by_chance: Predictions that reach some of the main metric without looking at the image.
    """

    version: ClassVar[int]
    metrics: ClassVar[tuple[str, ...]]
    class_mean: ClassVar[bool] = True
    class_folders: ClassVar[bool] = False
    reported: ClassVar[tuple[str, ...]]
    labeled: ClassVar[str]
    definition: ClassVar[str]
    by_chance: ClassVar[str]
    images: tuple[str, ...]
    classes: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write an .npz file.

        Raises:
            UserError: The disk is full or cannot be written; the old content is unchanged.
        """
        header = {"version": self.version, "images": self.images, "classes": self.classes}
        npz.save(path, header, self._arrays())

    @classmethod
    def load(cls: type[_Self], path: Path) -> _Self:
        """Read an .npz file.

        Raises:
            UserError: The file is missing, damaged, or of another format version.
        """
        header, arrays = npz.load(path, cls.version)
        try:
            content = cls._content(arrays)
            found = cls(images=names_in(header, "images"), classes=names_in(header, "classes"), **content)
        except (KeyError, TypeError, ValueError) as error:
            raise npz.damaged(path, first_line(error)) from None
        problem = found._problem()
        if problem:
            raise npz.damaged(path, problem)
        return found

    @abstractmethod
    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays of its file."""

    @classmethod
    @abstractmethod
    def _content(cls, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Return the fields that the arrays of a file contain, all but `images` and `classes`.

        Raises:
            KeyError: An array is missing.
            TypeError: An array has another type.
            ValueError: An array has another type or length.
        """

    @abstractmethod
    def _problem(self) -> str | None:
        """Return why the arrays are inconsistent, None if they are consistent."""

    @abstractmethod
    def compute(self, weights: NDArray[Any]) -> tuple[Floats, Floats]:
        """Return the metrics [R, M], and the first metric of each class [R, K]; NaN where undefined.

        Args:
            weights: [R, N] integer weight of each image in each of R replicates.
        """

    @abstractmethod
    def counts(self) -> tuple[int, ...]:
        """Return the number of labels of each class."""

    def most_objects(self) -> int:
        """Return the largest number of objects of one class in an image; 1 for a task without objects."""
        return 1

    @abstractmethod
    def groups_with_labels(self, groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the numbers of groups of images that each of the M metrics, and that of each class, rests on.

        A metric that is a mean over classes has one number for each class with labels: the groups in which the class
        has labels. Any other metric, and that of a class, has a single number, or none if it is undefined.

        Args:
            groups: [N] index of each image's group.
        """

    @abstractmethod
    def labels(self) -> Iterable[NDArray[Any]]:
        """Return the labels, which are equal for all checkpoints that are evaluated on the same dataset."""

    @abstractmethod
    def chance(self) -> Chance | None:
        """Return the part of the first metric that is reached by chance; None with too few images."""


def evaluate(found: Evaluation) -> dict[str, dict[str, float]]:
    """Return `metrics`, the value of each metric, and `per_class`, the first metric by class name.

    Values are fractions from 0 to 1, or NaN where undefined, such as the average precision without objects.
    """
    metrics, per_class = found.compute(np.ones((1, len(found.images)), np.int32))
    return {
        "metrics": dict(zip(found.metrics, map(float, metrics[0]), strict=True)),
        "per_class": dict(zip(found.classes, map(float, per_class[0]), strict=True)),
    }


def mean_of_known(values: Floats) -> Floats:
    """Return the mean over the last axis, ignoring NaN."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1))


# --- names ----------------------------------------------------------------------------------------------------------


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return distinct names, with an index appended to repeated ones."""
    known: dict[str, None] = {}
    for index, name in enumerate(names):
        own = name
        while own in known:
            own = f"{own} ({index})"
        known[own] = None
    return tuple(known)


def names_in(header: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names in a file's header.

    Raises:
        KeyError: There are none.
        TypeError: They are not a list of names.
        ValueError: A name is repeated.
    """
    names = header[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{key} must be a list of names")
    if len(set(names)) < len(names):
        raise ValueError(f"a name in {key} is repeated")
    return tuple(names)
