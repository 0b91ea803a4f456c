"""Whether training can use an image, found out without decoding it wherever its header and its end tell."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["ImageState", "inspect_image"]

HEAD = 1 << 16  # bytes that are read of every image
LEAST_SIDE = 10  # pixels; Ultralytics leaves smaller images out
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG"
# What Pillow opens with further packages only; whether it can is left to Ultralytics.
SPECIAL = ("avif", "dng", "heic", "heif", "jp2")


class ImageState(NamedTuple):
    """An image file.

    Args:
        size: Its bytes, as training will find them.
        changed: When it last changed, in nanoseconds.
        problem: Why training cannot use it, "" when it can.
    """

    size: int
    changed: int
    problem: str = ""


def inspect_image(image: str) -> ImageState:
    """Return the state of an image file, found as Ultralytics finds it.

    A JPEG is sound when its header can be read and it ends as a JPEG does; one without a clean end is opened as
    Ultralytics' first scan opens it, which repairs it or leaves it out. A PNG has a checksum for each of its parts.
    Images of other formats, which are few, are decoded.
    """
    try:
        with open(image, "rb", buffering=0) as stream:  # noqa: PTH123 (a Path for each image is slow)
            state = os.fstat(stream.fileno())
            changed = max(state.st_mtime_ns, state.st_ctime_ns)  # a copy may keep the date of its content only
            head = stream.read(HEAD)
            if head.startswith(JPEG_START) and len(head) > len(JPEG_END):
                stream.seek(-len(JPEG_END), os.SEEK_END)
                if stream.read() != JPEG_END:
                    problem = _problem(image, head, stream)
                    return ImageState(state.st_size, changed, problem) if problem else _repaired(image, changed)
            return ImageState(state.st_size, changed, _problem(image, head, stream))
    except OSError as error:
        return ImageState(0, 0, (error.strerror or type(error).__name__).lower())


def _problem(image: str, head: bytes, stream: io.FileIO) -> str:
    """Return why Ultralytics would leave an image out, "" when it would not."""
    if not head:
        return "empty file"
    if image.rpartition(".")[2].lower() in SPECIAL:
        return ""
    if head.startswith(JPEG_START) and not _content_problem(io.BytesIO(head), decode=False):
        return ""  # nearly always: the header is in what was read already
    stream.seek(0)
    return _content_problem(io.BufferedReader(stream), decode=not head.startswith((JPEG_START, PNG_START)))


def _content_problem(stream: BinaryIO, *, decode: bool) -> str:
    from PIL import UnidentifiedImageError

    from yolo_attn.host.dataset_files import IMAGE_SUFFIXES, open_image

    try:
        opened = open_image(stream)
        size, kind = opened.size, str(opened.format)
        if decode:
            opened.load()
        else:
            opened.verify()
    except UnidentifiedImageError:
        return "not an image"
    except Exception as error:  # Pillow raises whatever a damaged file leads to
        return " ".join(str(error).split())[:80] or type(error).__name__
    if min(size) < LEAST_SIDE:
        return f"{size[0]} x {size[1]} pixels, below {LEAST_SIDE}"
    return "" if kind.lower() in {*IMAGE_SUFFIXES, "jpeg2000"} else f"a {kind}, which Ultralytics does not take"


def _repaired(image: str, changed: int) -> ImageState:
    """Return the state of a JPEG without a clean end after Ultralytics' first scan, which writes such files anew.

    The scan is done on a copy. So the size is the same before and after it, and it is what training reads.
    """
    from yolo_attn.host.dataset_files import repair_image

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(shutil.copy(image, folder))
        problem = repair_image(copy)
        size = copy.stat().st_size
    return ImageState(size, changed, problem[:80])
