"""Dataclasses of the content of `results.json`, which `results.schema.json` describes.

A value that is null, missing, not finite or of another type is None after reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from yolo_attn.errors import UserError, plain
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.evaluation import Evaluation
from yolo_attn.stats.matches import Matches
from yolo_attn.stats.power import MOST_SEEDS
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.stats.verdicts import VERDICTS
from yolo_attn.study.files import RESULTS_SCHEMA
from yolo_attn.study.job import lags
from yolo_attn.study.results.validation import find_problem
from yolo_attn.study.results.values import (
    as_boolean,
    as_integer,
    as_interval,
    as_items,
    as_mapping,
    as_number,
    as_numbers,
    as_records,
    as_text,
    null_if_empty,
)
from yolo_attn.system.files import plain_value, stored_fields

__all__ = [
    "DEFAULT_MARGIN",
    "ENDED",
    "MIN_SEEDS",
    "READABLE",
    "SCHEMA",
    "UNDONE",
    "UNFINISHED",
    "ArmSummary",
    "BaseSummary",
    "Bootstrap",
    "ClassResult",
    "Difference",
    "Estimate",
    "Latency",
    "Look",
    "NoiseSummary",
    "PairResult",
    "PlainEstimate",
    "RunSummary",
    "SeedMean",
    "StudyInfo",
    "StudyResults",
]

DEFAULT_MARGIN: Final = 0.005  # half a point
SCHEMA: Final = 2
READABLE: Final = (1, 2)
UNFINISHED: Final = ("waiting", "running")
ENDED: Final = ("done", "failed")
UNDONE: Final = ("failed", "interrupted")

Metrics = Mapping[str, float | None]


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
        given = as_mapping(data)
        return cls(as_number(given.get("mean")), as_number(given.get("sd")), as_interval(given.get("ci95")))


@dataclass(frozen=True)
class PlainEstimate(Estimate):
    """A mean with an interval, such as the difference to the baseline in one class."""

    mean: float | None = None
    ci95: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClassResult(SeedMean):
    """An arm's main metric in one class.

    Args:
        instances: Number of labels of the class.
        groups: Number of images with labels of the class, or of groups of images.
        delta: Difference to the baseline; None for the baseline, or when unknown.
    """

    instances: int | None = None
    groups: int | None = None
    delta: PlainEstimate | None = None

    @classmethod
    def from_json(cls, data: object) -> ClassResult:
        """Read one entry of an arm's `per_class`."""
        given, delta = as_mapping(data), as_mapping(as_mapping(data).get("delta"))
        mean = as_number(delta.get("mean"))
        return cls(
            **vars(SeedMean.from_json(given)),
            instances=as_integer(given.get("instances")),
            groups=as_integer(given.get("groups")),
            delta=None if mean is None else PlainEstimate(mean, as_interval(delta.get("ci95"))),
        )

    @property
    def difference(self) -> PlainEstimate:
        """The difference to the baseline, empty when unknown."""
        return self.delta or PlainEstimate()


@dataclass(frozen=True)
class Difference(Estimate):
    """An arm's difference to a reference in one metric over common seeds.

    Args:
        mean: Mean difference.
        ci95: Its 95 % interval, not corrected for the number of comparisons.
        interval: The interval of the verdict, corrected for the number of comparisons and looks.
        level: Level of `interval`.
        p: Two-sided p-value.
        p_adjusted: `p` corrected for the number of comparisons; None with looks after every seed.
        p_better: Probability that the true difference is above zero.
        sd_training: Standard deviation over seeds of one run's difference.
        sd_bases: Standard deviation over the bases that the runs start from.
        se_images: Standard error due to the test images, which more seeds do not reduce.
        seeds: Number of common seeds.
    """

    mean: float | None = None
    ci95: tuple[float, float] | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    p_better: float | None = None
    sd_training: float | None = None
    sd_bases: float | None = None
    se_images: float | None = None
    seeds: int | None = None

    @classmethod
    def from_json(cls, data: object) -> Difference:
        """Read one entry of an arm's `delta`."""
        given = as_mapping(data)
        numbers = {name: as_number(given.get(name)) for name in _DIFFERENCE_NUMBERS}
        return cls(
            ci95=as_interval(given.get("ci95")),
            interval=as_interval(given.get("interval")),
            seeds=as_integer(given.get("seeds")),
            **numbers,
        )

    @property
    def shown(self) -> Estimate:
        """The mean with the interval of the verdict, or with the 95 % interval if there is none."""
        return PlainEstimate(self.mean, self.interval or self.ci95)

    @property
    def shown_level(self) -> float | None:
        """The level of the interval in `shown`."""
        return self.level if self.interval else 0.95 if self.ci95 else None


