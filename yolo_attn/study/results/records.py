"""The content of `results.json` as dataclasses, with reading, checking and writing.

A value that is null, missing, not finite or of the wrong type is None after reading. Only what the results are computed
from again (arms, runs, seeds, folders) is required to be valid. `results.schema.json` describes the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Final, TypeVar

from yolo_attn.errors import UserError, plain
from yolo_attn.stats.ap import METRICS
from yolo_attn.stats.compare import MIN_SEEDS, VERDICTS

__all__ = [
    "MAIN",
    "MIN_SEEDS",
    "SCHEMA",
    "ArmSummary",
    "Bootstrap",
    "ClassDifference",
    "ClassResult",
    "Difference",
    "Estimate",
    "Latency",
    "RunSummary",
    "SeedMean",
    "StudyInfo",
    "StudyResults",
    "plain_value",
]

MAIN: Final = METRICS[0]  # the metric that decides the verdict
SCHEMA: Final = 1
SCHEMA_NAME: Final = "results.schema.json"
_STATUSES = ("waiting", "running", "done", "failed", "interrupted")
_UNFINISHED = ("waiting", "running")
_UNDONE = ("failed", "interrupted")
_RENAMED_VERDICTS = {"not shown": "inconclusive"}
_MAX_SEED = 2**63
_NOT_STORED = frozenset({"index"})

Metrics = Mapping[str, float | None]
_T = TypeVar("_T")


class Estimate:
    """A mean with its 95 % interval.

    Attributes:
        mean: The mean; None when unknown.
        ci95: Lower and upper end of the interval; None when unknown.
    """

    mean: float | None
    ci95: tuple[float, float] | None

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.ci95 is None else self.ci95[0]

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.ci95 is None else self.ci95[1]

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.ci95 is None else (self.ci95[1] - self.ci95[0]) / 2


@dataclass(frozen=True)
class SeedMean(Estimate):
    """A metric's mean over seeds.

    Args:
        mean: The mean, a fraction.
        sd: Standard deviation over seeds.
        ci95: 95 % interval that accounts for training and test-set noise.
    """

    mean: float | None = None
    sd: float | None = None
    ci95: tuple[float, float] | None = None

    @classmethod
    def from_json(cls, data: object) -> SeedMean:
        """Read `{"mean": ..., "sd": ..., "ci95": [low, high]}`."""
        given = _mapping(data)
        return cls(_number(given.get("mean")), _number(given.get("sd")), _interval(given.get("ci95")))


@dataclass(frozen=True)
class ClassDifference(Estimate):
    """An arm's difference to the baseline in one class, in mAP50-95."""

    mean: float | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClassResult(SeedMean):
    """An arm's mAP50-95 in one class.

    Args:
        instances: Number of objects of the class.
        delta: Difference to the baseline; None for the baseline, or when unknown.
    """

    instances: int | None = None
    delta: ClassDifference | None = None

    @classmethod
    def from_json(cls, data: object) -> ClassResult:
        """Read one entry of an arm's `per_class`."""
        given, delta = _mapping(data), _mapping(_mapping(data).get("delta"))
        mean = _number(delta.get("mean"))
        return cls(
            **vars(SeedMean.from_json(given)),
            instances=_integer(given.get("instances")),
            delta=None if mean is None else ClassDifference(mean, _interval(delta.get("ci95"))),
        )

    @property
    def difference(self) -> ClassDifference:
        """The difference to the baseline, empty when unknown."""
        return self.delta or ClassDifference()


@dataclass(frozen=True)
class Difference(Estimate):
    """An arm's difference to the baseline in one metric over common seeds.

    Args:
        mean: Mean difference.
        ci95: Its 95 % interval.
        p: Two-sided p-value.
        p_better: Confidence that the true difference is above zero.
        sd_training: Standard deviation over seeds of one run's difference.
        se_images: Standard error due to the test images, which more seeds do not reduce.
        df: Satterthwaite's degrees of freedom, for information.
        seeds: Number of common seeds.
        p_holm: `p` after Holm's correction over the variants; None for a control.
    """

    mean: float | None = None
    ci95: tuple[float, float] | None = None
    p: float | None = None
    p_better: float | None = None
    sd_training: float | None = None
    se_images: float | None = None
    df: float | None = None
    seeds: int | None = None
    p_holm: float | None = None

    @classmethod
    def from_json(cls, data: object) -> Difference:
        """Read one entry of an arm's `delta`."""
        given = _mapping(data)
        numbers = {name: _number(given.get(name)) for name in _DIFFERENCE_NUMBERS}
        return cls(ci95=_interval(given.get("ci95")), seeds=_integer(given.get("seeds")), **numbers)


