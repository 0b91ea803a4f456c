"""Images, folders and videos as sequences of named images."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolo_attn.analysis.letterbox import Image, check_image, read_image
from yolo_attn.errors import UserError, counted, did_you_mean
from yolo_attn.host.dataset_files import IMAGE_SUFFIXES
from yolo_attn.system.files import expand_home

__all__ = ["Frames", "Shown", "SingleImage", "Source", "find_sources"]

_VIDEOS = frozenset({".asf", ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
_FRAME = re.compile(r"_\d{6,}$")  # at the end of the names of a video's files
_SECOND = 30  # frames of a second, for a video that does not say how many it has


class Shown(NamedTuple):
    """An image of a source.

    Args:
        stem: The beginning of the names of its files, different for each image.
        name: Its name in figures; "" for an image in memory.
        image: The image, BGR or gray.
    """

    stem: str
    name: str
    image: Image


@dataclass(frozen=True)
class SingleImage:
    """One image.

    Args:
        path: Its file, or the image itself (H, W, 3), BGR.
        stem: The beginning of the names of its files.
    """

    path: Path | Image
    stem: str = "image"

    def images(self, channels: int) -> Iterator[Shown]:
        """Yield the image.

        Args:
            channels: Channels of the model's images.

        Raises:
            UserError: The file cannot be read as an image, or the array is none.
        """
        if isinstance(self.path, Path):
            yield Shown(self.stem, self.path.name, read_image(self.path, channels))
        else:
            check_image(self.path, channels)
            yield Shown(self.stem, "", self.path)

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True)
class Frames:
    """Frames of a video.

    Args:
        path: The video.
        stem: The beginning of the names of its files.
        every: Distance of the frames; None for one frame a second.
    """

    path: Path
    stem: str
    every: int | None

    def images(self, channels: int) -> Iterator[Shown]:
        """Yield the frames, with their number in the name.

        Raises:
            UserError: The video, or a frame of it, cannot be read. The other frames have been yielded.
        """
        video = cv2.VideoCapture(str(self.path))
        damaged: list[int] = []
        try:
            number = -1
            for number in range(1 << 31):
                if not video.grab():
                    break
                if number % self._distance(video) == 0:
                    readable, frame = video.retrieve()
                    if not readable:
                        damaged.append(number)
                        continue
                    shown = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if channels == 1 else frame
                    name = f"{self.path.name}, frame {number}"
                    yield Shown(f"{self.stem}_{number:06d}", name, np.asarray(shown, np.uint8))
            if number == 0:
                raise UserError(f"{self.path}: not a video that OpenCV can read")
            if damaged:
                frames = counted(len(damaged), "damaged frame")
                raise UserError(f"{self.path}: {frames}, the first is frame {damaged[0]}")
        finally:
            video.release()

    def __len__(self) -> int:
        video = cv2.VideoCapture(str(self.path))
        count = int(_number(video, cv2.CAP_PROP_FRAME_COUNT))
        distance = self._distance(video)
        video.release()
        return max(1, -(-count // distance))

    @property
    def rate(self) -> float:
        """Frames a second of a video of these frames, which has the length of the original."""
        video = cv2.VideoCapture(str(self.path))
        rate = (_number(video, cv2.CAP_PROP_FPS) or _SECOND) / self._distance(video)
        video.release()
        return rate

    def _distance(self, video: cv2.VideoCapture) -> int:
        return self.every or max(1, round(_number(video, cv2.CAP_PROP_FPS) or _SECOND))


def _number(video: cv2.VideoCapture, name: int) -> float:
    """Return a property of a video; 0 if it has none, which some files have as a negative number or NaN."""
    value = video.get(name)
    return value if 0 < value < math.inf else 0.0


Source = SingleImage | Frames


def find_sources(source: str | Path | Image | Sequence[Path], every: int | None = None) -> list[Source]:
    """Return the image or video at a path, those in a folder, sorted, or those in a list.

    Args:
        source: A path, several paths, or an image (H, W, 3), BGR.
        every: Distance of the frames of a video; None for one frame a second.

    Raises:
        UserError: The path does not exist, or the folder contains no images.
    """
    if isinstance(source, np.ndarray):
        return [SingleImage(source)]
    paths = _find_files(source) if isinstance(source, (str, Path)) else list(source)
    return [
        Frames(path, stem, every) if _is_video(path) else SingleImage(path, stem)
        for path, stem in zip(paths, _stems(paths), strict=True)
    ]


def _stems(paths: Sequence[Path]) -> list[str]:
    """Return the beginning of the names of each path's files: its stem, or more of the path if not unique."""
    parts = [path.absolute().parts for path in paths]
    shared = len(list(takewhile(lambda names: len(set(names)) == 1, zip(*(each[:-1] for each in parts), strict=False))))
    below = ["_".join(each[max(shared, 1) :]) for each in parts]
    numbered = [f"{n}_{name}" for n, name in enumerate(below)]
    choices = list(zip([path.stem for path in paths], [path.name for path in paths], below, numbered, strict=True))
    used = [0] * len(paths)
    while True:
        stems = [choice[n] for choice, n in zip(choices, used, strict=True)]
        longer = [n for n in _conflicting(stems, paths) if used[n] + 1 < len(choices[n])]
        if not longer:
            return stems
        for n in longer:
            used[n] += 1


def _conflicting(stems: Sequence[str], paths: Sequence[Path]) -> list[int]:
    """Return the indices of stems with files of the same name, in any case: an image may be named like a frame."""
    folded = [stem.casefold() for stem in stems]
    videos = {stem for stem, path in zip(folded, paths, strict=True) if _is_video(path)}
    keys = [video if (video := _FRAME.sub("", stem)) in videos else stem for stem in folded]
    count = Counter(keys)
    return [n for n, key in enumerate(keys) if count[key] > 1]


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEOS


def _find_files(source: str | Path) -> list[Path]:
    path = expand_home(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix[1:].lower() in IMAGE_SUFFIXES or _is_video(p))
        if not found:
            raise UserError(f"{source}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))}) and no videos")
        return found
    near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"source={source}: no such image, video or folder{did_you_mean(path.name, near)}")
