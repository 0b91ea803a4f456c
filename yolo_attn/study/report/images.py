"""The images on which an arm differs most from the baseline, with the predictions of both."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_attn.errors import UserError
from yolo_attn.stats.matches import Matches
from yolo_attn.study.files import MATCHES
from yolo_attn.study.report.formats import columns, shorten
from yolo_attn.study.report.scores import ALL_AREAS, CONFIDENCE, IOU_50, describe_prediction, image_scores
from yolo_attn.study.report.sources import ImageSource
from yolo_attn.study.results.records import ArmSummary, StudyResults

if TYPE_CHECKING:
    from yolo_attn.stats.evaluation import Evaluation

__all__ = ["MAX_ARMS", "Album", "ArmImages", "Box", "Change", "Photo", "View", "find_changes"]

_EACH = 3  # number of gains, and of losses, per arm
MAX_ARMS = 8
_MAX_SEEDS = 5
_SIDE = 480  # longest side of an embedded image, in pixels
_MAX_BYTES = 3_000_000  # of all embedded images together
_SHOWN = 300.0  # approximate width of an image on the screen, in pixels
_LETTER, _TAG_HEIGHT, _TAG_MARGIN = 10.5, 14.0, 3.0  # of tags, in pixels of the screen
_LETTER_WIDTH = 0.58  # mean width of a character over its height
_LONGEST_NAME = 18

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A rectangle in the image's pixels.

    Args:
        x: Left edge.
        y: Upper edge.
        width: Width.
        height: Height.
        kind: "object" (found), "missed" (an object not found), "right" (correct detection) or "wrong" (false
            detection).
        text: Class and confidence on its tag; "" for a found object, whose detection has the tag.
        tag: x, y and width of the tag.
    """

    x: float
    y: float
    width: float
    height: float
    kind: str
    text: str = ""
    tag: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Photo:
    """An image that the page contains once.

    Args:
        ident: Id in the page.
        width: Width of the original, in pixels.
        height: Height of the original.
        uri: The downscaled image as a data URI.
    """

    ident: str
    width: int
    height: int
    uri: str

    @property
    def pixel(self) -> float:
        """Approximate number of pixels of the original per pixel of the screen."""
        return self.width / _SHOWN

    @property
    def letter(self) -> float:
        """Font size on the image, in pixels of the original."""
        return round(_LETTER * self.pixel, 2)

    @property
    def tag_height(self) -> float:
        """Height of a tag, in pixels of the original."""
        return round(_TAG_HEIGHT * self.pixel, 2)


@dataclass(frozen=True)
class View:
    """The prediction of an arm for an image.

    Args:
        arm: Name of the arm.
        boxes: Objects and detections; empty without a photo and for other tasks.
        text: The prediction in words; "" for detections.
    """

    arm: str
    boxes: Sequence[Box] = ()
    text: str = ""


@dataclass(frozen=True)
class Change:
    """One image on which an arm differs from the baseline.

    Args:
        image: Name of the image.
        before: Score of the baseline (`scores.py`), mean over seeds.
        after: Score of the arm.
        seed: The displayed seed: of those that differ in the same direction as the mean, the nearest to it.
        views: The predictions of the baseline and of the arm with that seed.
        photo: The image; None if its file was not found.
    """

    image: str
    before: float
    after: float
    seed: int
    views: Sequence[View]
    photo: Photo | None


@dataclass(frozen=True)
class ArmImages:
    """An arm's largest gains and losses."""

    arm: ArmSummary
    seeds: Sequence[int]
    gains: Sequence[Change]
    losses: Sequence[Change]

    @property
    def changes(self) -> Sequence[Change]:
        """Gains and losses; empty if the arm's score equals the baseline's on every image."""
        return [*self.gains, *self.losses]