_DIFFERENCE_NUMBERS = ("mean", "p", "p_better", "sd_training", "se_images", "df", "p_holm")


@dataclass(frozen=True)
class Latency:
    """Latency of one image, in milliseconds.

    Args:
        median: The median.
        p10: 10th percentile.
        p90: 90th percentile.
        device: Device that was timed.
        processor: Name of its processor.
        threads: CPU threads.
        rounds: Number of measurements.
        run: Folder of the run whose checkpoint was timed, relative to the study's folder.
    """

    median: float
    p10: float | None = None
    p90: float | None = None
    device: str | None = None
    processor: str | None = None
    threads: int | None = None
    rounds: int | None = None
    run: str | None = None

    @classmethod
    def from_json(cls, data: object) -> Latency | None:
        """Read an arm's `latency_ms`, None unless it has a median."""
        given = _mapping(data)
        median = _number(given.get("median"))
        if median is None:
            return None
        return cls(
            median=median,
            p10=_number(given.get("p10")),
            p90=_number(given.get("p90")),
            device=_text(given.get("device")),
            processor=_text(given.get("processor")),
            threads=_integer(given.get("threads")),
            rounds=_integer(given.get("rounds")),
            run=_text(given.get("run")),
        )


@dataclass(frozen=True)
class RunSummary:
    """One arm trained with one seed.

    Args:
        seed: The seed.
        status: "waiting", "running", "done", "failed" or "interrupted".
        error: Reason why it failed or was interrupted.
        seconds: Training time.
        epochs: Trained epochs.
        memory_mib: Peak memory by kind ("process", "cuda").
        folder: Its folder, relative to the study's.
        metrics: Metrics of last.pt, computed from the stored matches; empty unless it is done.
        learnt: Whether its detections depend on their images; None when that cannot be decided.
        chance: mAP50-95 that its detections reach on other images.
        metrics_best: Metrics of best.pt.
        metrics_ultralytics: Metrics of last.pt as Ultralytics' validator computes them.
    """

    seed: int
    status: str = "waiting"
    error: str | None = None
    seconds: float | None = None
    epochs: int | None = None
    memory_mib: Metrics = field(default_factory=dict)
    folder: str | None = None
    metrics: Metrics = field(default_factory=dict)
    learnt: bool | None = None
    chance: float | None = None
    metrics_best: Metrics = field(default_factory=dict)
    metrics_ultralytics: Metrics = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: object) -> RunSummary:
        """Read one entry of an arm's `runs`."""
        given = _mapping(data)
        error = _text(given.get("error"))
        return cls(
            seed=_integer(given.get("seed")) or 0,
            status=_text(given.get("status")) or "waiting",
            error=error and plain(error),
            seconds=_number(given.get("seconds")),
            epochs=_integer(given.get("epochs")),
            memory_mib=_numbers(given.get("memory_mib")),
            folder=_text(given.get("folder")),
            metrics=_numbers(given.get("metrics")),
            learnt=_boolean(given.get("learnt")),
            chance=_number(given.get("chance")),
            metrics_best=_numbers(given.get("metrics_best")),
            metrics_ultralytics=_numbers(given.get("metrics_ultralytics")),
        )

    def to_json(self) -> dict[str, object]:
        """Return the entry of `runs`; an empty mapping is null."""
        return _null_if_empty(_stored(self), "memory_mib", "metrics", "metrics_best", "metrics_ultralytics")

    @property
    def done(self) -> bool:
        """Whether it was trained and evaluated."""
        return self.status == "done"

    @property
    def unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.status in _UNFINISHED


