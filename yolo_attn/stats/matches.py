"""Matches of detections and objects, image by image: the source of all statistics of a study.

Detections are matched with objects as in COCO's evaluation (https://cocodataset.org/#detection-eval), per image and
class, at ten thresholds of similarity and in four ranges of object area.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolo_attn.stats.evaluation import Evaluation, distinct_names

if TYPE_CHECKING:
    from yolo_attn.stats.chance import Chance

__all__ = ["AREAS", "MAX_DETECTIONS", "METRICS", "THRESHOLDS", "Matches", "MatchesBuilder", "in_area"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETECTIONS = 100
"""Largest number of detections per image and class that are matched, unless a study's recipe gives `max_det`."""
# Name and limits (inclusive) in square pixels of the original image.
AREAS = (("all", 0.0, 1e10), ("small", 0.0, 32.0**2), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, 1e10))
_LOWEST, _HIGHEST = np.array([bounds for _, *bounds in AREAS], np.float32).T[..., None]  # [4, 1] each
# Area and thresholds that each metric averages over.
METRICS: Mapping[str, tuple[int, slice]] = {
    "mAP50-95": (0, slice(None)),
    "mAP50": (0, slice(0, 1)),
    "mAP75": (0, slice(5, 6)),
    "mAP-small": (1, slice(None)),
    "mAP-medium": (2, slice(None)),
    "mAP-large": (3, slice(None)),
}

