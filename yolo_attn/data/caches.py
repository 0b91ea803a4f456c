"""Ultralytics' label caches that are older than the files they were made from."""

from __future__ import annotations

from pathlib import Path

from yolo_attn.data.labels import label_path
from yolo_attn.data.summary import DataSummary

__all__ = ["drop_stale_caches", "stale_cache"]


def stale_cache(image: str, changed: int) -> Path | None:
    """Return the label cache of a split if it is out of date.

    Args:
        image: The split's first image. The cache is next to its label folder.
        changed: Time of the last change to the split's images and label files, in nanoseconds.
    """
    cache = Path(label_path(image)).parent.with_suffix(".cache")
    return cache if cache.is_file() and cache.stat().st_mtime_ns < changed else None


def drop_stale_caches(summary: DataSummary) -> None:
    """Remove the label caches that are out of date; Ultralytics makes new ones.

    Some Ultralytics releases compare only file names and sizes, and would train and evaluate with the old labels. A
    cache that cannot be removed is logged.

    Args:
        summary: The return value of `check_data`.
    """
    for cache in (split.stale_cache for split in summary.splits.values()):
        if cache is None:
            continue
        try:
            cache.unlink(missing_ok=True)
        except OSError as error:
            from yolo_attn.host.installation import LOGGER

            LOGGER.warning(
                f"yolo-attn: {cache} is older than the labels and cannot be removed ({error.strerror}); remove it, "
                "because some Ultralytics releases would train with its old labels"
            )