@dataclass(frozen=True)
class ArmSummary:
    """The results of one arm.

    Args:
        name: Name as the user wrote it.
        kind: "baseline", "variant" or "control".
        model: Model YAML, relative to the study's folder.
        params: Number of parameters.
        gflops: GFLOPs of one image.
        latency_ms: Latency of one image.
        seconds: Mean training time.
        memory_mib: Largest peak memory of its runs, by kind.
        runs: Its runs.
        learnt: Whether any of its runs has learned; None when that cannot be decided.
        metrics: Mean over seeds of each metric.
        metrics_best: The same of best.pt, without intervals.
        per_class: mAP50-95 of each class.
        delta: Difference to the baseline in each metric; empty for the baseline, or without common seeds.
        verdict: "better", "worse" or "inconclusive" in mAP50-95; None without a test.
        transferred: Number of tensors shared with the baseline at initialization, and the baseline's number.
        index: Position in the study, 0 for the baseline; it selects the color. It is not stored.
    """

    name: str
    kind: str
    model: str | None = None
    params: int | None = None
    gflops: float | None = None
    latency_ms: Latency | None = None
    seconds: float | None = None
    memory_mib: Metrics = field(default_factory=dict)
    runs: Sequence[RunSummary] = ()
    learnt: bool | None = None
    metrics: Mapping[str, SeedMean] = field(default_factory=dict)
    metrics_best: Mapping[str, SeedMean] = field(default_factory=dict)
    per_class: Mapping[str, ClassResult] = field(default_factory=dict)
    delta: Mapping[str, Difference | None] = field(default_factory=dict)
    verdict: str | None = None
    transferred: tuple[int, int] | None = None
    index: int = 0

    @classmethod
    def from_json(cls, data: object, index: int = 0) -> ArmSummary:
        """Read one entry of `arms`."""
        given = _mapping(data)
        counts = [_integer(count) for count in _items(given.get("transferred"))]
        known = [count for count in counts if count is not None]
        verdict = _text(given.get("verdict"))
        verdict = _RENAMED_VERDICTS.get(verdict or "", verdict)
        return cls(
            name=str(given.get("name")),
            kind=str(given.get("kind")),
            model=_text(given.get("model")),
            params=_integer(given.get("params")),
            gflops=_number(given.get("gflops")),
            latency_ms=Latency.from_json(given.get("latency_ms")),
            seconds=_number(given.get("seconds")),
            memory_mib=_numbers(given.get("memory_mib")),
            runs=[RunSummary.from_json(run) for run in _items(given.get("runs"))],
            learnt=_boolean(given.get("learnt")),
            metrics=_each(given.get("metrics"), SeedMean.from_json),
            metrics_best=_each(given.get("metrics_best"), SeedMean.from_json),
            per_class=_each(given.get("per_class"), ClassResult.from_json),
            delta=_each(given.get("delta"), lambda value: None if value is None else Difference.from_json(value)),
            verdict=verdict if verdict in VERDICTS else None,
            transferred=(known[0], known[1]) if len(known) == 2 else None,  # noqa: PLR2004 (a pair)
            index=index,
        )

    def to_json(self) -> dict[str, object]:
        """Return the entry of `arms`; empty peaks and differences are null."""
        stored = _stored(self) | {"runs": [run.to_json() for run in self.runs]}
        return _null_if_empty(stored, "memory_mib", "delta")

    @property
    def label(self) -> str:
        """Its name, with its kind unless it is a variant."""
        return self.name if self.kind == "variant" else f"{self.name} ({self.kind})"

    @property
    def done(self) -> Sequence[RunSummary]:
        """Its runs that were trained and evaluated."""
        return [run for run in self.runs if run.done]

    @property
    def by_seed(self) -> dict[int, RunSummary]:
        """Its done runs by seed."""
        return {run.seed: run for run in self.runs if run.done}

    @property
    def significant(self) -> bool:
        """Whether its verdict is better or worse."""
        return self.verdict in ("better", "worse")

    def metric(self, name: str) -> SeedMean:
        """Return its mean of a metric, empty when unknown."""
        return self.metrics.get(name) or SeedMean()

    def difference(self, name: str) -> Difference:
        """Return its difference to the baseline, empty when unknown."""
        return self.delta.get(name) or Difference()


