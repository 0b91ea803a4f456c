"""Files that are read with their mistakes named, and written whole or not at all; folders that one process holds."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from yolo_attn.errors import UserError, plain

__all__ = [
    "EXPONENT",
    "FULL_DISK",
    "NOT_WRITABLE",
    "YAML_SUFFIXES",
    "FolderLock",
    "as_json",
    "as_yaml",
    "disk_error",
    "finite",
    "is_disk_full",
    "is_file",
    "is_folder",
    "make_folder",
    "parse_yaml",
    "read_json",
    "read_text",
    "read_yaml",
    "shortened",
    "write_atomically",
    "write_new",
]

FULL_DISK = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# 1e-4 and the like, which YAML 1.1 reads as text: it wants 1.0e-4.
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
YAML_SUFFIXES = (".yaml", ".yml")
_TEMPORARY = ".tmp"
_MOST_JSON = 256 * 2**20  # bytes
_LOCKED_BYTE = 1 << 20  # Windows locks bytes: one beyond the process id, which others must be able to read


def disk_error(error: OSError, path: Path, key: str = "project=FOLDER") -> UserError:
    """Return the one line that tells a user why a path could not be written, and the cure.

    Args:
        error: What went wrong.
        path: The path.
        key: What gives another one.
    """
    if error.errno in FULL_DISK:
        return UserError(f"{path}: no space left on the disk; free some and give the same command again")
    if error.errno in NOT_WRITABLE:
        reason = "read-only file system" if error.errno == errno.EROFS else "no permission"
        return UserError(f"{path}: cannot be written ({reason}); give one that can be with {key}")
    return UserError(f"{path}: cannot be written ({error.strerror or error}); give another with {key}")


def is_file(path: str | Path) -> bool:
    """Return True for an existing file; a name that no file can have, such as one that is too long, is none."""
    return os.path.isfile(path)  # noqa: PTH113 (Path.is_file raises for such a name)


def is_folder(path: str | Path) -> bool:
    """Return True for an existing folder; a name that none can have is none."""
    return os.path.isdir(path)  # noqa: PTH112


def shortened(name: str, most: int = 100) -> str:
    """Return a name for a file, the end of a long one replaced by its hash: file systems take 255 bytes at most."""
    if len(name) <= most:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{name[: most - 9].rstrip('-.')}-{digest}"


def is_disk_full(error: BaseException) -> bool:
    """Return True when an exception, or one that led to it, says that the disk is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in FULL_DISK:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def make_folder(path: Path, key: str = "project=FOLDER") -> None:
    """Make a folder and its parents; it may exist.

    Args:
        path: The folder.
        key: What gives another one, for the message.

    Raises:
        UserError: The folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, path, key) from error


def write_atomically(path: Path, content: str | bytes, key: str = "project=FOLDER") -> None:
    """Write a file so that readers see the old content or the new, whatever happens in between.

    Args:
        path: The file; its folder exists.
        content: Its whole content; text is encoded as UTF-8.
        key: What gives another place, for the message.

    Raises:
        UserError: The disk is full or cannot be written; the old content is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)  # noqa: PTH105 (the name by which tests make it fail)
        _sync_folder(path.parent)
    except OSError as error:
        raise disk_error(error, path, key) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_new(path: Path, text: str, *, exist_ok: bool) -> None:
    """Write a text file that is not there yet.

    Args:
        path: The file.
        text: Its whole content.
        exist_ok: Whether one that is there may be replaced.

    Raises:
        UserError: It is there and may not be replaced, or it cannot be written.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give a file with out=FILE, such as out={path / 'mine.yaml'}")
    if path.exists() and not exist_ok:
        raise UserError(f"{path} exists and was kept; give another out=FILE, or exist_ok=True to replace it")
    make_folder(path.parent, "out=FILE")
    write_atomically(path, text, "out=FILE")


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlive a power cut, where the system can."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    with contextlib.suppress(OSError):  # some network file systems refuse; the rename itself is done
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_text(path: str | Path, *, lenient: bool = False) -> str:
    """Read a text file.

    Args:
        path: The file.
        lenient: Whether bytes that are not UTF-8, such as comments in another encoding, and unprintable signs are left
            out, as Ultralytics does. A file with zero bytes is no text all the same.

    Raises:
        UserError: It is missing or not text.
    """
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig", errors="ignore" if lenient and b"\0" not in content else "strict")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file (UTF-8)") from error
    return yaml.reader.Reader.NON_PRINTABLE.sub("", text) if lenient else text


def read_yaml(path: str | Path, *, lenient: bool = False) -> Any:
    """Read a YAML file safely.

    Args:
        path: The file.
        lenient: As in `read_text`.

    Raises:
        UserError: It is missing, not text or not YAML; one line names what and where.
    """
    return parse_yaml(read_text(path, lenient=lenient), path)


def parse_yaml(text: str, source: str | Path) -> Any:
    """Return what a YAML text holds.

    Args:
        text: The text.
        source: Where it is from, for the message.

    Raises:
        UserError: It is not YAML; line and column are named.
    """
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{source}{where}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise UserError(f"{source}: not valid YAML: {plain(str(error))}") from error


def as_yaml(value: Any) -> str:
    """Return a value in one line, as a YAML holds it (true, null, [3, 5]); what no YAML can hold as Python shows it."""
    try:
        text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    except yaml.YAMLError:
        return repr(value)
    return text.removesuffix("\n").removesuffix("\n...")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that this package wrote.

    Raises:
        UserError: The file is damaged or is not a mapping.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode) or state.st_size > _MOST_JSON:  # a pipe would be waited for
            raise OSError(errno.EINVAL, "not a file of JSON")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise UserError(f"{path}: damaged ({reason}); restore it, or delete its folder to start it anew") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: damaged (no mapping); restore it, or delete its folder to start it anew")
    return content


def as_json(data: Mapping[str, Any]) -> str:
    """Return data as JSON text; a number that is not finite, which JSON does not have, becomes null."""
    return json.dumps(finite(data), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def finite(value: Any) -> Any:
    """Return a value with None in place of numbers that are not finite, and with lists in place of tuples."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