_DIFFERENCE_NUMBERS = ("mean", "level", "p", "p_adjusted", "p_better", "sd_training", "sd_bases", "se_images")


@dataclass(frozen=True)
class PairResult:
    """The difference of two arms, neither of which is the baseline, in the main metric.

    Args:
        arm: Name of the arm.
        reference: Name of the arm that it is compared with.
        difference: Its difference to the reference.
        verdict: The verdict about it; None without a test.
    """

    arm: str
    reference: str
    difference: Difference
    verdict: str | None = None

    @classmethod
    def from_json(cls, data: object) -> PairResult:
        """Read one entry of `pairs`."""
        given = as_mapping(data)
        verdict = as_text(given.get("verdict"))
        return cls(
            arm=as_text(given.get("arm")) or "",
            reference=as_text(given.get("reference")) or "",
            difference=Difference.from_json(given.get("difference")),
            verdict=verdict if verdict in VERDICTS else None,
        )


@dataclass(frozen=True)
class NoiseSummary:
    """Noise of the variants' differences to the baseline in the main metric, pooled; it determines what is detectable.

    Args:
        training: Standard deviation over seeds of one run's difference.
        images: Standard error due to the test images.
        bases: Standard deviation over the bases that the runs start from; None with one base.
        df: Degrees of freedom of the noise of training and bases.
        image_df: Degrees of freedom of the noise of the test images; None if unknown, as in files without it.
    """

    training: float
    images: float
    bases: float | None = None
    df: float | None = None
    image_df: float | None = None

    @classmethod
    def from_json(cls, data: object) -> NoiseSummary | None:
        """Read the `noise` of a study, None unless both of its parts are known."""
        given = as_mapping(data)
        training, images = as_number(given.get("training")), as_number(given.get("images"))
        if training is None or images is None:
            return None
        df, image_df = (found if (found := as_number(given.get(key))) and found >= 1 else None for key in _NOISE_DF)
        return cls(training, images, as_number(given.get("bases")), df, image_df)


_NOISE_DF = ("df", "image_df")


@dataclass(frozen=True)
class BaseSummary:
    """The training of a base that arms start from.

    Args:
        seed: Its seed.
        status: As that of a run.
        epochs: Trained epochs.
        seconds: Training time.
        metric: Its value of the main metric.
        error: Reason why it failed.
        folder: Its folder, relative to the study's.
        arm: Name of the only arm that it is the base of; None if it is that of all others.
    """

    seed: int
    status: str = "waiting"
    epochs: int | None = None
    seconds: float | None = None
    metric: float | None = None
    error: str | None = None
    folder: str | None = None
    arm: str | None = None

    @classmethod
    def from_json(cls, data: object) -> BaseSummary:
        """Read one entry of `bases`."""
        given = as_mapping(data)
        error = as_text(given.get("error"))
        return cls(
            seed=as_integer(given.get("seed")) or 0,
            status=as_text(given.get("status")) or "waiting",
            epochs=as_integer(given.get("epochs")),
            seconds=as_number(given.get("seconds")),
            metric=as_number(given.get("metric")),
            error=error and plain(error),
            folder=as_text(given.get("folder")),
            arm=as_text(given.get("arm")),
        )