@dataclass(frozen=True)
class StudyInfo:
    """The setup of a study.

    Args:
        data: Name or path of the dataset.
        data_digest: Hash of the dataset.
        task: Task of the models.
        images: Number of evaluated images.
        instances: Number of objects in them, without crowds.
        weights: Checkpoint that all arms start from; None when they start untrained.
        recipe: Ultralytics training arguments, the same for all runs.
        versions: Package versions.
        seeds: Seeds of the study.
        device: Kind of device.
        threads: CPU threads of a run.
        command: Command line.
        made: Time of the last result, UTC.
        image_root: Folder of the images; only used when it is inside the study's folder.
    """

    data: str | None = None
    data_digest: str | None = None
    task: str | None = None
    images: int | None = None
    instances: int | None = None
    weights: str | None = None
    recipe: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, object] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    device: str | None = None
    threads: int | None = None
    command: str | None = None
    made: str | None = None
    image_root: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> StudyInfo:
        """Read the setup from the content of `results.json`."""
        seeds = [seed for item in _items(data.get("seeds")) if (seed := _integer(item)) is not None]
        return cls(
            data=_text(data.get("data")),
            data_digest=_text(data.get("data_digest")),
            task=_text(data.get("task")),
            images=_integer(data.get("images")),
            instances=_integer(data.get("instances")),
            weights=_text(data.get("weights")),
            recipe=_mapping(data.get("recipe")),
            versions=_mapping(data.get("versions")),
            seeds=seeds,
            device=_text(data.get("device")),
            threads=_integer(data.get("threads")),
            command=_text(data.get("command")),
            made=_text(data.get("made")),
            image_root=_text(data.get("image_root")),
        )

    @property
    def untrained(self) -> bool:
        """Whether all arms start without pretrained weights."""
        return not self.weights and not self.recipe.get("pretrained")


@dataclass(frozen=True)
class Bootstrap:
    """Settings of the bootstrap over images."""

    replicates: int
    seed: int


@dataclass(frozen=True)
class StudyResults:
    """The results of a study, finished or not: the content of `results.json`.

    Args:
        info: The setup.
        arms: The baseline, then variants and controls in the order of the study.
        bootstrap: Settings of the bootstrap.
        minimum_detectable: Smallest true difference found with 80 % power, by metric; empty when unknown.
        notes: Remarks needed to interpret the numbers.
    """

    info: StudyInfo
    arms: Sequence[ArmSummary]
    bootstrap: Bootstrap | None = None
    minimum_detectable: Metrics = field(default_factory=dict)
    notes: Sequence[str] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> StudyResults:
        """Read the content of `results.json`.

        Raises:
            UserError: Arms or runs are not valid.
        """
        problem = next(_problems(data), None)
        if problem:
            raise UserError(problem)
        settings = _mapping(data.get("bootstrap"))
        replicates, seed = _integer(settings.get("replicates")), _integer(settings.get("seed"))
        return cls(
            info=StudyInfo.from_json(data),
            arms=[ArmSummary.from_json(arm, index) for index, arm in enumerate(_items(data.get("arms")))],
            bootstrap=None if replicates is None or seed is None else Bootstrap(replicates, seed),
            minimum_detectable=_numbers(data.get("minimum_detectable")),
            notes=[str(note) for note in _items(data.get("notes"))],
        )

    def to_json(self) -> dict[str, object]:
        """Return the content of `results.json`."""
        info = _stored(self.info)
        made, root = info.pop("made"), info.pop("image_root")
        return {
            "$schema": f"./{SCHEMA_NAME}",
            "schema": SCHEMA,
            "baseline": self.baseline.name,
            "task": info.pop("task"),
            **info,
            **({"image_root": root} if root else {}),
            "made": made,
            "bootstrap": plain_value(self.bootstrap),
            "minimum_detectable": plain_value(self.minimum_detectable) or None,
            "notes": list(self.notes),
            "arms": [arm.to_json() for arm in self.arms],
        }

    @property
    def baseline(self) -> ArmSummary:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def others(self) -> Sequence[ArmSummary]:
        """Variants and controls."""
        return self.arms[1:]

    @property
    def variants(self) -> Sequence[ArmSummary]:
        """The variants."""
        return [arm for arm in self.arms if arm.kind == "variant"]

    @property
    def total(self) -> int:
        """Number of runs."""
        return sum(len(arm.runs) for arm in self.arms)

    @property
    def done(self) -> int:
        """Number of done runs."""
        return sum(len(arm.done) for arm in self.arms)

    @property
    def unfinished(self) -> int:
        """Number of runs that wait or run; the results are interim until it is 0."""
        return sum(run.unfinished for arm in self.arms for run in arm.runs)

    @property
    def undone(self) -> list[tuple[ArmSummary, RunSummary]]:
        """The runs that failed or were interrupted, with their arms."""
        return [(arm, run) for arm in self.arms for run in arm.runs if run.status in _UNDONE]

    @property
    def classes(self) -> list[str]:
        """The classes that any arm has a result for, in the order of the dataset."""
        return list(dict.fromkeys(name for arm in self.arms for name in arm.per_class))

    @property
    def hours(self) -> float | None:
        """Total training time of the done runs, in hours."""
        seconds = [run.seconds for arm in self.arms for run in arm.done if run.seconds is not None]
        return sum(seconds) / 3600 if seconds else None


