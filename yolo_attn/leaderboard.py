"""The leaderboard: what each layer changes in a base, on some datasets, as measured by `benchmarks/leaderboard.py`.

The measurements are in `leaderboard.json`, next to this file. A row has the estimate of one difference. Intervals and
verdicts are computed when they are read, at the level for all rows of the dataset together, so they follow when rows
are added.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats.compare import MIN_IMAGES, MIN_SEEDS, PairedDifference
from yolo_attn.stats.moderation import LEAST, ModeratedVariances, moderate_differences
from yolo_attn.stats.spread import Spread, measure_spread
from yolo_attn.stats.verdicts import Verdict, read_verdict, simultaneous_alpha
from yolo_attn.system.paths import shipped

__all__ = [
    "MAIN_SITE",
    "MARGIN",
    "RECORD",
    "VERSION",
    "Board",
    "Row",
    "Setup",
    "layer_scores",
    "read_boards",
    "stored_boards",
]

RECORD = shipped("leaderboard.json")
VERSION = 1
"""The version of the record."""
MAIN_SITE = "neck"
"""The site at which every layer is measured."""
MARGIN = 0.005
"""Smallest difference that matters: half a point, as in `compare`."""
_LEAST_SEEDS = 2  # of a row with a variance
_LEAST_LAYERS = 3  # whose differences have a deviation worth dividing by


@dataclass(frozen=True)
class Setup:
    """What the rows of a board have in common.

    Args:
        data: Name of the dataset.
        digest: Its hash.
        images: Number of evaluated images, or of groups of them.
        groups: How the images are grouped; None if they are independent.
        task: Task of the models.
        metric: Name of the metric that the differences are in.
        base: Name of the base.
        weights: Hash of the base's checkpoint; None if the base is trained first.
        recipe: Training arguments of all runs.
        pretraining: Training arguments of the base's own training; empty without.
        lr_attention: Learning rate of the layers, relative to that of the base.
        seeds: The seeds.
        device: Kind of device.
    """

    data: str
    digest: str
    images: int | None = None
    groups: str | None = None
    task: str = "detect"
    metric: str = "mAP50-95"
    base: str = ""
    weights: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    lr_attention: float | None = None
    seeds: Sequence[int] = ()
    device: str = "cpu"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Setup:
        """Read the setup of a board."""
        return cls(**{key: value for key, value in data.items() if key in _names(cls)})

    def to_json(self) -> dict[str, Any]:
        """Return the setup as plain data."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def changes(self, now: Setup) -> list[str]:
        """Return what differs in another setup, such as "epochs 5, now 8"."""
        before, after = _flat(self.to_json()), _flat(now.to_json())
        keys = dict.fromkeys((*before, *after))
        return [f"{key} {before.get(key)}, now {after.get(key)}" for key in keys if before.get(key) != after.get(key)]


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a setup with the keys of its recipes beside the others."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if key == "recipe":
            found.update(value)
        elif key == "pretraining":
            found.update({f"pretraining {name}": item for name, item in value.items()})
        elif key not in ("data", "images"):  # a name, and what follows from the digest
            found[key] = value
    return found


def _names(cls: Any) -> set[str]:
    return {item.name for item in fields(cls)}


