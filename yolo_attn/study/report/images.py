"""The images on which an arm differs most from the baseline, with what both found there."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from yolo_attn.errors import UserError
from yolo_attn.study.report.sources import ImageSource
from yolo_attn.study.report.view import Arm, StudyView
from yolo_attn.study.store import MATCHES

if TYPE_CHECKING:
    from yolo_attn.stats.matches import Matches

__all__ = ["CONFIDENCE", "MOST_ARMS", "Album", "ArmImages", "Box", "Change", "Photo", "find_changes"]

CONFIDENCE = 0.25
_EACH = 3  # gains, and losses, of an arm
MOST_ARMS = 8
_MOST_SEEDS = 5
_SIDE = 360  # pixels of a picture
_MOST_BYTES = 3_000_000  # of all pictures together
_ALL, _IOU_50 = 0, 0  # places on the axes of Matches.hit

_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A rectangle in the image's pixels.

    Args:
        kind: "object" (what there is), "right" or "wrong" (what was found).
    """

    x: float
    y: float
    width: float
    height: float
    kind: str


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


@dataclass(frozen=True)
class Change:
    """One image, and how an arm differs on it from the baseline.

    Args:
        image: Its name.
        before: The baseline's score, mean over seeds: objects found minus false detections.
        after: The arm's.
        seed: The seed that is shown, whose difference is nearest to the mean.
        views: What the baseline and the arm found with it.
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


def find_changes(folder: Path, study: StudyView, source: ImageSource) -> tuple[list[ArmImages], list[Photo]]:
    """Return for each arm the images with the largest differences to the baseline, if any, and the pictures.

    Args:
        folder: The study's folder.
        study: Its results.
        source: Where the pictures are from.
    """
    album = Album(source)
    base = _load(folder, study.baseline)
    found = [_compare(arm, study.baseline, base, _load(folder, arm, base), album) for arm in study.others[:MOST_ARMS]]
    return [images for images in found if images is not None], album.photos


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
        shown = int(np.argmin(np.abs(differences[:, index] - mean[index])))
        seed, name = seeds[shown], before[seeds[shown]].images[index]
        pair = ((baseline.name, before[seed]), (arm.name, after[seed]))
        views = [(who, _boxes(matches, index)) for who, matches in pair]
        was, became = scores[:, :, index].mean(0)
        return Change(name, float(was), float(became), seed, views, album.photo(name))

    return ArmImages(arm, seeds, [change(index) for index in gains], [change(index) for index in losses])


def _scores(matches: Matches) -> _Floats:
    """Return for each image the objects found minus the false detections, at IoU 0.5 and a common confidence."""
    sure = matches.det_score >= CONFIDENCE
    right = matches.hit[_ALL, _IOU_50] & sure
    wrong = ~matches.hit[_ALL, _IOU_50] & ~matches.ignored[_ALL, _IOU_50] & sure
    balance = right.astype(np.float64) - wrong
    return np.bincount(matches.det_image, balance, len(matches.images)).astype(np.float64)


def _boxes(matches: Matches, image: int) -> list[Box]:
    """Return what there is on an image and what was found, the objects below."""
    objects = (matches.gt_image == image) & ~matches.gt_crowd
    seen = (matches.det_image == image) & (matches.det_score >= CONFIDENCE) & ~matches.ignored[_ALL, _IOU_50]
    hit = matches.hit[_ALL, _IOU_50]
    groups = (
        ("object", matches.gt_box[objects]),
        ("right", matches.det_box[seen & hit]),
        ("wrong", matches.det_box[seen & ~hit]),
    )
    return [_box(corners, kind) for kind, boxes in groups for corners in boxes.tolist()]


def _box(corners: Sequence[float], kind: str) -> Box:
    x, y, right, bottom = (round(corner, 1) for corner in corners)
    return Box(x, y, round(right - x, 1), round(bottom - y, 1), kind)


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
