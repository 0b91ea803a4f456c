"""What `results.json` says, as typed values: whatever is null, NaN, infinite or missing is None."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from yolo_attn.errors import plain

__all__ = ["MAIN", "Arm", "ClassResult", "Estimate", "Latency", "Run", "StudyView", "number"]

MAIN = "mAP50-95"
_UNDONE = ("failed", "interrupted")
_KINDS = ("baseline", "variant", "control")
_T = TypeVar("_T")
_NOTHING: Mapping[str, Any] = {}


def number(value: object) -> float | None:
    """Return a finite number as float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _numbers(mapping: object) -> dict[str, float | None]:
    return {str(key): number(value) for key, value in _mapping(mapping).items()}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _NOTHING


def _items(value: object) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else ()


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; for a difference also its p values.

    Args:
        mean: The mean.
        sd: Standard deviation over seeds.
        low: Lower end of the interval.
        high: Upper end of the interval.
        p: Two-sided p value of a difference.
        p_holm: The same after Holm's correction over the variants.
        p_better: How likely it is that the arm is better than the baseline.
    """

    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    p_better: float | None = None

    @classmethod
    def read(cls, data: object) -> Estimate:
        """Read `{"mean": ..., "ci95": [low, high], ...}`."""
        given = _mapping(data)
        ends = [number(end) for end in _items(given.get("ci95"))]
        low, high = ends if len(ends) == 2 and None not in ends else (None, None)  # noqa: PLR2004 (two ends)
        named = {key: number(given.get(key)) for key in ("mean", "sd", "p", "p_holm", "p_better")}
        return cls(low=low, high=high, **named)

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image."""

    median: float
    p10: float | None
    p90: float | None
    device: str | None

    @classmethod
    def read(cls, data: object) -> Latency | None:
        """Read an arm's `latency_ms`."""
        given = _mapping(data)
        median = number(given.get("median"))
        if median is None:
            return None
        return cls(median, number(given.get("p10")), number(given.get("p90")), _text(given.get("device")))


@dataclass(frozen=True)
class ClassResult:
    """What an arm reaches in one class."""

    result: Estimate
    delta: Estimate
    instances: int | None

    @classmethod
    def read(cls, data: object) -> ClassResult:
        """Read one entry of an arm's `per_class`."""
        given = _mapping(data)
        instances = number(given.get("instances"))
        count = None if instances is None else int(instances)
        return cls(Estimate.read(given), Estimate.read(given.get("delta")), count)


@dataclass(frozen=True)
class Run:
    """One arm trained with one seed."""

    seed: int
    status: str
    error: str | None
    seconds: float | None
    epochs: int | None
    folder: str | None
    metrics: Mapping[str, float | None]
    metrics_best: Mapping[str, float | None]
    metrics_ultralytics: Mapping[str, float | None]
    memory: Mapping[str, float | None]
    learnt: bool | None
    chance: float | None

    @classmethod
    def read(cls, data: object) -> Run:
        """Read one entry of an arm's `runs`."""
        given = _mapping(data)
        epochs = number(given.get("epochs"))
        return cls(
            seed=int(number(given.get("seed")) or 0),
            status=str(given.get("status") or "waiting"),
            error=plain(str(given["error"])) if given.get("error") else None,
            seconds=number(given.get("seconds")),
            epochs=None if epochs is None else int(epochs),
            folder=_text(given.get("folder")),
            metrics=_numbers(given.get("metrics")),
            metrics_best=_numbers(given.get("metrics_best")),
            metrics_ultralytics=_numbers(given.get("metrics_ultralytics")),
            memory=_numbers(given.get("memory_mib")),
            learnt=_truth(given.get("learnt")),
            chance=number(given.get("chance")),
        )

    @property
    def done(self) -> bool:
        """True when it was trained and measured."""
        return self.status == "done"


