"""Training curves from Ultralytics' `results.csv`, whose columns differ by version and task."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from yolo_attn.study.files import TRAIN_TABLE
from yolo_attn.study.results.records import ArmSummary, StudyResults

__all__ = ["Curve", "Curves", "read_curves"]

_Table = Mapping[str, list[float]]
_Floats = npt.NDArray[np.float64]
_BOXES = "metrics/mAP50-95(B)"
# Column of the task's main metric; boxes in all others, and as a substitute.
_COLUMNS = {
    "segment": "metrics/mAP50-95(M)",
    "pose": "metrics/mAP50-95(P)",
    "classify": "metrics/accuracy_top1",
    "semantic": "metrics/mIoU",
}


@dataclass(frozen=True)
class Curve:
    """A quantity as a function of x: mean over seeds, lowest and highest seed."""

    x: _Floats
    mean: _Floats
    low: _Floats
    high: _Floats


@dataclass(frozen=True)
class Curves:
    """Curves by arm: training loss and the validated main metric."""

    loss: Mapping[str, Curve]
    main: Mapping[str, Curve]


def read_curves(folder: Path, study: StudyResults) -> Curves:
    """Return the sum of the training losses, and the main metric in points if training validated.

    Args:
        folder: The study's folder.
        study: The results.
    """
    tables = {arm.name: _tables(folder, arm) for arm in study.arms}
    column = _COLUMNS.get(study.info.task or "", _BOXES)
    loss = {name: [_loss(table) for table in found] for name, found in tables.items()}
    main = {name: [_validated(table, column) for table in found] for name, found in tables.items()}
    return Curves(_curves(loss), _curves(main))


def _tables(folder: Path, arm: ArmSummary) -> list[_Table]:
    paths = [folder / run.folder / TRAIN_TABLE for run in arm.done if run.folder]
    return [table for path in paths if (table := _read(path))]


def _read(path: Path) -> _Table:
    """Read a table of numbers; {} without a table. Other values are NaN."""
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()))
    except (OSError, csv.Error):
        return {}
    if not rows:
        return {}
    names = [name.strip() for name in rows[0]]
    lines = [row for row in rows[1:] if len(row) == len(names)]
    return {name: [_float(row[column]) for row in lines] for column, name in enumerate(names)} if lines else {}


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _loss(table: _Table) -> _Floats | None:
    """Return the sum of the training losses at each epoch."""
    losses = [values for name, values in table.items() if name.startswith("train/") and name.endswith("loss")]
    return np.sum(losses, axis=0) if losses else None


def _validated(table: _Table, column: str) -> _Floats | None:
    """Return a metric at each epoch in points; None without validation, when at most the last epoch is not zero."""
    values = 100 * np.asarray(table.get(column, table.get(_BOXES, [])), dtype=np.float64)
    return values if np.any(values[:-1] > 0) else None


def _curves(found: Mapping[str, Sequence[_Floats | None]]) -> dict[str, Curve]:
    known = {name: [values for values in runs if values is not None] for name, runs in found.items()}
    return {name: _curve(runs) for name, runs in known.items() if runs}


def _curve(runs: Sequence[_Floats]) -> Curve:
    """Return mean and band over the epochs that all runs have; NaN if any run has no value."""
    length = min(len(values) for values in runs)
    values = np.stack([run[:length] for run in runs])
    values[~np.isfinite(values)] = np.nan
    return Curve(np.arange(1.0, length + 1), values.mean(0), values.min(0), values.max(0))
