"""The files of datasets as the installed Ultralytics reads them: image formats, image checks and downloads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from ultralytics.data import utils
from ultralytics.utils import patches

from yolo_attn.errors import UserError

__all__ = ["IMAGE_SUFFIXES", "download_dataset", "open_image", "repair_image"]

IMAGE_SUFFIXES = frozenset(utils.IMG_FORMATS)
"""Suffixes of images that Ultralytics reads, without the dot."""


def open_image(stream: BinaryIO) -> Any:
    """Open an image with Pillow's own function.

    Recent releases replace that function with one that installs a package for unknown formats.
    """
    return getattr(patches, "_image_open", Image.open)(stream)


def repair_image(image: Path) -> str:
    """Apply Ultralytics' check of an image, which writes a JPEG without a clean end again.

    Args:
        image: The file; it is changed.

    Returns:
        The reason for which Ultralytics skips the image; "" if it does not.
    """
    _, _, corrupt, message = utils.verify_image(((str(image), 0), ""))
    return message.rpartition("image/label: ")[2] if corrupt else ""


def download_dataset(data: str, task: str = "detect") -> None:
    """Download a dataset that is not on this machine.

    Args:
        data: A data YAML, an archive or a URL; for classification also the name of a folder.
        task: The task of its labels.

    Raises:
        UserError: The dataset cannot be downloaded.
    """
    try:
        (utils.check_cls_dataset if task == "classify" else utils.check_det_dataset)(data)
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"data={data}: could not be downloaded ({' '.join(str(error).split())})") from None
