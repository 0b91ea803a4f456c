"""Checks of the masks of semantic segmentation, following Ultralytics' rules.

A mask is an image of the size of its image, whose pixels are class indices, or 255 without a label. `label_mapping` of
a data YAML translates other numbers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError

__all__ = ["Masks", "find_mask", "mask_problem", "read_mapping"]

IGNORED = 255
VALUES = 256
PNG = "png"
TURNED = (5, 6, 7, 8)  # values of the EXIF tag for images that are stored with width and height exchanged
ORIENTATION = 274  # the tag
SHOWN = 5  # wrong values in a message


class Masks(NamedTuple):
    """Where masks are, and their valid values.

    Args:
        folder: Name of the folder that corresponds to `images`.
        valid: The valid values.
    """

    folder: str
    valid: frozenset[int]


def read_mapping(value: object, classes: int, path: Path) -> frozenset[int]:
    """Return the valid values of masks.

    Args:
        value: `label_mapping` of the data YAML.
        classes: Number of classes. With one class the values are 0 (background) and 1.
        path: The data YAML, for error messages.

    Raises:
        UserError: It is not a mapping of integers.
    """
    indices = {*range(max(classes, 2)), IGNORED}
    mapping = {number: number for number in range(VALUES)}
    if value is not None:
        problem = UserError(
            f"{path}: label_mapping must map numbers in masks to class indices or ignore_label, such as {{7: 0}}"
        )
        if not isinstance(value, Mapping):
            raise problem
        for key, target in value.items():
            name = IGNORED if target is None or str(target).strip() == "ignore_label" else target
            try:
                mapping[int(key)] = int(name)
            except (TypeError, ValueError):
                raise problem from None
    return frozenset(number for number in range(VALUES) if mapping[number] in indices)


def find_mask(image: str, folder: str) -> str:
    """Return the mask of an image: the last folder `images` is replaced, and the suffix is that of any image.

    Without any such file the result is the path of a PNG.
    """
    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES

    images, masks = f"{os.sep}images{os.sep}", f"{os.sep}{folder}{os.sep}"
    stem = masks.join(image.rsplit(images, 1)).rsplit(".", 1)[0]
    files = (f"{stem}.{suffix}" for suffix in (PNG, *sorted(IMAGE_SUFFIXES - {PNG})))
    return next((file for file in files if os.path.isfile(file)), f"{stem}.{PNG}")  # noqa: PTH113 (speed)


def mask_problem(image: str, content: bytes, masks: Masks) -> str:
    """Return why Ultralytics skips an image because of its mask, or "".

    Args:
        image: The image, which can be read.
        content: The mask's file.
        masks: The valid values.
    """
    from yolo_attn.host.dataset_files import open_image

    try:
        with open(image, "rb") as stream:  # noqa: PTH123
            size = _upright_size(open_image(stream))
        mask = open_image(io.BytesIO(content))
        values = _values(mask)
    except Exception as error:  # Pillow raises many types for damaged files
        return " ".join(str(error).split())[:80] or type(error).__name__
    if mask.size != size:
        return f"{mask.size[0]} x {mask.size[1]} pixels, its image {size[0]} x {size[1]}"
    wrong = sorted(set(np.unique(values).tolist()) - masks.valid)
    more = ", ..." if len(wrong) > SHOWN else ""
    return f"pixels of {', '.join(map(str, wrong[:SHOWN]))}{more}, which is no class" if wrong else ""


def _upright_size(opened: Any) -> tuple[int, int]:
    """Return width and height of an image as Ultralytics reads it."""
    width, height = opened.size
    return (height, width) if opened.getexif().get(ORIENTATION) in TURNED else (width, height)


def _values(opened: Any) -> NDArray[Any]:
    """Return the values of a mask: indices of a colored palette, otherwise gray levels."""
    if opened.mode == "P":
        colors = np.array(opened.getpalette()).reshape(-1, 3)
        return np.array(opened.convert("L") if (colors == colors[:, :1]).all() else opened)
    return np.array(opened if opened.mode in {"1", "L", "I", "I;16", "I;16B"} else opened.convert("L"), np.int32)
