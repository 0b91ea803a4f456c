"""Arrays with a header in one .npz file: written whole or not at all, read without pickle."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.files import write_atomically

__all__ = ["damaged", "fingerprint", "load", "save"]

_HEADER = "header"
# What reading a damaged zip, or a damaged array in it, raises.
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
)
_CURE = "restore it, or delete its folder to run it again"


def save(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays and a header of plain values.

    Raises:
        UserError: The disk is full or cannot be written; the old content is as it was.
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
        version: The `version` that its header must have.

    Raises:
        UserError: The file is missing, damaged, or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {_CURE}") from None
    except _DAMAGE as error:
        raise damaged(path, type(error).__name__) from None
    if not isinstance(header, dict) or header.get("version") != version:
        written = header.get("version") if isinstance(header, dict) else None
        raise UserError(
            f"{path}: written in format {written}, this yolo-attn reads {version}; "
            "use the yolo-attn that wrote it, or delete its folder to run it again"
        )
    return header, arrays


def damaged(path: Path, reason: str) -> UserError:
    """Return the error for a file whose content makes no sense."""
    return UserError(f"{path}: damaged ({reason}); {_CURE}")


def fingerprint(path: Path) -> str:
    """Return a hash of a file's content, from the checksums in its directory: large files are not read.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            members = sorted((item.filename, item.CRC, item.file_size) for item in file.infolist())
    except FileNotFoundError:
        raise UserError(f"{path}: missing; {_CURE}") from None
    except _DAMAGE as error:
        raise damaged(path, type(error).__name__) from None
    return hashlib.sha256(repr(members).encode()).hexdigest()