@dataclass(frozen=True)
class Look:
    """One evaluation of a study at which verdicts were written.

    Args:
        seeds: Largest number of common seeds of an arm with a verdict.
        made: Time of the last result, UTC.
        verdicts: Verdict of each arm that had one.
        counts: Number of common seeds that the verdict of each of these arms rests on.
        alphas: Error level of each of these verdicts at this look alone.
        margin: Smallest difference that matters, a fraction of 1.
        planned: Whether the error rate of all looks up to this one was that of a single one.
        baseline: Folder of the baseline's first run, which is another one with other data or another recipe.
    """

    seeds: int
    made: str | None = None
    verdicts: Mapping[str, str | None] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    margin: float | None = None
    planned: bool = True
    baseline: str | None = None

    @classmethod
    def from_json(cls, data: object) -> Look:
        """Read one entry of `looks`."""
        given = as_mapping(data)
        counts = {str(name): as_integer(item) for name, item in as_mapping(given.get("counts")).items()}
        return cls(
            seeds=as_integer(given.get("seeds")) or 0,
            made=as_text(given.get("made")),
            verdicts={
                str(name): verdict
                for name, item in as_mapping(given.get("verdicts")).items()
                if (verdict := as_text(item)) in VERDICTS
            },
            counts={name: count for name, count in counts.items() if count is not None},
            alphas={
                name: alpha
                for name, alpha in as_numbers(given.get("alphas")).items()
                if alpha is not None and 0 < alpha < 1
            },
            margin=as_number(given.get("margin")),
            planned=as_boolean(given.get("planned")) is not False,
            baseline=as_text(given.get("baseline")),
        )


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
        given = as_mapping(data)
        median = as_number(given.get("median"))
        if median is None:
            return None
        return cls(
            median=median,
            p10=as_number(given.get("p10")),
            p90=as_number(given.get("p90")),
            device=as_text(given.get("device")),
            processor=as_text(given.get("processor")),
            threads=as_integer(given.get("threads")),
            rounds=as_integer(given.get("rounds")),
            run=as_text(given.get("run")),
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
        learnt: Whether its predictions depend on their images; None when that cannot be decided.
        chance: Main metric that its predictions reach on other images.
        metrics_best: Metrics of best.pt.
        metrics_ultralytics: Metrics of last.pt as Ultralytics' validator computes them.
        base: Number of the trained base that it starts from; 0 with one or none.
        norm_lag: Largest lag of its batch norms on evaluated images, in standard deviations.
        gpu: Name of the GPU; None on a CPU.
        amp: Whether it was trained in mixed precision; None where that is unknown.
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
    base: int = 0
    norm_lag: float | None = None
    gpu: str | None = None
    amp: bool | None = None

    @classmethod
    def from_json(cls, data: object) -> RunSummary:
        """Read one entry of an arm's `runs`."""
        given = as_mapping(data)
        error, gpu = as_text(given.get("error")), as_text(given.get("gpu"))
        return cls(
            seed=as_integer(given.get("seed")) or 0,
            status=as_text(given.get("status")) or "waiting",
            error=error and plain(error),
            seconds=as_number(given.get("seconds")),
            epochs=as_integer(given.get("epochs")),
            memory_mib=as_numbers(given.get("memory_mib")),
            folder=as_text(given.get("folder")),
            metrics=as_numbers(given.get("metrics")),
            learnt=as_boolean(given.get("learnt")),
            chance=as_number(given.get("chance")),
            metrics_best=as_numbers(given.get("metrics_best")),
            metrics_ultralytics=as_numbers(given.get("metrics_ultralytics")),
            base=as_integer(given.get("base")) or 0,
            norm_lag=as_number(given.get("norm_lag")),
            gpu=gpu and plain(gpu),
            amp=as_boolean(given.get("amp")),
        )

    def to_json(self) -> dict[str, object]:
        """Return the entry of `runs`; an empty mapping is null."""
        return null_if_empty(stored_fields(self), "memory_mib", "metrics", "metrics_best", "metrics_ultralytics")

    @property
    def done(self) -> bool:
        """Whether it was trained and evaluated."""
        return self.status == "done"

    @property
    def unfinished(self) -> bool:
        """Whether it waits or runs."""
        return self.status in UNFINISHED

    @property
    def lags(self) -> bool:
        """Whether its batch norms lag."""
        return lags(self.norm_lag)


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
        per_class: Main metric of each class.
        delta: Difference to the baseline in each metric; empty for the baseline, or without common seeds.
        verdict: One of `VERDICTS`, in the main metric; None without a test.
        transferred: Number of tensors shared with the baseline at initialization, and the baseline's number.
        main: Name of the main metric, which decides the verdict. It is not stored.
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
    main: str = field(default=evaluation_of(None).metrics[0], metadata={"stored": False})
    index: int = field(default=0, metadata={"stored": False})

    @classmethod
    def from_json(cls, data: object, main: str, index: int = 0) -> ArmSummary:
        """Read one entry of `arms`."""
        given = as_mapping(data)
        counts = [as_integer(count) for count in as_items(given.get("transferred"))]
        known = [count for count in counts if count is not None]
        verdict = as_text(given.get("verdict"))
        return cls(
            name=str(given.get("name")),
            kind=str(given.get("kind")),
            model=as_text(given.get("model")),
            params=as_integer(given.get("params")),
            gflops=as_number(given.get("gflops")),
            latency_ms=Latency.from_json(given.get("latency_ms")),
            seconds=as_number(given.get("seconds")),
            memory_mib=as_numbers(given.get("memory_mib")),
            runs=[RunSummary.from_json(run) for run in as_items(given.get("runs"))],
            learnt=as_boolean(given.get("learnt")),
            metrics=as_records(given.get("metrics"), SeedMean.from_json),
            metrics_best=as_records(given.get("metrics_best"), SeedMean.from_json),
            per_class=as_records(given.get("per_class"), ClassResult.from_json),
            delta=as_records(given.get("delta"), lambda value: None if value is None else Difference.from_json(value)),
            verdict=verdict if verdict in VERDICTS else None,
            transferred=(known[0], known[1]) if len(known) == 2 else None,  # noqa: PLR2004 (a pair)
            main=main,
            index=index,
        )

    def to_json(self) -> dict[str, object]:
        """Return the entry of `arms`; empty peaks and differences are null."""
        stored = stored_fields(self) | {"runs": [run.to_json() for run in self.runs]}
        return null_if_empty(stored, "memory_mib", "delta")

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

    @property
    def decided(self) -> bool:
        """Whether its verdict is any other than inconclusive."""
        return self.verdict not in (None, "inconclusive")

    @property
    def unlearned(self) -> Sequence[RunSummary]:
        """Its done runs that have not learned."""
        return [run for run in self.done if run.learnt is False]

    @property
    def failed(self) -> Sequence[RunSummary]:
        """Its runs that have failed."""
        return [run for run in self.runs if run.status == "failed"]

    def metric(self, name: str | None = None) -> SeedMean:
        """Return its mean of a metric, by default the main one; empty when unknown."""
        return self.metrics.get(name or self.main) or SeedMean()

    def difference(self, name: str | None = None) -> Difference:
        """Return its difference to the baseline in a metric, by default the main one; empty when unknown."""
        return self.delta.get(name or self.main) or Difference()


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
        margin: Smallest difference in the main metric that matters, a fraction of 1.
        no_worse: Whether "no worse" is a verdict.
        max_seeds: Largest number of seeds if there is a look after each one; None if the number is fixed.
        pretrain: Epochs of the base's own training, which all arms start from.
        pretraining: Ultralytics training arguments of that training; empty without.
        lr_attention: Learning rate of attention layers, relative to that of the others.
        groups: How images are grouped; None if they are independent.
        group_count: Number of groups, or of images if they are independent.
        sequences: Rule that groups the images if their names look like frames of videos; None if they do not.
        most_objects: Largest number of objects of one class in an image.
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
    margin: float = DEFAULT_MARGIN
    no_worse: bool = False
    max_seeds: int | None = None
    pretrain: int | None = None
    pretraining: Mapping[str, object] = field(default_factory=dict)
    lr_attention: float | None = None
    groups: str | None = None
    group_count: int | None = None
    sequences: str | None = None
    most_objects: int | None = None

    @property
    def evaluation(self) -> type[Evaluation]:
        """The kind of evaluation of its task."""
        return evaluation_of(self.task)

    @property
    def has_detections(self) -> bool:
        """Whether its task is evaluated by detections."""
        return self.evaluation is Matches

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of its task; the main one, which decides the verdict, is the first."""
        return self.evaluation.metrics

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> StudyInfo:
        """Read the setup from the content of `results.json`."""
        seeds = [seed for item in as_items(data.get("seeds")) if (seed := as_integer(item)) is not None]
        return cls(
            data=as_text(data.get("data")),
            data_digest=as_text(data.get("data_digest")),
            task=as_text(data.get("task")),
            images=as_integer(data.get("images")),
            instances=as_integer(data.get("instances")),
            weights=as_text(data.get("weights")),
            recipe=as_mapping(data.get("recipe")),
            versions=as_mapping(data.get("versions")),
            seeds=seeds,
            device=as_text(data.get("device")),
            threads=as_integer(data.get("threads")),
            command=as_text(data.get("command")),
            made=as_text(data.get("made")),
            margin=_as_margin(data.get("margin")),
            no_worse=as_boolean(data.get("no_worse")) or False,
            max_seeds=_as_max_seeds(data.get("max_seeds")),
            pretrain=as_integer(data.get("pretrain")),
            pretraining=as_mapping(data.get("pretraining")),
            lr_attention=as_number(data.get("lr_attention")),
            groups=as_text(data.get("groups")),
            group_count=as_integer(data.get("group_count")),
            sequences=as_text(data.get("sequences")),
            most_objects=as_integer(data.get("most_objects")),
        )

    @property
    def untrained(self) -> bool:
        """Whether all arms start without pretrained weights."""
        return not self.weights and not self.pretrain and not self.recipe.get("pretrained")


def _as_margin(value: object) -> float:
    """Return a margin above zero; early studies have none and are judged with the default one."""
    margin = as_number(value)
    return margin if margin is not None and margin > 0 else DEFAULT_MARGIN


def _as_max_seeds(value: object) -> int | None:
    """Return a largest number of seeds that a study can have; the time of computing its levels grows with it."""
    most = as_integer(value)
    return most if most is not None and MIN_SEEDS <= most <= MOST_SEEDS else None


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
        detectable_range: 90 % interval of that in the main metric, given how well the noise is known.
        noise: The noise of the variants' differences in the main metric; None when unknown.
        pairs: Differences of variants to each other and to the width control.
        bases: Trainings of the bases that the arms start from.
        looks: The evaluations at which verdicts were written.
        notes: Notes needed to interpret the numbers.
    """

    info: StudyInfo
    arms: Sequence[ArmSummary]
    bootstrap: Bootstrap | None = None
    minimum_detectable: Metrics = field(default_factory=dict)
    detectable_range: tuple[float, float] | None = None
    noise: NoiseSummary | None = None
    pairs: Sequence[PairResult] = ()
    bases: Sequence[BaseSummary] = ()
    looks: Sequence[Look] = ()
    notes: Sequence[str] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> StudyResults:
        """Read the content of `results.json`.

        Raises:
            UserError: Arms or runs are not valid.
        """
        problem = find_problem(data)
        if problem:
            raise UserError(problem)
        settings = as_mapping(data.get("bootstrap"))
        replicates, seed = as_integer(settings.get("replicates")), as_integer(settings.get("seed"))
        info = StudyInfo.from_json(data)
        arms = as_items(data.get("arms"))
        return cls(
            info=info,
            arms=[ArmSummary.from_json(arm, info.metrics[0], index) for index, arm in enumerate(arms)],
            bootstrap=None if replicates is None or seed is None else Bootstrap(replicates, seed),
            minimum_detectable=as_numbers(data.get("minimum_detectable")),
            detectable_range=as_interval(data.get("detectable_range")),
            noise=NoiseSummary.from_json(data.get("noise")),
            pairs=[PairResult.from_json(pair) for pair in as_items(data.get("pairs"))],
            bases=[BaseSummary.from_json(base) for base in as_items(data.get("bases"))],
            looks=[Look.from_json(look) for look in as_items(data.get("looks"))],
            notes=[str(note) for note in as_items(data.get("notes"))],
        )

    def to_json(self) -> dict[str, object]:
        """Return the content of `results.json`."""
        info = stored_fields(self.info)
        made = info.pop("made")
        return {
            "$schema": f"./{RESULTS_SCHEMA}",
            "schema": SCHEMA,
            "baseline": self.baseline.name,
            "task": info.pop("task"),
            **info,
            "made": made,
            "bootstrap": plain_value(self.bootstrap),
            "minimum_detectable": plain_value(self.minimum_detectable) or None,
            "detectable_range": plain_value(self.detectable_range),
            "noise": plain_value(self.noise),
            "pairs": plain_value(self.pairs),
            "bases": plain_value(self.bases),
            "looks": plain_value(self.looks),
            "notes": list(self.notes),
            "arms": [arm.to_json() for arm in self.arms],
        }

    @property
    def main(self) -> str:
        """The metric that decides the verdicts."""
        return self.info.metrics[0]

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
    def gpus(self) -> list[str]:
        """The names of the GPUs that runs were trained on; empty on a CPU."""
        return list(dict.fromkeys(run.gpu for arm in self.arms for run in arm.done if run.gpu))

    @property
    def common_bases(self) -> Sequence[BaseSummary]:
        """The trainings of the bases that all arms start from, without those of a single arm."""
        return [base for base in self.bases if base.arm is None]

    @property
    def has_several_bases(self) -> bool:
        """Whether the seeds start from several trained bases in turn, which are then the units of training."""
        return len(self.common_bases) > 1

    def units(self, arm: ArmSummary) -> int:
        """Return the number of units of training in an arm's difference to the baseline: its seeds, or their bases."""
        if not self.has_several_bases:
            return arm.difference().seeds or 0
        return len({run.base for run in self.baseline.done if run.seed in arm.by_seed})

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
        return [(arm, run) for arm in self.arms for run in arm.runs if run.status in UNDONE]

    @property
    def classes(self) -> list[str]:
        """The classes that any arm has a result for, in the order of the dataset."""
        return list(dict.fromkeys(name for arm in self.arms for name in arm.per_class))

    @property
    def trained_bases(self) -> int:
        """Number of bases whose training is done."""
        return sum(base.status == "done" for base in self.bases)

    @property
    def trained_arms(self) -> list[ArmSummary]:
        """The arms without those that have the model of an earlier one, whose runs they share."""
        first: dict[str, ArmSummary] = {}
        for arm in self.arms:
            first.setdefault(next((run.folder for run in arm.runs if run.folder), arm.name), arm)
        return list(first.values())

    @property
    def hours(self) -> float | None:
        """Total training time of the done runs and of the bases, in hours."""
        times = [run.seconds for arm in self.trained_arms for run in arm.done]
        times += [base.seconds for base in self.bases if base.status == "done"]
        known = [seconds for seconds in times if seconds is not None]
        return sum(known) / 3600 if known else None
