"""Limits of memory and processors of the control groups of this process, as in containers and jobs of a scheduler.

`psutil` and `os.sched_getaffinity` do not know them. Both versions of Linux's interface are read; other systems have no
such limits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["cpu_limit", "free_memory"]

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cpu_limit() -> float | None:
    """Return how many processors the tightest limit allows on average; None without one."""
    limits = [share for folder in _folders("cpu") if (share := _cpu_share(folder)) is not None]
    return min(limits, default=None)


def free_memory() -> int | None:
    """Return the bytes that the tightest limit leaves, with those of files that the system can drop; None without."""
    left = [free for folder in _folders("memory") if (free := _free_bytes(folder)) is not None]
    return min(left, default=None)


def _cpu_share(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    quota, period = quota or _read(folder / "cpu.cfs_quota_us"), period or _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _free_bytes(folder: Path) -> int | None:
    limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
    used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
    if not limit.isdigit() or not used.isdigit():  # "max": unlimited
        return None
    counts = dict(line.split(None, 1) for line in _read(folder / "memory.stat").splitlines())
    files = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return max(0, int(limit) - int(used) + int(files))


def _folders(controller: str) -> Iterator[Path]:
    """Yield the folders with the limits of a controller for this process, from its own group to the root."""
    for line in _read(_OWN).splitlines():
        number, controllers, group = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        root = _ROOT if number == "0" else _ROOT / controller
        path = PurePosixPath(group.lstrip("/"))
        yield from (root / part for part in (path, *path.parents))


def _read(path: Path) -> str:
    """Return a file's text; "" without the file."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""