def find_changes(folder: Path, study: StudyResults, album: Album) -> list[ArmImages]:
    """Return the images with the largest differences to the baseline, for each arm with common seeds.

    Args:
        folder: The study's folder.
        study: The results.
        album: The embedded images.
    """
    kind = study.info.evaluation
    base = _load(folder, study.baseline, kind)
    arms = study.others[:MAX_ARMS]
    found = [_compare(arm, study.baseline, base, _load(folder, arm, kind, base), album) for arm in arms]
    return [images for images in found if images is not None]


def _load(
    folder: Path, arm: ArmSummary, kind: type[Evaluation], common: Mapping[int, Evaluation] | None = None
) -> dict[int, Evaluation]:
    """Return an arm's evaluations by seed, for at most `_MAX_SEEDS` seeds, all of them in `common`."""
    found: dict[int, Evaluation] = {}
    for seed, run in sorted(arm.by_seed.items()):
        path = folder / (run.folder or "") / MATCHES
        if len(found) == _MAX_SEEDS or (common is not None and seed not in common) or not path.is_file():
            continue
        try:
            found[seed] = kind.load(path)
        except UserError:  # damaged, which the numbers have reported or do not depend on
            continue
    return found


def _compare(
    arm: ArmSummary,
    baseline: ArmSummary,
    before: Mapping[int, Evaluation],
    after: Mapping[int, Evaluation],
    album: Album,
) -> ArmImages | None:
    """Return an arm's largest gains and losses; None without seeds to compare."""
    seeds = [seed for seed in after if after[seed].images == before[seed].images]
    if not seeds:
        return None
    # Seeds, arms, images.
    scores = np.array([[image_scores(before[seed]), image_scores(after[seed])] for seed in seeds])
    differences = scores[:, 1] - scores[:, 0]
    mean = differences.mean(0)
    order = np.argsort(-mean, kind="stable")
    gains = [int(index) for index in order[:_EACH] if mean[index] > 0]
    losses = [int(index) for index in order[::-1][:_EACH] if mean[index] < 0]

    def change(index: int) -> Change:
        distance = np.abs(differences[:, index] - mean[index])
        shown = int(np.argmin(np.where(differences[:, index] * mean[index] > 0, distance, np.inf)))
        seed, name = seeds[shown], before[seeds[shown]].images[index]
        pair = ((baseline.name, before[seed]), (arm.name, after[seed]))
        photo = album.photo(name)
        views = [_view(label, found, index, photo) for label, found in pair]
        score_before, score_after = scores[:, :, index].mean(0)
        return Change(name, float(score_before), float(score_after), seed, views, photo)

    return ArmImages(arm, seeds, [change(index) for index in gains], [change(index) for index in losses])


def _view(arm: str, found: Evaluation, image: int, photo: Photo | None) -> View:
    boxes = _boxes(found, image, photo) if photo and isinstance(found, Matches) else []
    return View(arm, boxes, describe_prediction(found, image))


# --- boxes and their tags -------------------------------------------------------------------------------------------


def _boxes(matches: Matches, image: int, photo: Photo) -> list[Box]:
    """Return the objects of an image, then the detections on top."""
    objects = np.flatnonzero((matches.gt_image == image) & ~matches.gt_crowd)
    seen = (matches.det_image == image) & (matches.det_score >= CONFIDENCE) & ~matches.ignored[ALL_AREAS, IOU_50]
    hit = matches.hit[ALL_AREAS, IOU_50]
    right, wrong = np.flatnonzero(seen & hit), np.flatnonzero(seen & ~hit)
    missed = _missed(matches, objects, right)
    found = [index for index in objects if index not in missed]
    names, scores = [_short(name) for name in matches.classes], matches.det_score
    boxes = [_box(matches.gt_box[index], "object") for index in found]
    boxes += [_box(matches.gt_box[index], "missed", names[matches.gt_class[index]]) for index in sorted(missed)]
    boxes += [
        _box(matches.det_box[index], kind, f"{names[matches.det_class[index]]} {scores[index]:.2f}")
        for kind, indices in (("wrong", wrong), ("right", right))
        for index in indices
    ]
    return _tagged(boxes, photo)