@dataclass(frozen=True)
class Arm:
    """One line of a study.

    Args:
        index: Its place in the plan, the baseline's being 0; decides its colour.
        name: As the user wrote it.
        kind: "baseline", "variant" or "control".
    """

    index: int
    name: str
    kind: str
    params: int | None
    gflops: float | None
    latency: Latency | None
    seconds: float | None
    memory: Mapping[str, float | None]
    runs: Sequence[Run]
    metrics: Mapping[str, Estimate]
    metrics_best: Mapping[str, Estimate]
    deltas: Mapping[str, Estimate]
    per_class: Mapping[str, ClassResult]
    verdict: str | None
    transferred: tuple[int, int] | None
    learnt: bool | None

    @classmethod
    def read(cls, data: object, index: int, kind: str) -> Arm:
        """Read one entry of `arms`."""
        given = _mapping(data)
        params = number(given.get("params"))
        runs = [Run.read(run) for run in _items(given.get("runs"))]
        counts = [number(count) for count in _items(given.get("transferred"))]
        known = [int(count) for count in counts if count is not None]
        return cls(
            index=index,
            name=str(given.get("name")),
            kind=kind,
            params=None if params is None else int(params),
            gflops=number(given.get("gflops")),
            latency=Latency.read(given.get("latency_ms")),
            seconds=number(given.get("seconds")) or _mean(run.seconds for run in runs if run.done),
            memory=_numbers(given.get("memory_mib")) or _most_memory(runs),
            runs=runs,
            metrics=_each(given.get("metrics"), Estimate.read),
            metrics_best=_each(given.get("metrics_best"), Estimate.read),
            deltas=_each(given.get("delta"), Estimate.read),
            per_class=_each(given.get("per_class"), ClassResult.read),
            verdict=_text(given.get("verdict")),
            transferred=(known[0], known[1]) if len(known) == 2 else None,  # noqa: PLR2004 (of how many)
            learnt=_truth(given.get("learnt")),
        )

    @property
    def label(self) -> str:
        """Its name, and whether it is the baseline or a control."""
        return self.name if self.kind == "variant" else f"{self.name} ({self.kind})"

    @property
    def done(self) -> Sequence[Run]:
        """Its runs that were trained and measured."""
        return [run for run in self.runs if run.done]

    @property
    def by_seed(self) -> dict[int, Run]:
        """Its done runs by their seeds."""
        return {run.seed: run for run in self.runs if run.done}

    @property
    def judgement(self) -> str | None:
        """Its verdict, and that it has not learnt anything where that is so."""
        return (
            ", ".join(part for part in (self.verdict, "not learnt" if self.learnt is False else None) if part) or None
        )

    @property
    def shown(self) -> bool:
        """True when the study shows it to be better or worse than the baseline."""
        return self.verdict in ("better", "worse")

    def metric(self, name: str) -> Estimate:
        """Return its mean of a metric, empty when unknown."""
        return self.metrics.get(name, Estimate())

    def delta(self, name: str) -> Estimate:
        """Return its difference to the baseline, empty when unknown."""
        return self.deltas.get(name, Estimate())

    def worst(self, name: str = MAIN) -> Run | None:
        """Return its run with the lowest value of a metric."""
        runs = [run for run in self.done if run.metrics.get(name) is not None]
        return min(runs, key=lambda run: run.metrics.get(name) or 0.0, default=None)


def _each(data: object, read: Callable[[object], _T]) -> dict[str, _T]:
    return {str(key): read(value) for key, value in _mapping(data).items() if value is not None}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _most_memory(runs: Sequence[Run]) -> dict[str, float | None]:
    """Return the largest peak over the runs: what a machine must have."""
    peaks: dict[str, float | None] = {}
    for run in runs:
        for kind, value in run.memory.items():
            if value is not None:
                peaks[kind] = max(peaks.get(kind) or 0.0, value)
    return peaks


