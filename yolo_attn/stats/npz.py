"""Arrays with a header in one .npz file, written atomically and read without pickle.

Files may be untrusted. A file is read only if its arrays are plain numbers or text, have the size of their shapes, and
are not too large together, so a small file cannot unpack to fill the memory.
"""

from __future__ import annotations

import io
import json
import math
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.system.files import file_hash, write_atomically

__all__ = ["MOST_BYTES", "damaged", "fingerprint", "load", "save"]

_HEADER = "header"
# Exceptions of reading a damaged zip file, or a damaged array in it.
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    MemoryError,
    RecursionError,
)
MOST_BYTES = 2 * 2**30
"""Largest size of all arrays of a file, unpacked; 100,000 images with 300 detections each need half of it."""
_MOST_ARRAYS = 10_000
_REPAIR = "restore it, or delete its folder to run it again"


def save(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and a header of plain values.

    Raises:
        UserError: The disk is full or cannot be written; the old content is unchanged.
    """
    stream = io.BytesIO()
    text = json.dumps(header).encode()
    content: dict[str, Any] = {_HEADER: np.frombuffer(text, np.uint8), **arrays}
    np.savez_compressed(stream, **content)
    write_atomically(path, stream.getvalue())


def load(path: Path, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return header and arrays.

    Args:
        path: The file.
        version: Required `version` of the header.

    Raises:
        UserError: The file is missing, damaged, or of another version.
    """
    try:
        _check_members(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {_REPAIR}") from None
    except UserError:
        raise
    except _DAMAGE as error:
        raise damaged(path, type(error).__name__) from None
    if not isinstance(header, dict) or header.get("version") != version:
        written = header.get("version") if isinstance(header, dict) else None
        raise UserError(
            f"{path}: written in format {written}, this yolo-attn reads {version}; "
            "use the version that wrote it, or delete its folder to run it again"
        )
    return header, arrays


def damaged(path: Path, reason: str) -> UserError:
    """Return the error for a file with invalid content."""
    return UserError(f"{path}: damaged ({reason}); {_REPAIR}")


def _check_members(path: Path) -> None:
    """Raise UserError unless a file's arrays are plain, complete and not too large according to their headers."""
    if path.exists() and not path.is_file():  # reading a pipe would block
        raise damaged(path, "not a file")
    with zipfile.ZipFile(path) as file:
        members = file.infolist()
        size = sum(member.file_size for member in members)
        if size > MOST_BYTES or len(members) > _MOST_ARRAYS:
            raise damaged(path, f"it unpacks to {len(members)} arrays of {size / 2**30:.1f} GiB")
        for member in members:
            with file.open(member) as stream:
                count, dtype = _array_header(stream)
                if dtype.hasobject:
                    raise damaged(path, f"{member.filename} contains Python objects")
                # zipfile never reads more than file_size, whatever the archive contains.
                if stream.tell() + count * dtype.itemsize != member.file_size:
                    raise damaged(path, f"{member.filename} does not have the size of its shape")


def _array_header(stream: Any) -> tuple[int, np.dtype[Any]]:
    """Return the number of values of a stored array and their type."""
    formats = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = formats[np.lib.format.read_magic(stream)](stream)
    if any(length < 0 for length in shape):
        raise ValueError("a negative length")
    return math.prod(shape), dtype


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, computed once per process while the file does not change.

    Raises:
        UserError: The file is missing or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise damaged(path, "not a file")
        return file_hash(path)
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {_REPAIR}") from None
    except OSError as error:
        raise damaged(path, type(error).__name__) from None