@dataclass(frozen=True)
class Row:
    """What one layer at one site changes.

    Args:
        layer: Name of the layer.
        site: The site.
        variant: The placement, as in `variants=`.
        code: Hash of the layer's code.
        mean: Mean difference to the base in the main metric, a fraction; None without a result.
        error: Its standard error; None with one seed.
        share: Share of training in the square of the error.
        training_df: Degrees of freedom of the noise of training.
        image_df: Degrees of freedom of the noise of the test images.
        seeds: Number of seeds.
        sd_training: Standard deviation over seeds of one run's difference.
        se_images: Standard error due to the test images.
        values: Difference of each seed.
        learnt: Whether the layer's runs or the base's have learned.
        problem: Why there is no result.
        params: Added parameters.
        gflops: Added GFLOPs.
        latency: Latency of one image relative to the base.
        seconds: Time of one run.
        command: The command of this row alone.
        start: Hash of the weights that the runs started from.
        hardware: Processor or GPU.
        threads: CPU threads of a run.
        versions: Versions of packages.
        date: Day of the measurement.
        ended: When it ended, in UTC.
    """

    layer: str
    site: str
    variant: str
    code: str
    mean: float | None = None
    error: float | None = None
    share: float = 1.0
    training_df: int = 0
    image_df: float | None = None
    seeds: int = 0
    sd_training: float | None = None
    se_images: float | None = None
    values: Sequence[float] = ()
    learnt: bool = True
    problem: str = ""
    params: int | None = None
    gflops: float | None = None
    latency: float | None = None
    seconds: float | None = None
    command: str = ""
    start: str | None = None
    hardware: str = ""
    threads: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    ended: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """Read a row; fields of later versions are ignored."""
        return cls(**{key: value for key, value in data.items() if key in _names(cls)})

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are not empty."""
        return {key: value for key, value in asdict(self).items() if value not in (None, "", {}, ())}

    @property
    def key(self) -> tuple[str, str]:
        """Layer and site, by which a board has one row."""
        return self.layer, self.site

    @property
    def placement(self) -> str:
        """Layer and site as text."""
        return f"{self.layer}@{self.site}"

    @property
    def has_interval(self) -> bool:
        """Whether the noise of its difference is known."""
        return self.mean is not None and self.error is not None and self.image_df is not None

    def interval(self, level: float, training: tuple[float, float] | None = None) -> tuple[float, float] | None:
        """Return the interval of a level, None if the noise is unknown.

        Args:
            level: The level.
            training: Moderated variance of the difference in one seed, and its degrees of freedom; those of the row
                alone if not given.
        """
        if self.mean is None or self.error is None or self.image_df is None:
            return None
        noise, images, df = self.share * self.error**2, (1 - self.share) * self.error**2, self.training_df
        if training is not None:
            noise, df = training[0] / self.seeds, int(training[1])
        found = PairedDifference(
            mean=self.mean,
            ci95=None,
            p=None,
            p_better=None,
            sd_training=self.sd_training,
            sd_bases=None,
            se_images=self.se_images,
            seeds=self.seeds,
            error=math.sqrt(noise + images),
            share=noise / (noise + images) if noise else 0.0,
            training_df=df,
            image_df=self.image_df,
        )
        return found.interval(level)


@dataclass(frozen=True)
class Board:
    """The rows of one dataset.

    Args:
        setup: What they have in common.
        rows: The rows, each layer once at each site.
    """

    setup: Setup
    rows: tuple[Row, ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Board:
        """Read a board."""
        return cls(Setup.from_json(data["setup"]), tuple(map(Row.from_json, data["rows"])))

    @property
    def comparisons(self) -> int:
        """The number of differences that hold together (K)."""
        return sum(row.has_interval for row in self.rows)

    @property
    def level(self) -> float:
        """The level of each interval, with which all of them hold together with 95 %."""
        return 1 - simultaneous_alpha(self.comparisons)

    @cached_property
    def moderated(self) -> ModeratedVariances | None:
        """The noise of training, moderated over the rows that have all seeds; None with few rows."""
        return moderate_differences(self._values) if len(self._complete) >= LEAST else None

    @cached_property
    def _training(self) -> dict[tuple[str, str], tuple[float, float]]:
        """The moderated variance of a row's difference in one seed, and its degrees of freedom, by key."""
        found = self.moderated
        if found is None:
            return {}
        return {
            row.key: (float(variance), found.df)
            for row, variance in zip(self._complete, found.differences, strict=True)
        }

    @cached_property
    def spread(self) -> Spread | None:
        """How much the layers at the main site differ from each other; None with few rows."""
        at_site = [row.site == MAIN_SITE for row in self._complete]
        return measure_spread(self._values[at_site]) if sum(at_site) >= LEAST else None

    @cached_property
    def _complete(self) -> tuple[Row, ...]:
        """The rows that have learned, with a difference in every seed."""
        seeds = len(self.setup.seeds)
        return tuple(row for row in self.rows if row.learnt and len(row.values) == seeds >= _LEAST_SEEDS)

    @property
    def _values(self) -> NDArray[np.float64]:
        """The differences of these rows, (rows, seeds)."""
        return np.array([row.values for row in self._complete])

    @property
    def by_difference(self) -> list[Row]:
        """The rows with a difference, the largest first."""
        return sorted((row for row in self.rows if row.mean is not None), key=lambda row: -(row.mean or 0.0))

    @property
    def failed(self) -> list[Row]:
        """The rows without a result."""
        return [row for row in self.rows if row.mean is None]

    def find(self, layer: str, site: str = MAIN_SITE) -> Row | None:
        """Return the row of a layer at a site, None if it is not measured."""
        return next((row for row in self.rows if row.key == (layer, site)), None)

    def interval(self, row: Row) -> tuple[float, float] | None:
        """Return the interval of a row that holds together with those of all rows; None if its noise is unknown."""
        return row.interval(self.level, self._training.get(row.key))

    def verdict(self, row: Row) -> Verdict | None:
        """Return the verdict that this interval leads to; None with too few seeds or images, or if nothing learned."""
        interval = self.interval(row)
        few = row.seeds < MIN_SEEDS or (self.setup.images or 0) < MIN_IMAGES
        return None if interval is None or few or not row.learnt else read_verdict(interval, MARGIN)

    def with_rows(self, rows: Sequence[Row]) -> Board:
        """Return the board with rows added; a new row replaces the one of its layer and site."""
        found = {row.key: row for row in (*self.rows, *rows)}
        return Board(self.setup, tuple(found.values()))


def stored_boards(path: Path = RECORD) -> dict[str, Board]:
    """Return the boards of a record by the name of their dataset; none if the file is missing.

    Raises:
        UserError: It is damaged, or of another version.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise UserError(f"{path}: a record of version {content['version']}; this yolo-attn reads {VERSION}")
        return {name: Board.from_json(board) for name, board in content["boards"].items()}
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as problem:
        reason = f"{type(problem).__name__}: {problem}"
        raise UserError(f"{path}: damaged ({reason}); restore it from the repository") from None


@functools.cache
def read_boards() -> dict[str, Board]:
    """Return the boards of the record that ships with the package."""
    return stored_boards()


def layer_scores(boards: Mapping[str, Board] | None = None) -> dict[str, float]:
    """Return the mean over datasets of each layer's standardized difference at the neck.

    In each dataset the median of the layers is subtracted and the result is divided by their median absolute deviation,
    so neither a dataset with large differences decides alone, nor do layers that fail change the scores of the others.
    A layer of average difference has the score zero. Rows of a single seed, or of runs that have not learned, do not
    count.

    Args:
        boards: The boards; by default those of the package.
    """
    found: dict[str, list[float]] = {}
    for board in (read_boards() if boards is None else boards).values():
        rows = [row for row in board.rows if row.site == MAIN_SITE and row.learnt and row.has_interval]
        means = {row.layer: row.mean or 0.0 for row in rows}
        if len(means) < _LEAST_LAYERS:
            continue
        middle = median(means.values())
        deviation = median(abs(mean - middle) for mean in means.values())
        if deviation > 0:
            for layer, mean in means.items():
                found.setdefault(layer, []).append((mean - middle) / deviation)
    return {layer: fmean(scores) for layer, scores in found.items()}