@dataclass(frozen=True)
class StudyView:
    """A study's results, ready to be shown.

    Args:
        arms: The baseline, then the variants from the largest difference to the smallest, then the controls.
        weights: The checkpoint that the base starts from.
        untrained: Whether it is known to start from none.
    """

    arms: Sequence[Arm]
    data: str
    digest: str | None
    task: str
    seeds: Sequence[int]
    recipe: Mapping[str, Any]
    versions: Mapping[str, Any]
    device: str | None
    threads: int | None
    images: int | None
    instances: int | None
    image_root: str | None
    command: str | None
    weights: str | None
    untrained: bool
    made: str | None
    detectable: Mapping[str, float | None]
    replicates: int | None
    notes: Sequence[str]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> StudyView:
        """Read the content of `results.json`."""
        whole = {key: number(data.get(key)) for key in ("threads", "images", "instances")}
        counts = {key: None if value is None else int(value) for key, value in whole.items()}
        replicates = number(_mapping(data.get("bootstrap")).get("replicates"))
        seeds = [int(seed) for seed in map(number, _items(data.get("seeds"))) if seed is not None]
        return cls(
            arms=_read_arms(_items(data.get("arms"))),
            data=str(data.get("data") or "?"),
            digest=_text(data.get("data_digest")),
            task=str(data.get("task") or "detect"),
            seeds=seeds,
            recipe=_mapping(data.get("recipe")),
            versions=_mapping(data.get("versions")),
            device=_text(data.get("device")),
            **counts,
            image_root=_text(data.get("image_root")),
            command=_text(data.get("command")),
            weights=_text(data.get("weights")),
            untrained="weights" in data and not data["weights"] and not _mapping(data.get("recipe")).get("pretrained"),
            made=_text(data.get("made")),
            detectable=_numbers(data.get("minimum_detectable")),
            replicates=None if replicates is None else int(replicates),
            notes=[str(note) for note in _items(data.get("notes"))],
        )

    @property
    def baseline(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def others(self) -> Sequence[Arm]:
        """Variants and controls."""
        return self.arms[1:]

    @property
    def variants(self) -> Sequence[Arm]:
        """The arms that the study asks about."""
        return [arm for arm in self.others if arm.kind == "variant"]

    @property
    def total(self) -> int:
        """How many runs the study has."""
        return sum(len(arm.runs) for arm in self.arms)

    @property
    def done(self) -> int:
        """How many of them are done."""
        return sum(len(arm.done) for arm in self.arms)

    @property
    def waiting(self) -> int:
        """How many wait or run; until there are none, the results are interim."""
        return sum(run.status not in ("done", *_UNDONE) for arm in self.arms for run in arm.runs)

    @property
    def undone(self) -> list[tuple[Arm, Run]]:
        """The runs that failed or were interrupted."""
        return [(arm, run) for arm in self.arms for run in arm.runs if run.status in _UNDONE]

    @property
    def classes(self) -> list[str]:
        """Every class that an arm has a result for, in the order of the data."""
        return list(dict.fromkeys(name for arm in self.arms for name in arm.per_class))

    @property
    def hours(self) -> float | None:
        """Hours that the done runs trained, one after another."""
        seconds = [run.seconds for arm in self.arms for run in arm.done if run.seconds is not None]
        return sum(seconds) / 3600 if seconds else None


def _read_arms(items: Sequence[Any]) -> list[Arm]:
    kinds = [str(_mapping(item).get("kind")) for item in items]
    base = kinds.index("baseline") if "baseline" in kinds else 0
    kinds = ["control" if kind == "control" else "variant" for kind in kinds]
    kinds[base] = "baseline"
    arms = [Arm.read(item, index, kind) for index, (item, kind) in enumerate(zip(items, kinds, strict=True))]
    others = [_with_difference(arm, arms[base]) for arm in arms if arm is not arms[base]]
    return [arms[base], *sorted(others, key=_rank)]


def _rank(arm: Arm) -> tuple[int, float]:
    mean = arm.delta(MAIN).mean
    return _KINDS.index(arm.kind), math.inf if mean is None else -mean


def _with_difference(arm: Arm, baseline: Arm) -> Arm:
    """Return an arm that has at least the plain mean difference over common seeds, for studies without statistics."""
    if arm.deltas:
        return arm
    mine, base = arm.by_seed, baseline.by_seed
    pairs = [(mine[seed].metrics, base[seed].metrics) for seed in mine if seed in base]
    deltas = {name: _plain_difference(pairs, name) for name in baseline.metrics}
    return replace(arm, deltas={name: Estimate(mean=mean) for name, mean in deltas.items() if mean is not None})


def _plain_difference(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str) -> float | None:
    known = [(mine.get(name), base.get(name)) for mine, base in pairs]
    return _mean(mine - base for mine, base in known if mine is not None and base is not None)