class FolderLock:
    """Exclusive use of a folder by one process; the system releases it when the process ends, however it ends.

    Should the owner end without a release, forks of it (a data loader's workers) keep the lock until they end too.

    Args:
        folder: An existing folder.
        name: Its file that is locked, and holds the owner's process id.
    """

    def __init__(self, folder: Path, name: str = ".lock") -> None:
        self.path = folder / name
        self._handle: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Take the lock, waiting up to a number of seconds; return False when another process keeps it.

        Raises:
            UserError: The folder cannot be written.
        """
        try:
            # A link in a folder from somebody else would have another file emptied.
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise disk_error(error, self.path) from error
        deadline = time.monotonic() + timeout
        while not _lock(handle):
            if time.monotonic() >= deadline:
                os.close(handle)
                return False
            time.sleep(0.1)
        self._handle = handle
        with contextlib.suppress(OSError):  # the process id is only there to be told to a second process
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
        return True

    def owner(self) -> str:
        """Return the process id that the owner wrote, or "?"."""
        with contextlib.suppress(OSError):
            return self.path.read_text(encoding="utf-8").strip() or "?"
        return "?"

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            _unlock(self._handle)  # closing alone does not unlock while a fork of this process has the file open
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> FolderLock:
        if self._handle is None and not self.acquire():
            raise UserError(
                f"{self.path.parent}: another compare (process {self.owner()}) works in it; wait until it is done, or "
                "take another folder"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(handle: int) -> bool:
    """Lock an open file without waiting; True when locked, or when the system knows no locks."""
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
        # A file system without locks must not stop a study; only "held by another" does.
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