_VERSION = 1
_PACKED = ("hit", "ignored", "found")
_DTYPES: dict[str, Any] = {
    **dict.fromkeys(("gt_image", "gt_class", "det_image", "det_class"), np.int32),
    **dict.fromkeys(("gt_area", "gt_box", "det_score", "det_area", "det_box"), np.float32),
    "gt_crowd": np.bool_,
}

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Matches(Evaluation):
    """The objects of a set of images, the detections in them, and their matches.

    There are G objects and D detections, in the order of the images. The detections of an image have descending scores.

    Args:
        images: Names of all evaluated images, sorted, with or without objects.
        classes: Names of the classes.
        gt_image: [G] index of the object's image.
        gt_class: [G] index of its class.
        gt_area: [G] area in square pixels of the original image.
        gt_box: [G, 4] x1, y1, x2, y2 in pixels of the original image.
        gt_crowd: [G] whether it is a crowd, which need not be found and may be matched many times.
        det_image: [D] index of the detection's image.
        det_class: [D] index of its class.
        det_score: [D] confidence.
        det_area: [D] area, as for objects.
        det_box: [D, 4] box, as for objects.
        hit: [4, 10, D] correct, in each of `AREAS` and at each of `THRESHOLDS`.
        ignored: [4, 10, D] neither correct nor false: it matches a crowd or an object of another area, or it is
            unmatched and has another area itself.
        found: [10, G] whether the object has a detection, for all areas together.
    """

    version: ClassVar[int] = _VERSION
    metrics: ClassVar[tuple[str, ...]] = tuple(METRICS)
    reported: ClassVar[tuple[str, ...]] = ("mAP50-95", "mAP50", "mAP75", "precision", "recall")
    labeled: ClassVar[str] = "objects"
    definition: ClassVar[str] = "COCO's average precision"
    by_chance: ClassVar[str] = "boxes of the whole image where objects are large"
    gt_image: Ints
    gt_class: Ints
    gt_area: Floats
    gt_box: Floats
    gt_crowd: Bools
    det_image: Ints
    det_class: Ints
    det_score: Floats
    det_area: Floats
    det_box: Floats
    hit: Bools
    ignored: Bools
    found: Bools

    def _arrays(self) -> Mapping[str, NDArray[Any]]:
        arrays = {name: getattr(self, name) for name in _DTYPES}
        return arrays | {name: np.packbits(getattr(self, name), axis=-1) for name in _PACKED}

    @classmethod
    def _content(cls, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        objects, detections = len(arrays["gt_image"]), len(arrays["det_image"])
        lengths = {"hit": detections, "ignored": detections, "found": objects}
        content: dict[str, Any] = {name: np.asarray(arrays[name], dtype) for name, dtype in _DTYPES.items()}
        return content | {name: _unpacked(arrays[name], lengths[name]) for name in _PACKED}

    # The modules of the computations import this one.

    def compute(self, weights: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `METRICS` [R, 6], and mAP50-95 of each class [R, K]; NaN without objects.

        Args:
            weights: [R, N] integer weight of each image in each of R replicates.
        """
        from yolo_attn.stats.ap import average_precisions, summarize

        return summarize(average_precisions(self, weights))

    def chance(self) -> Chance | None:
        """Return the part of mAP50-95 that is reached by chance; None if fewer than two images have objects."""
        from yolo_attn.stats.chance import find_chance

        return find_chance(self)

    def counts(self) -> tuple[int, ...]:
        """Return the number of objects of each class, without crowds."""
        return tuple(np.bincount(self.gt_class[~self.gt_crowd], minlength=len(self.classes)).tolist())

    def most_objects(self) -> int:
        """Return the largest number of objects of one class in an image, without crowds."""
        own = ~self.gt_crowd
        pairs = self.gt_image[own] * np.int64(len(self.classes)) + self.gt_class[own]
        return int(np.unique(pairs, return_counts=True)[1].max(initial=0))

    def groups_with_labels(self, groups: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the numbers of groups of images that each of `METRICS`, and mAP50-95 of each class, rests on.

        Args:
            groups: [N] index of each image's group.
        """
        counts = []  # by area and class
        for counted in in_area(self.gt_area) & ~self.gt_crowd:
            pairs = np.unique(np.stack([self.gt_class[counted], groups[self.gt_image[counted]]]), axis=1)
            counts.append(np.bincount(pairs[0], minlength=len(self.classes)))
        per_class = [counts[0][[number]] for number in range(len(self.classes))]
        metrics = [counts[area] for area, _ in METRICS.values()]
        return [numbers[numbers > 0] for numbers in (*metrics, *per_class)]

    def labels(self) -> Iterable[NDArray[Any]]:
        """Return the objects, without areas: validators that pad differently round them differently."""
        return self.gt_image, self.gt_class, self.gt_crowd

    def _problem(self) -> str | None:
        objects, detections = len(self.gt_image), len(self.det_image)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and value.shape != _shape(field.name, objects, detections):
                return f"{field.name} has shape {value.shape}"
        for name, limit in (("image", len(self.images)), ("class", len(self.classes))):
            for side in ("gt", "det"):
                index = getattr(self, f"{side}_{name}")
                if index.size and (index.min() < 0 or index.max() >= limit):
                    return f"{side}_{name} has an index outside the {limit} entries"
        return self._disorder() or self._excess()

    def _disorder(self) -> str | None:
        """Return why names, numbers or their order are invalid, None if they are valid."""
        if not all(np.isfinite(values).all() for values in (self.gt_area, self.gt_box, self.det_score)):
            return "an object's box or a detection's score is not finite"
        if (np.diff(self.gt_image) < 0).any() or (np.diff(self.det_image) < 0).any():
            return "objects or detections are not in the order of the images"
        same = np.diff(self.det_image) == 0
        return "scores are not descending" if (np.diff(self.det_score)[same] > 0).any() else None

    def _excess(self) -> str | None:
        """Return why average precision is undefined: more objects are found than exist; None if it is defined."""
        classes = len(self.classes)
        kinds, position = np.unique(self.gt_image * np.int64(classes) + self.gt_class, return_inverse=True)
        right = np.flatnonzero(self.hit.any(axis=(0, 1)))
        wanted = self.det_image[right] * np.int64(classes) + self.det_class[right]
        at = np.searchsorted(kinds, wanted)
        if (at >= len(kinds)).any() or (kinds[at] != wanted).any():
            return "a detection is correct without an object"
        counted = in_area(self.gt_area) & ~self.gt_crowd
        for area, objects in enumerate(counted):
            there = np.bincount(position[objects], minlength=len(kinds))
            for hits in self.hit[area][:, right]:
                if (np.bincount(at[hits], minlength=len(kinds)) > there).any():
                    return "there are more correct detections than objects"
        return None


def _shape(name: str, objects: int, detections: int) -> tuple[int, ...]:
    if name in {"hit", "ignored"}:
        return (len(AREAS), len(THRESHOLDS), detections)
    if name == "found":
        return (len(THRESHOLDS), objects)
    count = objects if name.startswith("gt_") else detections
    return (count, 4) if name.endswith("_box") else (count,)


def _unpacked(bits: NDArray[np.uint8], count: int) -> Bools:
    """Undo packbits along the last axis."""
    if bits.shape[-1] != -(-count // 8):
        raise ValueError(f"{bits.shape[-1]} bytes for {count} bits")
    return np.unpackbits(bits, axis=-1, count=count).view(np.bool_)


def in_area(area: ArrayLike) -> Bools:
    """Return [4, n] whether areas in square pixels are in each of `AREAS`."""
    values = np.asarray(area, np.float32)
    inside: Bools = (values >= _LOWEST) & (values <= _HIGHEST)
    return inside


class MatchesBuilder:
    """Collects the images of an evaluation.

    Args:
        classes: Names of the classes; a repeated name gets its index appended.
        most: Largest number of detections per image and class that are matched.
    """

    def __init__(self, classes: Iterable[str], most: int = MAX_DETECTIONS) -> None:
        self.classes = distinct_names(classes)
        self.most = most
        self._images: dict[str, dict[str, NDArray[Any]]] = {}

    def add_image(
        self,
        name: str,
        *,
        gt_class: ArrayLike,
        gt_area: ArrayLike,
        gt_box: ArrayLike,
        gt_crowd: ArrayLike | None = None,
        det_class: ArrayLike,
        det_score: ArrayLike,
        det_area: ArrayLike,
        det_box: ArrayLike,
        similarity: ArrayLike,
    ) -> None:
        """Match the detections of an image with its objects.

        The `most` detections of each class with the highest scores are matched. By descending score, each takes the
        most similar unmatched object of its class, and counted objects before ignored ones. Among equally similar
        objects the last is taken, among equal scores the first, as in COCO's code.

        Args:
            name: Name of the image, unique.
            gt_class: [G] class of each object.
            gt_area: [G] its area in square pixels of the original image.
            gt_box: [G, 4] its box: x1, y1, x2, y2 in pixels of the original image.
            gt_crowd: [G] whether it is a crowd; by default none is.
            det_class: [D] class of each detection.
            det_score: [D] its confidence.
            det_area: [D] its area.
            det_box: [D, 4] its box.
            similarity: [G, D] from 0 to 1: the task's IoU of boxes or masks, or OKS of keypoints. For a crowd it is the
                fraction of the detection inside it.

        Raises:
            ValueError: The name is repeated, or arrays differ in length.
        """
        if name in self._images:
            raise ValueError(f"image {name!r}: added twice")
        objects: dict[str, NDArray[Any]] = {
            "gt_class": np.asarray(gt_class, np.int32).reshape(-1),
            "gt_area": np.asarray(gt_area, np.float32).reshape(-1),
            "gt_box": np.asarray(gt_box, np.float32).reshape(-1, 4),
        }
        count = len(objects["gt_class"])
        objects["gt_crowd"] = np.zeros(count, np.bool_) if gt_crowd is None else np.asarray(gt_crowd).astype(np.bool_)
        detections: dict[str, NDArray[Any]] = {
            "det_class": np.asarray(det_class, np.int32).reshape(-1),
            "det_score": np.asarray(det_score, np.float32).reshape(-1),
            "det_area": np.asarray(det_area, np.float32).reshape(-1),
            "det_box": np.asarray(det_box, np.float32).reshape(-1, 4),
        }
        table = np.asarray(similarity, np.float64).reshape(count, -1 if count else len(detections["det_class"]))
        _check_lengths(name, objects, count)
        _check_lengths(name, detections, table.shape[1])
        order = _strongest(detections["det_class"], detections["det_score"], self.most)
        detections = {key: value[order] for key, value in detections.items()}
        self._images[name] = {**objects, **detections, **_match(objects, detections, table[:, order])}

    def build(self) -> Matches:
        """Return the matches of all added images."""
        names = tuple(sorted(self._images))
        parts = [self._images[name] for name in names]
        counts = {side: [len(part[f"{side}_class"]) for part in parts] for side in ("gt", "det")}
        content: dict[str, Any] = {
            f"{side}_image": np.repeat(np.arange(len(names), dtype=np.int32), counts[side]) for side in counts
        }
        for name, dtype in (_DTYPES | dict.fromkeys(_PACKED, np.bool_)).items():
            if name not in content:
                content[name] = _join([part[name] for part in parts], _shape(name, 0, 0), dtype)
        return Matches(names, self.classes, **content)


def _check_lengths(name: str, arrays: dict[str, NDArray[Any]], length: int) -> None:
    for key, value in arrays.items():
        if len(value) != length:
            raise ValueError(f"image {name!r}: {key} has {len(value)} entries, not {length}")


def _join(parts: Sequence[NDArray[Any]], empty: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Concatenate along the axis of objects or detections, which has length 0 in the shape of an empty set."""
    return np.concatenate([np.zeros(empty, dtype), *parts], axis=empty.index(0))


def _strongest(classes: Ints, scores: Floats, most: int) -> NDArray[np.intp]:
    """Return the indices of the detections to match, by descending score; equal scores keep their order."""
    order = np.argsort(-scores, kind="stable")
    if len(order) <= most:
        return order
    by_class = np.argsort(classes[order], kind="stable")
    grouped = classes[order][by_class]
    rank = np.empty(len(order), np.intp)
    rank[by_class] = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return order[rank < most]


def _match(
    objects: dict[str, NDArray[Any]], detections: dict[str, NDArray[Any]], similarity: NDArray[np.float64]
) -> dict[str, Bools]:
    """Return hit, ignored and found of one image, whose detections have descending scores."""
    crowd = objects["gt_crowd"]
    counted = in_area(objects["gt_area"]) & ~crowd  # [4, G]
    cells = (len(AREAS), len(THRESHOLDS))
    hit = np.zeros((*cells, similarity.shape[1]), np.bool_)
    ignored = np.repeat(~in_area(detections["det_area"])[:, None], len(THRESHOLDS), axis=1)
    taken = np.zeros((*cells, len(crowd)), np.bool_)
    near = (similarity >= THRESHOLDS[0]) & (objects["gt_class"][:, None] == detections["det_class"])
    for name in np.unique(objects["gt_class"][near.any(axis=1)]):
        mine = np.flatnonzero(objects["gt_class"] == name)
        chosen = np.flatnonzero(detections["det_class"] == name)
        _match_class(similarity[np.ix_(mine, chosen)], mine, chosen, (counted, crowd, hit, ignored, taken))
    return {"hit": hit, "ignored": ignored, "found": taken[0]}


def _match_class(
    similarity: NDArray[np.float64],
    mine: NDArray[np.intp],
    chosen: NDArray[np.intp],
    state: tuple[Bools, Bools, Bools, Bools, Bools],
) -> None:
    """Match the detections of one class at all areas and thresholds.

    Args:
        similarity: [g, d] of the objects and detections of the class.
        mine: [g] index of each object in its image.
        chosen: [d] index of each detection in its image.
        state: counted [4, G], crowd [G], hit [4, 10, D], ignored [4, 10, D] and taken [4, 10, G] of the image; the last
            three are updated.
    """
    counted, crowd, hit, ignored, taken = state
    # An object's preference: its rank by similarity, and counted objects before ignored ones.
    rank = np.argsort(np.argsort(similarity, axis=0, kind="stable"), axis=0)
    bonus = len(mine) * counted[:, None, mine]
    free = np.ones((len(AREAS), len(THRESHOLDS), len(mine)), np.bool_)
    for column in np.flatnonzero(similarity.max(axis=0) >= THRESHOLDS[0]):
        allowed = free & (similarity[:, column] >= THRESHOLDS[:, None])
        preference = np.where(allowed, rank[:, column] + bonus, -1)
        best = preference.argmax(axis=-1)  # [4, 10]
        area, threshold = np.nonzero(allowed.any(axis=-1))
        local = best[area, threshold]
        index, detection = mine[local], chosen[column]
        right = counted[area, index]
        hit[area, threshold, detection] = right
        ignored[area, threshold, detection] = ~right
        taken[area, threshold, index] = True
        free[area, threshold, local] = crowd[index]