def _missed(matches: Matches, objects: npt.NDArray[Any], right: npt.NDArray[Any]) -> set[int]:
    """Return the objects without a correct detection.

    Each correct detection, by descending score, takes the object of its class that it overlaps most.
    """
    free = set(objects.tolist())
    for index in right:
        own = [item for item in free if matches.gt_class[item] == matches.det_class[index]]
        if own:
            overlaps = [_overlap(matches.gt_box[item], matches.det_box[index]) for item in own]
            free.remove(own[int(np.argmax(overlaps))])
    return free


def _overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the IoU of two boxes."""
    common = _common(a, b)
    both = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / both if both > 0 else 0.0


def _short(name: str) -> str:
    return shorten(" ".join(name.split()), _LONGEST_NAME)


def _box(corners: npt.NDArray[Any], kind: str, text: str = "") -> Box:
    x, y, right, bottom = (round(corner, 1) for corner in corners.tolist())
    return Box(x, y, round(right - x, 1), round(bottom - y, 1), kind, text)


def _tagged(boxes: Sequence[Box], photo: Photo) -> list[Box]:
    """Position the tag of each box with text at a corner, inside the image and away from other tags if possible."""
    taken: list[_Floats] = []
    done = []
    for box in boxes:
        if not box.text:
            done.append(box)
            continue
        width = (columns(box.text) * _LETTER_WIDTH * _LETTER + 2 * _TAG_MARGIN) * photo.pixel
        corners = _corners(box, min(width, photo.width), photo)
        covered = [sum(_common(corner, other) for other in taken) for corner in corners]
        best = corners[int(np.argmin(covered))]
        taken.append(best)
        x, y, right, _ = (round(value, 2) for value in best.tolist())
        done.append(replace(box, tag=(x, y, round(right - x, 2))))
    return done


def _corners(box: Box, width: float, photo: Photo) -> list[_Floats]:
    """Return possible positions of a tag, the best first: above the box, in it, below it, at its sides."""
    height, right, bottom = photo.tag_height, box.x + box.width, box.y + box.height
    origins = [(box.x, box.y - height), (right - width, box.y - height), (box.x, box.y), (box.x, bottom)]
    origins += [(right - width, bottom), (right, box.y), (box.x - width, box.y), (right, bottom - height)]
    inside = [
        (min(max(x, 0.0), photo.width - width), min(max(y, 0.0), max(photo.height - height, 0.0))) for x, y in origins
    ]
    return [np.array([x, y, x + width, y + height]) for x, y in inside]


def _common(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the area of the intersection of two rectangles."""
    return float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None)))


# --- embedded images ------------------------------------------------------------------------------------------------


@dataclass
class Album:
    """The embedded images, each stored once, up to a total size.

    Args:
        source: Source of the images.
    """

    source: ImageSource
    _photos: dict[str, Photo | None] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def photos(self) -> list[Photo]:
        """The images that were found."""
        return [photo for photo in self._photos.values() if photo]

    def photo(self, name: str) -> Photo | None:
        """Return an image; None if it is missing or unreadable, or the total size is reached."""
        if name not in self._photos:
            self._photos[name] = self._read(name)
        return self._photos[name]

    def _read(self, name: str) -> Photo | None:
        path = self.source.find(name)
        if path is None or self._bytes > _MAX_BYTES:
            return None
        small = _small_jpeg(path)
        if small is None:
            return None
        data, width, height = small
        self._bytes += len(data)
        uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        return Photo(f"photo-{len(self._photos)}", width, height, uri)


def _small_jpeg(path: Path) -> tuple[bytes, int, int] | None:
    """Return an image as a small JPEG, with the original's width and height."""
    import cv2

    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # imread does not support every path
    except (OSError, cv2.error):
        return None
    if image is None:
        return None
    height, width = image.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    done, data = cv2.imencode(
        ".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA), [cv2.IMWRITE_JPEG_QUALITY, 82]
    )
    return (data.tobytes(), width, height) if done else None
