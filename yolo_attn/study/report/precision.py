"""Precision-recall curves of the arms, from the stored matches of their runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_attn.errors import UserError
from yolo_attn.study.files import MATCHES
from yolo_attn.study.report.curves import Curve
from yolo_attn.study.results.records import ArmSummary, StudyResults

__all__ = ["read_precision"]

_MAX_BYTES = 100_000_000  # of all matches together, which take about three seconds


def read_precision(folder: Path, study: StudyResults) -> Mapping[str, Curve] | None:
    """Return precision against recall at IoU 0.5, in percent, by arm; None if it would take long.

    Args:
        folder: The study's folder.
        study: The results.
    """
    paths = {arm.name: _paths(folder, arm) for arm in study.arms}
    if sum(path.stat().st_size for found in paths.values() for path in found) > _MAX_BYTES:
        return None
    curves = {name: _curve(found) for name, found in paths.items()}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _paths(folder: Path, arm: ArmSummary) -> list[Path]:
    paths = [folder / run.folder / MATCHES for run in arm.done if run.folder]
    return [path for path in paths if path.is_file()]


def _curve(paths: list[Path]) -> Curve | None:
    """Return mean and band over runs; None if no run has a curve."""
    from yolo_attn.stats.ap import RECALLS
    from yolo_attn.stats.curves import precision_by_recall
    from yolo_attn.stats.matches import Matches

    found = []
    for path in paths:
        try:
            curve = precision_by_recall(Matches.load(path))
        except UserError:  # damaged, which the numbers have reported or do not depend on
            continue
        if np.isfinite(curve).all():
            found.append(100 * curve)
    values = np.array(found)
    return Curve(100 * RECALLS, values.mean(0), values.min(0), values.max(0)) if found else None
