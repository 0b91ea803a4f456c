"""The images on which an arm differs most from the baseline, with what both found there."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_attn.errors import UserError
from yolo_attn.study.files import MATCHES
from yolo_attn.study.report.sources import ImageSource
from yolo_attn.study.report.text import columns, shorten
from yolo_attn.study.report.view import Arm, StudyView

if TYPE_CHECKING:
    from yolo_attn.stats.matches import Matches

__all__ = ["CONFIDENCE", "MOST_ARMS", "Album", "ArmImages", "Box", "Change", "Photo", "find_changes"]

CONFIDENCE = 0.25
_EACH = 3  # gains, and losses, of an arm
MOST_ARMS = 8
_MOST_SEEDS = 5
_SIDE = 480  # pixels of a picture
_MOST_BYTES = 3_000_000  # of all pictures together
_ALL, _IOU_50 = 0, 0  # positions on the axes of Matches.hit
_SHOWN = 300.0  # about as many pixels of the screen is an image wide
_LETTER, _TAG_HEIGHT, _TAG_MARGIN = 10.5, 14.0, 3.0  # of tags, in pixels of the screen
_LETTER_WIDTH = 0.58  # mean width of a character over its height
_LONGEST_NAME = 18

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A rectangle in the image's pixels.

    Args:
        kind: "object" (an object that is found), "missed" (one that is not), "right" or "wrong" (what was found).
        text: What its tag says, the class and the confidence; "" for an object that is found, which has the tag of
            what it was found by.
        tag: Where the tag stands: x, y, width.
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
    """A picture that the page holds once.

    Args:
        ident: Its id in the page.
        width: Of the original, in pixels.
        height: Of the original.
        uri: The picture, made smaller, as a data URI.
    """

    ident: str
    width: int
    height: int
    uri: str

    @property
    def pixel(self) -> float:
        """How many pixels of the original a pixel of the screen shows, about."""
        return self.width / _SHOWN

    @property
    def letter(self) -> float:
        """Height of letters on the picture, in pixels of the original."""
        return round(_LETTER * self.pixel, 2)

    @property
    def tag_height(self) -> float:
        """Height of a tag, in pixels of the original."""
        return round(_TAG_HEIGHT * self.pixel, 2)


@dataclass(frozen=True)
class Change:
    """One image, and how an arm differs on it from the baseline.

    Args:
        image: Its name.
        before: The baseline's score, mean over seeds: objects found minus false detections.
        after: The arm's.
        seed: The seed that is shown: of those that differ in the same direction, the nearest to the mean.
        views: What the baseline and the arm found with it; empty without a picture.
        photo: The picture, where its file was found.
    """

    image: str
    before: float
    after: float
    seed: int
    views: Sequence[tuple[str, Sequence[Box]]]
    photo: Photo | None


@dataclass(frozen=True)
class ArmImages:
    """An arm's largest gains and losses."""

    arm: Arm
    seeds: Sequence[int]
    gains: Sequence[Change]
    losses: Sequence[Change]

    @property
    def changes(self) -> Sequence[Change]:
        """Both; empty where the arm finds as much as the baseline on every image."""
        return [*self.gains, *self.losses]


def find_changes(folder: Path, study: StudyView, album: Album) -> list[ArmImages]:
    """Return for each arm the images with the largest differences to the baseline, if any.

    Args:
        folder: The study's folder.
        study: Its results.
        album: Takes the pictures.
    """
    base = _load(folder, study.baseline)
    found = [_compare(arm, study.baseline, base, _load(folder, arm, base), album) for arm in study.others[:MOST_ARMS]]
    return [images for images in found if images is not None]


def _load(folder: Path, arm: Arm, wanted: Mapping[int, Any] | None = None) -> dict[int, Matches]:
    """Return matches by seed: of a few seeds, of those that are wanted."""
    from yolo_attn.stats.matches import Matches

    found: dict[int, Matches] = {}
    for seed, run in sorted(arm.by_seed.items()):
        path = folder / (run.folder or "") / MATCHES
        if len(found) == _MOST_SEEDS or (wanted is not None and seed not in wanted) or not path.is_file():
            continue
        try:
            found[seed] = Matches.load(path)
        except UserError:  # the numbers have been made without it, or with an error of their own
            continue
    return found


def _compare(
    arm: Arm, baseline: Arm, before: Mapping[int, Matches], after: Mapping[int, Matches], album: Album
) -> ArmImages | None:
    """Return an arm's largest gains and losses, None where there is nothing to compare."""
    seeds = [seed for seed in after if after[seed].images == before[seed].images]
    if not seeds:
        return None
    scores = np.array([[_scores(before[seed]), _scores(after[seed])] for seed in seeds])  # seeds, arms, images
    differences = scores[:, 1] - scores[:, 0]
    mean = differences.mean(0)
    order = np.argsort(-mean, kind="stable")
    gains = [int(index) for index in order[:_EACH] if mean[index] > 0]
    losses = [int(index) for index in order[::-1][:_EACH] if mean[index] < 0]

    def change(index: int) -> Change:
        apart = np.abs(differences[:, index] - mean[index])
        shown = int(np.argmin(np.where(differences[:, index] * mean[index] > 0, apart, np.inf)))
        seed, name = seeds[shown], before[seeds[shown]].images[index]
        pair = ((baseline.name, before[seed]), (arm.name, after[seed]))
        photo = album.photo(name)
        views = [(who, _boxes(matches, index, photo)) for who, matches in pair] if photo else []
        was, became = scores[:, :, index].mean(0)
        return Change(name, float(was), float(became), seed, views, photo)

    return ArmImages(arm, seeds, [change(index) for index in gains], [change(index) for index in losses])


