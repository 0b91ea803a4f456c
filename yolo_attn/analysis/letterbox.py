"""Pictures the way a model sees them, and maps brought back onto the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from yolo_attn.errors import UserError, did_you_mean

__all__ = ["Frame", "find_pictures", "letterbox", "read_picture", "to_tensor"]

Picture = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

_GREY = 114  # what Ultralytics pads with
_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class Frame:
    """Where a picture stands in the letterboxed image.

    Args:
        height: Height of the letterboxed image.
        width: Its width.
        top: First line of the picture in it.
        left: First column of the picture in it.
        inner_height: Lines that the resized picture takes there.
        inner_width: Columns that it takes there.
    """

    height: int
    width: int
    top: int
    left: int
    inner_height: int
    inner_width: int

    def cells(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the cells of a map of this size that the picture touches."""
        down, across = height / self.height, width / self.width
        bottom, right = self.top + self.inner_height, self.left + self.inner_width
        return (
            slice(int(self.top * down), int(np.ceil(bottom * down))),
            slice(int(self.left * across), int(np.ceil(right * across))),
        )

    def onto_picture(self, values: FloatMap, height: int, width: int) -> FloatMap:
        """Return a map of the letterboxed image at the pixels of the picture, the padding cut off.

        Finer pixels are interpolated; pixels no finer than the cells of the map are means of what they cover.

        Args:
            values: The map (h, w).
            height: Height to bring it to.
            width: Width to bring it to.
        """
        fine = height * self.height > values.shape[0] * self.inner_height
        enlarge = cv2.INTER_LINEAR if fine else cv2.INTER_NEAREST
        whole = cv2.resize(values.astype(np.float32), (self.width, self.height), interpolation=enlarge)
        inside = whole[self.top : self.top + self.inner_height, self.left : self.left + self.inner_width]
        bring = cv2.INTER_LINEAR if height > self.inner_height else cv2.INTER_AREA
        return np.asarray(cv2.resize(inside, (width, height), interpolation=bring), np.float32)


def letterbox(picture: Picture, imgsz: int, stride: int) -> tuple[Picture, Frame]:
    """Resize a picture so that its longer side is `imgsz`, and pad it to multiples of the stride, as `predict` does.

    Args:
        picture: (H, W) or (H, W, C).
        imgsz: Pixels of the longer side.
        stride: What both sides of the result are multiples of.
    """
    height, width = picture.shape[:2]
    ratio = min(imgsz / height, imgsz / width)
    inner_height, inner_width = max(1, round(height * ratio)), max(1, round(width * ratio))
    if (inner_height, inner_width) != (height, width):
        picture = np.asarray(cv2.resize(picture, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR), np.uint8)
    down, across = ((imgsz - side) % stride / 2 for side in (inner_height, inner_width))
    top, bottom, left, right = (round(pad + shift) for pad in (down, across) for shift in (-0.1, 0.1))
    pads = ((top, bottom), (left, right), (0, 0))[: picture.ndim]
    padded = np.pad(picture, pads, constant_values=_GREY)
    return padded, Frame(padded.shape[0], padded.shape[1], top, left, inner_height, inner_width)


def to_tensor(picture: Picture) -> torch.Tensor:
    """Return a picture, grey or in OpenCV's order of colours, as an image (1, C, H, W) in [0, 1], RGB."""
    planes = picture[None] if picture.ndim == 2 else picture[..., ::-1].transpose(2, 0, 1)  # noqa: PLR2004
    return torch.from_numpy(np.ascontiguousarray(planes)).float()[None] / 255


def find_pictures(source: str | Path) -> list[Path]:
    """Return the picture that a path names, or those in a folder, sorted.

    Raises:
        UserError: There is no such picture or folder, or none in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise UserError(f"{source}: no pictures in this folder ({', '.join(sorted(_SUFFIXES))})")
        return found
    near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"source={source}: no such picture or folder{did_you_mean(path.name, near)}")


def read_picture(path: Path, channels: int = 3) -> Picture:
    """Read a picture in OpenCV's order of colours, or in grey for one channel.

    Raises:
        UserError: It cannot be read as a picture, or a model reads neither grey nor colours.
    """
    modes = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
    if channels not in modes:
        raise UserError(f"the model reads images of {channels} channels; maps takes pictures of 1 or 3")
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    picture = cv2.imdecode(content, modes[channels]) if content.size else None  # imread fails on some file names
    if picture is None:
        raise UserError(f"{path}: not a picture that OpenCV can read")
    return np.asarray(picture, np.uint8)
