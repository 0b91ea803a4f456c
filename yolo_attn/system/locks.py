"""Exclusive use of a folder by one process."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from yolo_attn.errors import UserError
from yolo_attn.system.failures import disk_error

__all__ = ["DATASET_SECONDS", "FolderLock"]
DATASET_SECONDS = 24 * 3600.0  # timeout for another run of a study that downloads or scans the dataset

_LOCKED_BYTE = 1 << 20  # Windows locks byte ranges; this one leaves the process id readable to others


class FolderLock:
    """Exclusive use of a folder by one process; the system releases it when the process ends for any reason.

    If the owner ends without a release, its forks (a data loader's workers) keep the lock until they end.

    Args:
        folder: An existing folder.
        name: The locked file in it, which contains the owner's process id.
    """

    def __init__(self, folder: Path, name: str = ".lock", key: str = "project=FOLDER") -> None:
        self.path, self._key = folder / name, key
        self._handle: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock.

        Args:
            timeout: Seconds to wait.

        Returns:
            False if another process keeps the lock.

        Raises:
            UserError: The folder cannot be written.
        """
        try:
            # Without O_NOFOLLOW a link in a received folder would truncate another file.
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise disk_error(error, self.path, self._key) from error
        deadline = time.monotonic() + timeout
        while not _lock(handle):
            if time.monotonic() >= deadline:
                os.close(handle)
                return False
            time.sleep(0.1)
        self._handle = handle
        with contextlib.suppress(OSError):  # the process id is only information for other processes
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        return True

    def owner(self) -> str:
        """Return the owner's process id, or "?"."""
        with contextlib.suppress(OSError):
            return self.path.read_text(encoding="utf-8").strip() or "?"
        return "?"

    def release(self) -> None:
        """Release the lock."""
        if self._handle is not None:
            _unlock(self._handle)  # closing does not unlock while a fork of this process has the file open
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> FolderLock:
        if self._handle is None and not self.acquire():
            raise UserError(
                f"{self.path.parent}: in use by another command (process {self.owner()}); wait until it ends, or give "
                "another folder"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(handle: int) -> bool:
    """Lock an open file without waiting; return True if locked or if the system does not support locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        except OSError:
            return False
        return True
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Only a lock of another process counts; a file system without locks must not prevent a study.
        return error.errno not in {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
    return True


def _unlock(handle: int) -> None:
    """Unlock an open file for this process and its forks."""
    with contextlib.suppress(OSError, ImportError):  # a system or file system without locks
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_UN)