def _scores(matches: Matches) -> _Floats:
    """Return for each image the objects found minus the false detections, at IoU 0.5 and a common confidence."""
    sure = matches.det_score >= CONFIDENCE
    right = matches.hit[_ALL, _IOU_50] & sure
    wrong = ~matches.hit[_ALL, _IOU_50] & ~matches.ignored[_ALL, _IOU_50] & sure
    balance = right.astype(np.float64) - wrong
    return np.bincount(matches.det_image, balance, len(matches.images)).astype(np.float64)


# --- boxes and their tags -------------------------------------------------------------------------------------------


def _boxes(matches: Matches, image: int, photo: Photo) -> list[Box]:
    """Return what there is on an image and what was found, the objects below."""
    objects = np.flatnonzero((matches.gt_image == image) & ~matches.gt_crowd)
    seen = (matches.det_image == image) & (matches.det_score >= CONFIDENCE) & ~matches.ignored[_ALL, _IOU_50]
    hit = matches.hit[_ALL, _IOU_50]
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
    """Return the objects that no right detection belongs to: each, the surest first, takes the nearest of its class."""
    free = set(objects.tolist())
    for index in right:
        own = [item for item in free if matches.gt_class[item] == matches.det_class[index]]
        if own:
            overlaps = [_overlap(matches.gt_box[item], matches.det_box[index]) for item in own]
            free.remove(own[int(np.argmax(overlaps))])
    return free


def _overlap(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the intersection of two boxes over their union."""
    common = _common(a, b)
    both = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - common
    return common / both if both > 0 else 0.0


def _short(name: str) -> str:
    return shorten(" ".join(name.split()), _LONGEST_NAME)


def _box(corners: npt.NDArray[Any], kind: str, text: str = "") -> Box:
    x, y, right, bottom = (round(corner, 1) for corner in corners.tolist())
    return Box(x, y, round(right - x, 1), round(bottom - y, 1), kind, text)


def _tagged(boxes: Sequence[Box], photo: Photo) -> list[Box]:
    """Give each box with a text a position for its tag: at a corner, in the image, clear of other tags if possible."""
    taken: list[_Floats] = []
    done = []
    for box in boxes:
        if not box.text:
            done.append(box)
            continue
        width = (columns(box.text) * _LETTER_WIDTH * _LETTER + 2 * _TAG_MARGIN) * photo.pixel
        corners = _corners(box, min(width, photo.width), photo)
        faults = [sum(_common(corner, other) for other in taken) for corner in corners]
        best = corners[int(np.argmin(faults))]
        taken.append(best)
        x, y, right, _ = (round(value, 2) for value in best.tolist())
        done.append(replace(box, tag=(x, y, round(right - x, 2))))
    return done


def _corners(box: Box, width: float, photo: Photo) -> list[_Floats]:
    """Return where a tag may stand, the best first: above the box, in it, below it, at its sides."""
    height, right, bottom = photo.tag_height, box.x + box.width, box.y + box.height
    starts = [(box.x, box.y - height), (right - width, box.y - height), (box.x, box.y), (box.x, bottom)]
    starts += [(right - width, bottom), (right, box.y), (box.x - width, box.y), (right, bottom - height)]
    inside = [
        (min(max(x, 0.0), photo.width - width), min(max(y, 0.0), max(photo.height - height, 0.0))) for x, y in starts
    ]
    return [np.array([x, y, x + width, y + height]) for x, y in inside]


def _common(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the area that two rectangles share."""
    return float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None)))


# --- pictures -------------------------------------------------------------------------------------------------------


@dataclass
class Album:
    """Pictures, each once, as long as there is room.

    Args:
        source: Where they are from.
    """

    source: ImageSource
    _photos: dict[str, Photo | None] = field(default_factory=dict)
    _bytes: int = 0

    @property
    def photos(self) -> list[Photo]:
        """The pictures that were found."""
        return [photo for photo in self._photos.values() if photo]

    def photo(self, name: str) -> Photo | None:
        """Return an image's picture, None where there is no file, no room, or nothing that can be read."""
        if name not in self._photos:
            self._photos[name] = self._read(name)
        return self._photos[name]

    def _read(self, name: str) -> Photo | None:
        path = self.source.find(name)
        if path is None or self._bytes > _MOST_BYTES:
            return None
        small = _small_jpeg(path)
        if small is None:
            return None
        data, width, height = small
        self._bytes += len(data)
        uri = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
        return Photo(f"photo-{len(self._photos)}", width, height, uri)


def _small_jpeg(path: Path) -> tuple[bytes, int, int] | None:
    """Return a picture as a small JPEG, with the original's width and height."""
    import cv2

    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)  # imread does not take every path
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
