"""Figures of frames as a video."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from yolo_attn.analysis.letterbox import Image
from yolo_attn.errors import UserError
from yolo_attn.system.failures import disk_error
from yolo_attn.system.files import make_folder

__all__ = ["FORMATS", "FigureVideo"]

FORMATS = ((".mp4", "mp4v"), (".avi", "MJPG"))
"""Suffixes and codes of formats; the second one is in every build of OpenCV."""
_WHITE = 255
_SLOWEST = 0.1  # frames a second; some players refuse fewer


class FigureVideo:
    """A video of figures, which is written to a temporary file until it is complete.

    All frames have the size of the first figure. A smaller one gets a white margin, and a larger one is shrunk.

    Args:
        path: The video without a suffix, which is that of the first format that can be written.
        rate: Frames a second.
        lead: Number of earlier frames without a figure, for which the first figure is shown.
    """

    def __init__(self, path: Path, rate: float, lead: int = 0) -> None:
        self._path = path
        self._rate = max(rate, _SLOWEST)
        self._temporary = path
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._lead = lead
        self._frames = 0

    def add(self, figure: Image) -> None:
        """Add a figure, BGR.

        Raises:
            UserError: The folder is not writable, or OpenCV cannot write videos.
        """
        if self._writer is None:
            make_folder(self._path.parent)
            self._size = (figure.shape[0] // 2 * 2, figure.shape[1] // 2 * 2)  # encoders require even sides
            self._writer = self._open()
            for _ in range(self._lead):
                self._write(figure)
        self._write(figure)

    def _write(self, figure: Image) -> None:
        if self._writer is not None:
            self._writer.write(_fitted(figure, self._size))
            self._frames += 1

    def _open(self) -> cv2.VideoWriter:
        name = self._path.name
        for suffix, code in FORMATS:
            self._path = self._path.with_name(f"{name}{suffix}")
            self._temporary = self._path.with_name(f".{name}.{os.getpid()}{suffix}")
            writer = cv2.VideoWriter(str(self._temporary), cv2.VideoWriter.fourcc(*code), self._rate, self._size[::-1])
            if writer.isOpened():
                return writer
        raise UserError(f"{self._path}: OpenCV cannot write videos here; use save=png")

    def close(self) -> Path:
        """Finish the video and return its file.

        Raises:
            UserError: It cannot be written.
        """
        if self._writer is not None:
            self._writer.release()
        if _frames_of(self._temporary) < self._frames:  # OpenCV does not report a full disk
            self._temporary.unlink(missing_ok=True)
            raise UserError(f"{self._path}: the video could not be written completely; is the disk full?")
        try:
            self._temporary.replace(self._path)
        except OSError as error:
            raise disk_error(error, self._path) from error
        return self._path


def _frames_of(path: Path) -> int:
    """Return how many frames of a video can be read; 0 for a damaged file."""
    reader = cv2.VideoCapture(str(path))
    try:
        return int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
    finally:
        reader.release()


def _fitted(figure: Image, size: tuple[int, int]) -> Image:
    """Return a figure in a given height and width: shrunk if it is larger, then with a white margin."""
    ratio = min(1.0, size[0] / (figure.shape[0] - 1), size[1] / (figure.shape[1] - 1))  # an odd side loses one pixel
    if ratio < 1:
        shrunk = (round(figure.shape[1] * ratio), round(figure.shape[0] * ratio))
        figure = np.asarray(cv2.resize(figure, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    fitted = np.full((*size, 3), _WHITE, np.uint8)
    part = figure[: size[0], : size[1]]
    fitted[: part.shape[0], : part.shape[1]] = part
    return fitted
