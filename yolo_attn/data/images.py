"""Checks of image files, without decoding where the header and the end of the file are sufficient."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO, NamedTuple

__all__ = ["ImageState", "inspect_image"]

HEAD = 1 << 16  # bytes read from every image
MIN_SIDE = 10  # pixels; Ultralytics skips smaller images
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG"
# Pillow opens these formats only with further packages, so they are not checked.
UNCHECKED = ("avif", "dng", "heic", "heif", "jp2")


class ImageState(NamedTuple):
    """An image file.

    Args:
        size: Its size in bytes when training reads it.
        changed: Time of its last change, in nanoseconds.
        problem: Why training cannot use it, or "".
    """

    size: int
    changed: int
    problem: str = ""


def inspect_image(image: str) -> ImageState:
    """Check an image file with Ultralytics' rules.

    A JPEG is valid when its header can be read and it ends with the end-of-image marker. Without the marker it is
    passed to Ultralytics' own check, which repairs or rejects it. A PNG has a checksum in each chunk. Images of other
    formats, which are rare, are decoded.
    """
    try:
        with open(image, "rb", buffering=0) as stream:  # noqa: PTH123 (a Path for each image is slow)
            state = os.fstat(stream.fileno())
            changed = max(state.st_mtime_ns, state.st_ctime_ns)  # copying may preserve only the modification time
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
    """Return why Ultralytics would skip an image, or ""."""
    if not head:
        return "empty file"
    if image.rpartition(".")[2].lower() in UNCHECKED:
        return ""
    if head.startswith(JPEG_START) and not _content_problem(io.BytesIO(head), decode=False):
        return ""  # usually the header is in the bytes already read
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
    except Exception as error:  # Pillow raises many types for damaged files
        return " ".join(str(error).split())[:80] or type(error).__name__
    if min(size) < MIN_SIDE:
        return f"{size[0]} x {size[1]} pixels, below {MIN_SIDE}"
    return "" if kind.lower() in {*IMAGE_SUFFIXES, "jpeg2000"} else f"format {kind}, which Ultralytics does not support"


def _repaired(image: str, changed: int) -> ImageState:
    """Return the state of a JPEG without an end marker after Ultralytics' first scan, which rewrites such files.

    A copy is scanned, and the returned size is that of the rewritten file. The size is therefore the same before and
    after the first training.
    """
    from yolo_attn.host.dataset_files import repair_image

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        copy = Path(shutil.copy(image, folder))
        problem = repair_image(copy)
        size = copy.stat().st_size
    return ImageState(size, changed, problem[:80])