# --- writing --------------------------------------------------------------------------------------------------------


def plain_value(value: object) -> object:
    """Return dataclasses, mappings and sequences as plain values; a number that is not finite becomes None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _stored(value)
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    return value


def _stored(record: object) -> dict[str, object]:
    """Return the fields of a dataclass that are stored."""
    names = [item.name for item in fields(record) if item.name not in _NOT_STORED]  # type: ignore[arg-type]
    return {name: plain_value(getattr(record, name)) for name in names}


def _null_if_empty(stored: dict[str, object], *names: str) -> dict[str, object]:
    return stored | {name: stored[name] or None for name in names}


# --- reading --------------------------------------------------------------------------------------------------------


def _number(value: object) -> float | None:
    """Return a finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


def _integer(value: object) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _numbers(value: object) -> dict[str, float | None]:
    return {str(key): _number(item) for key, item in _mapping(value).items()}


def _each(value: object, read: Callable[[object], _T]) -> dict[str, _T]:
    return {str(key): read(item) for key, item in _mapping(value).items()}


def _interval(value: object) -> tuple[float, float] | None:
    ends = [end for item in _items(value) if (end := _number(item)) is not None]
    return (ends[0], ends[1]) if len(ends) == len(_items(value)) == 2 else None  # noqa: PLR2004 (two ends)


# --- checking -------------------------------------------------------------------------------------------------------


def _problems(data: Mapping[str, object]) -> Iterator[str]:
    """Yield what prevents the results from being computed again; values that are only displayed may be anything."""
    arms = data.get("arms")
    if not isinstance(arms, list) or not arms or not all(isinstance(arm, dict) for arm in arms):
        yield "it has no arms"
        return
    if not isinstance(data.get("recipe", {}), dict) or not isinstance(data.get("versions", {}), dict):
        yield "recipe or versions is not a mapping"
    if not isinstance(data.get("image_root"), (str, type(None))):
        yield "image_root is not a string"
    names = [arm.get("name") for arm in arms]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        yield "names of arms are missing or repeated"
    kinds = [arm.get("kind") for arm in arms]
    if kinds[0] != "baseline" or not all(kind in ("variant", "control") for kind in kinds[1:]):
        yield "the first arm, and no other, has to be the baseline"
    for arm in arms:
        yield from (f"{arm['name']}: {problem}" for problem in _arm_problems(arm))


def _arm_problems(arm: Mapping[str, object]) -> Iterator[str]:
    runs = arm.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        yield "it has no runs"
        return
    if not all(_is_seed(run.get("seed")) for run in runs):
        yield "a run has no seed"
    if not all(run.get("status") in _STATUSES for run in runs):
        yield "the status of a run is unknown"
    if not all(isinstance(run.get("folder"), (str, type(None))) for run in runs):
        yield "the folder of a run is not a string"
    for key in ("seed", "folder"):  # a run listed twice would make the study look larger
        given = [str(run.get(key)) for run in runs if run.get(key) is not None]
        if len(set(given)) < len(given):
            yield f"two runs have the same {key}"
    if not isinstance(arm.get("model"), (str, type(None))):
        yield "its model is not a string"
    counts = arm.get("transferred")
    if counts is not None and not (isinstance(counts, list) and all(map(_is_count, counts))):
        yield "transferred is not a pair of integers"


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_SEED


def _is_count(value: object) -> bool:
    return _is_seed(value) and isinstance(value, int) and value >= 0
