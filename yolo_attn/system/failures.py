"""Recognition and messages of a full disk, missing permission and exhausted memory."""

from __future__ import annotations

import errno
from pathlib import Path

from yolo_attn.errors import UserError

__all__ = ["FULL_DISK", "NOT_WRITABLE", "disk_error", "is_disk_full", "is_out_of_memory"]

FULL_DISK = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

# Parts of the messages of PyTorch, OpenCV and Python.
_OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "insufficient memory",
    "t allocate memory",
    "size calculation overflow",
)


def disk_error(error: OSError, path: Path, key: str = "project=FOLDER") -> UserError:
    """Return the error to raise for a path that cannot be written.

    Args:
        error: The system's error.
        path: The path.
        key: The option that sets another path.
    """
    if error.errno in FULL_DISK:
        return UserError(f"{path}: no space left on the disk; free some and run the same command again")
    if error.errno in NOT_WRITABLE:
        reason = "read-only file system" if error.errno == errno.EROFS else "no permission"
        return UserError(f"{path}: cannot be written ({reason}); give a writable one with {key}")
    return UserError(f"{path}: cannot be written ({error.strerror or error}); give another with {key}")


def is_disk_full(error: BaseException) -> bool:
    """Return True if an exception, or one that caused it, reports a full disk."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, OSError) and current.errno in FULL_DISK:
            return True
        current = current.__cause__ or current.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if an error reports exhausted memory of the CPU or a GPU."""
    return isinstance(error, MemoryError) or any(part in str(error).lower() for part in _OUT_OF_MEMORY)
