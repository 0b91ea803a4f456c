"""Seals: keyed hashes that distinguish files of this user's processes from files of others.

A study's folder may come from anyone and contain anything. Caches in it, and files that name paths of this machine,
therefore carry a seal, whose key never leaves this user's settings folder. Content without a valid seal is computed
again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from functools import lru_cache
from pathlib import Path

__all__ = ["is_sealed", "seal"]

_FILE = "yolo-attn.key"
_BYTES = 32
_BINARY = getattr(os, "O_BINARY", 0)  # without it Windows writes two bytes for each byte 10 of the key


def seal(*parts: bytes) -> str:
    """Return the seal of some content, which only this user's processes can compute."""
    return hmac.new(_key(), b"".join(hashlib.sha256(part).digest() for part in parts), hashlib.sha256).hexdigest()


def is_sealed(mark: object, *parts: bytes) -> bool:
    """Return True if a seal is valid for the content."""
    return isinstance(mark, str) and hmac.compare_digest(mark.encode(errors="replace"), seal(*parts).encode())


def _key() -> bytes:
    from yolo_attn.host.installation import settings_folder

    return _key_in(settings_folder(), os.getpid())


@lru_cache(maxsize=4)
def _key_in(folder: Path, process: int) -> bytes:
    """Return the key in a folder, which is created if missing; if it cannot be stored, a key for this process only."""
    path = folder / _FILE
    key = _read(path)
    if key is None:
        fresh = folder / f".{_FILE}.{process}.tmp"
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            try:
                os.write(handle, secrets.token_bytes(_BYTES))
            finally:
                os.close(handle)
            _put(fresh, path)
        key = _read(path)
    return key or secrets.token_bytes(_BYTES)


def _put(fresh: Path, path: Path) -> None:
    """Give a new key its name unless another process was faster; the slower process uses the faster one's key."""
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        if _read(path) is None:  # damaged
            fresh.replace(path)
    except OSError:  # a file system without links
        if not path.exists():
            fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(OSError):
        key = path.read_bytes()
        return key if len(key) == _BYTES else None
    return None
