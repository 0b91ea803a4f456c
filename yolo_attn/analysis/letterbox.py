"""Letterboxed or stretched images as model inputs, and maps resized back onto the image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from yolo_attn.errors import UserError, first_line

__all__ = [
    "Frame",
    "central_square",
    "check_image",
    "letterbox",
    "level_name",
    "read_image",
    "resample",
    "stretch",
    "to_tensor",
]

Image = NDArray[np.uint8]
FloatMap = NDArray[np.float32]

_GRAY = 114  # padding value of Ultralytics
_RGB = 3
_TIFF = (".tif", ".tiff")  # of which OpenCV does not read all in color


@dataclass(frozen=True)
class Frame:
    """Position of an image in its letterboxed version.

    Args:
        height: Height of the letterboxed image.
        width: Its width.
        top: First row of the image in it.
        left: First column of the image in it.
        inner_height: Rows of the resized image in it.
        inner_width: Columns of the resized image in it.
    """

    height: int
    width: int
    top: int
    left: int
    inner_height: int
    inner_width: int

    def positions(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the positions of a map of this size that overlap the image."""
        down, across = height / self.height, width / self.width
        bottom, right = self.top + self.inner_height, self.left + self.inner_width
        return (
            slice(int(self.top * down), int(np.ceil(bottom * down))),
            slice(int(self.left * across), int(np.ceil(right * across))),
        )

    def inside(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the values (..., h, w) of the positions of a map that overlap the image."""
        down, across = self.positions(*values.shape[-2:])
        return values[..., down, across]

    def position(self, x: float, y: float, image: tuple[int, ...], positions: tuple[int, ...]) -> tuple[int, int]:
        """Return row and column of the position of a map that contains a pixel of the image.

        Args:
            x: Column of the pixel.
            y: Row of the pixel.
            image: Height and width of the image.
            positions: Height and width of the map of the letterboxed image.
        """
        down = self.top + (y + 0.5) * self.inner_height / image[0]
        across = self.left + (x + 0.5) * self.inner_width / image[1]
        row, column = int(down * positions[0] / self.height), int(across * positions[1] / self.width)
        return min(row, positions[0] - 1), min(column, positions[1] - 1)

    def extent(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of the letterboxed image in pixels of an image, as `imshow` takes them.

        Args:
            height: Height of the image.
            width: Its width.
        """
        down, across = height / self.inner_height, width / self.inner_width
        return (
            -self.left * across - 0.5,
            (self.width - self.left) * across - 0.5,
            (self.height - self.top) * down - 0.5,
            -self.top * down - 0.5,
        )

    def onto_image(self, values: FloatMap, height: int, width: int) -> FloatMap:
        """Return a map of the letterboxed image at the pixels of the image, without the padding.

        Pixels finer than the map are interpolated. Others are means of the positions that they cover.

        Args:
            values: The map (h, w).
            height: Height of the result.
            width: Width of the result.
        """
        fine = height * self.height > values.shape[0] * self.inner_height
        enlarge = cv2.INTER_LINEAR if fine else cv2.INTER_NEAREST
        whole = cv2.resize(values.astype(np.float32), (self.width, self.height), interpolation=enlarge)
        inside = whole[self.top : self.top + self.inner_height, self.left : self.left + self.inner_width]
        resample = cv2.INTER_LINEAR if height > self.inner_height else cv2.INTER_AREA
        return np.asarray(cv2.resize(inside, (width, height), interpolation=resample), np.float32)


def level_name(stride: float) -> str:
    """Return a map's stride as a level: "P3" for 8, or "stride 6" if it is not a power of two."""
    power = np.log2(stride)
    return f"P{power:.0f}" if power == round(power) else f"stride {stride:g}"


def letterbox(image: Image, imgsz: int, stride: int) -> tuple[Image, Frame]:
    """Resize an image so that its longer side is `imgsz`, and pad it to multiples of the stride, as `predict` does.

    Args:
        image: (H, W) or (H, W, C).
        imgsz: Pixels of the longer side.
        stride: Both sides of the result are multiples of it.
    """
    height, width = image.shape[:2]
    ratio = min(imgsz / height, imgsz / width)
    inner_height, inner_width = max(1, round(height * ratio)), max(1, round(width * ratio))
    if (inner_height, inner_width) != (height, width):
        image = np.asarray(cv2.resize(image, (inner_width, inner_height), interpolation=cv2.INTER_LINEAR), np.uint8)
    down, across = ((imgsz - side) % stride / 2 for side in (inner_height, inner_width))
    top, bottom, left, right = (round(pad + shift) for pad in (down, across) for shift in (-0.1, 0.1))
    pads = ((top, bottom), (left, right), (0, 0))[: image.ndim]
    padded = np.pad(image, pads, constant_values=_GRAY)
    return padded, Frame(padded.shape[0], padded.shape[1], top, left, inner_height, inner_width)


def stretch(image: Image, imgsz: int) -> tuple[Image, Frame]:
    """Resize an image to a square without padding, as `predict` does for RT-DETR.

    Args:
        image: (H, W) or (H, W, C).
        imgsz: Pixels of a side.
    """
    resized = cv2.resize(image, (imgsz, imgsz), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8), Frame(imgsz, imgsz, 0, 0, imgsz, imgsz)


def central_square(height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of an image that a classification model sees: its central square."""
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return slice(top, top + side), slice(left, left + side)


def resample(image: Image, imgsz: int) -> tuple[Image, Frame]:
    """Resize a square image with antialiasing, as `predict` does for classification.

    Args:
        image: (H, H) or (H, H, C).
        imgsz: Pixels of a side.
    """
    resized = PIL.Image.fromarray(image).resize((imgsz, imgsz), PIL.Image.Resampling.BILINEAR)
    return np.asarray(resized, np.uint8), Frame(imgsz, imgsz, 0, 0, imgsz, imgsz)


def to_tensor(image: Image) -> torch.Tensor:
    """Return an image, gray or BGR, as a tensor (1, C, H, W) in [0, 1], gray or RGB."""
    planes = image[None] if image.ndim == 2 else image[..., ::-1].transpose(2, 0, 1)  # noqa: PLR2004
    return torch.from_numpy(np.ascontiguousarray(planes)).float()[None] / 255


def check_image(image: NDArray[Any], channels: int) -> None:
    """Raise UserError unless an array is an image for a model.

    Args:
        image: The array.
        channels: Channels of the model's images.
    """
    planes = () if channels == 1 else (channels,)
    if image.dtype != np.uint8 or image.shape[2:] != planes or not image.size or image.ndim != len(planes) + 2:
        use = "(H, W)" if channels == 1 else f"(H, W, {channels})"
        order = ", BGR as OpenCV reads it" if channels == _RGB else ""
        raise UserError(f"source: an array of shape {image.shape} and type {image.dtype}; use {use}, uint8{order}")


def read_image(path: Path, channels: int = 3) -> Image:
    """Read an image as BGR, or as gray for one channel.

    Raises:
        UserError: The file cannot be read as an image, or the model takes neither 1 nor 3 channels.
    """
    modes = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}
    if channels not in modes:
        raise UserError(f"the model takes images of {channels} channels; maps takes images of 1 or 3")
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        image = cv2.imdecode(content, modes[channels]) if content.size else None  # imread fails with some file names
    except cv2.error as error:  # more pixels than it allows
        raise UserError(f"{path}: cannot be read ({first_line(error)}); give a smaller image") from error
    if image is None:
        depth = "; save it with 8 or 16 bits per channel" if path.suffix.lower() in _TIFF else ""
        raise UserError(f"{path}: not an image or video that OpenCV can read{depth}")
    return np.asarray(image, np.uint8)
