"""`Forecast`: what a study would train, how long it would take and what it could show (`compare ... plan=True`).

The smallest difference that a study detects depends on its noise, which only earlier runs show. The table lists numbers
of seeds with their times and with a range for that difference, because the noise is an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from yolo_attn.errors import counted
from yolo_attn.stats.compare import MIN_SEEDS
from yolo_attn.stats.power import MOST_SEEDS, Requirement
from yolo_attn.stats.tasks import evaluation_of
from yolo_attn.study.earlier import MeasuredNoise, read_earlier_results
from yolo_attn.study.planning import Plan
from yolo_attn.study.preview import image_lines, no_verdict
from yolo_attn.study.report.formats import duration, points, points_range
from yolo_attn.study.results.size import Size
from yolo_attn.study.sizing import Sizing
from yolo_attn.study.store import Store
from yolo_attn.study.times import RunSeconds, times_of
from yolo_attn.system.files import stored_fields
from yolo_attn.tables import align, html_table

__all__ = ["Forecast", "PlannedArm", "make_forecast"]

_UNITS = (3, 4, 5, 6, 8, 10, 12)  # seeds, or bases in a study with several
_PILOT = (
    "measure it in a pilot: the same command with seeds=3 name=pilot instead of plan=True, whose results plan=True "
    "then finds"
)
_TITLES = ("seeds", "runs", "time", "detectable difference", "chance of 'equivalent'")


@dataclass(frozen=True)
class PlannedArm:
    """An arm of a planned study.

    Args:
        name: Its name.
        kind: "baseline", "variant" or "control".
        error: Why its model cannot be built.
    """

    name: str
    kind: str
    error: str | None = None


@dataclass(frozen=True, repr=False)
class Forecast:
    """What a study would train, how long it would take and what it could show.

    It prints as a table, and displays as one in notebooks. Differences are fractions of 1 in the attributes and points
    in the text.

    Args:
        arms: The arms.
        size: The study as it is specified; with `seeds=auto` with the largest number of seeds.
        seeds_per_base: Seeds that start from each base in a study with several bases; None in others.
        adaptive: Whether undecided arms get more seeds (`seeds=auto`).
        pretraining: Number of trainings of bases among the runs.
        done: Runs that have a result already.
        seconds: Time of the others; None if unknown.
        at_once: Runs that are trained at once.
        data: Lines about the dataset.
        metric: The metric that decides the verdicts.
        margin: Smallest difference that matters.
        noise: Noise from earlier results; None if unknown.
        sizes: The study with other numbers of seeds.
        detect: The difference to detect; None if none was named.
        required: What the study needs for it; None if unknown.
        needed: The cheapest study that detects it; None if unknown.
    """

    arms: Sequence[PlannedArm]
    size: Size
    seeds_per_base: int | None
    adaptive: bool
    pretraining: int
    done: int
    seconds: float | None
    at_once: int
    data: Sequence[str]
    metric: str
    margin: float
    noise: MeasuredNoise | None
    sizes: Sequence[Size]
    detect: float | None = None
    required: Requirement | None = None
    needed: Size | None = None
    exit_status: int = field(default=0, init=False, metadata={"stored": False})

    @property
    def variants(self) -> int:
        """The number of variants, which are tested together."""
        return sum(arm.kind == "variant" for arm in self.arms)

    def table(self) -> str:
        """Return the forecast as text."""
        return "\n".join([*self._head(), "", align(self._cells(), ()), *self._notes()])

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Forecast of {counted(self.size.runs, 'run')}: {', '.join(arm.name for arm in self.arms)}>"

    def _repr_html_(self) -> str:
        return html_table(self._cells(), (), [*self._head(), *self._notes()])

    def rows(self) -> list[dict[str, object]]:
        """Return one dictionary for each number of seeds; `low` and `high` are the ends of the detectable range."""
        return [_as_row(size) for size in self.sizes]

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain data."""
        return stored_fields(self)

    def _head(self) -> Iterator[str]:
        seeds = f"{MIN_SEEDS} to {self.size.seeds}" if self.adaptive else str(self.size.seeds)
        runs = "at most " * self.adaptive + counted(self.size.runs, "run")
        pretraining = f" ({self.pretraining} of the base)" if self.pretraining else ""
        done = f", {self.done} of them done" if self.done else ""
        yield f"plan: {counted(len(self.arms), 'arm')}, seeds={seeds}, {runs}{pretraining}{done}; nothing is trained"
        for kind in dict.fromkeys(arm.kind for arm in self.arms):
            yield f"{kind}: {', '.join(arm.name for arm in self.arms if arm.kind == kind)}"
        for arm in self.arms:
            if arm.error:
                yield f"{arm.name}: skipped: {arm.error}"
        yield from self.data
        parallel = f", {self.at_once} runs at a time" if self.at_once > 1 else ""
        yield f"expected time: {'at most ' * (self.adaptive and bool(self.seconds))}{_time(self.seconds)}{parallel}"
        yield self._noise_line()

    def _noise_line(self) -> str:
        if self.noise is None:
            return f"noise of a difference: unknown; {_PILOT}"
        noise = self.noise.noise
        return (
            f"noise of a difference: training {points(noise.training)}, test images {points(noise.images)} points of "
            f"{self.metric} ({self.noise})"
        )

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [
            (_seeds(size), str(size.runs), _time(size.seconds), _range(size.detectable), _percent(size.equivalent))
            for size in self.sizes
        ]
        return [_TITLES, *rows]

    def _notes(self) -> Iterator[str]:
        if self.noise is not None:
            tested = f"in one of {self.variants} variants " if self.variants > 1 else ""
            yield (
                f"Detectable: a true difference {tested}that is found with a probability of 80% (points; a range, "
                "because the noise is an estimate)."
            )
            yield f"Equivalent: the verdict within ±{points(self.margin)} points for a variant that does not differ."
        if self.size.seeds < MIN_SEEDS:
            yield no_verdict(self.size.seeds)
        if self.adaptive:
            yield "Each line: the look after that many seeds; arms that are decided earlier stop then."
        if self.detect is not None:
            yield f"detect={100 * self.detect:g}: {self._cheapest()}"

    def _cheapest(self) -> str:
        """Return what detects the named difference, in words."""
        found = self.required
        if found is None or self.noise is None:
            return "unknown without a measurement of the noise"
        if found.seeds is None:
            return (
                f"more than {MOST_SEEDS} seeds; reduce the noise of training instead, for example by starting from "
                "trained weights"
            )
        cost = "" if self.needed is None else f": {counted(self.needed.runs, 'run')}, {_time(self.needed.seconds)}"
        spread = ""
        if found.fewest != found.most:
            unit = "seeds" if self.seeds_per_base is None else "bases"
            spread = f" ({found.fewest} to {found.most or 'many'} {unit}, because the noise is an estimate)"
        if found.images is None:
            return f"{self._keys(found.seeds)}{cost}{spread}"
        return (
            f"no number of seeds suffices with {self.noise.images} test images; {self._keys(found.seeds)} with "
            f"{found.images} images does{cost}{spread}"
        )

    def _keys(self, units: int) -> str:
        """Return the keys of a study with a number of seeds, or of bases in a study with several."""
        each = self.seeds_per_base
        if self.adaptive:
            return f"seeds=auto max_seeds={units}"
        return f"seeds={units}" if each is None else f"bases={units} seeds={units * each}"


def make_forecast(plan: Plan, store: Store, at_once: int) -> Forecast:
    """Return the forecast of a planned study; nothing is written.

    Args:
        plan: The plan.
        store: The store of the study.
        at_once: Runs that are trained at once.
    """
    results = {run.key: store.find_result(run) for run in plan.every_run}
    ended = {key for key, result in results.items() if result is not None}
    neighbors = {run.key: store.find_elsewhere(run) for run in plan.base_runs}
    ended |= {key for key, found in neighbors.items() if found and found.own}  # it is copied
    noise = read_earlier_results(store.folder, plan).noise
    sizing = Sizing(plan, noise, RunSeconds(plan, times_of(plan.every_run, results)), at_once)
    detect = None if plan.study.detect is None else plan.study.detect / 100
    required = None if detect is None else sizing.requirement(detect)
    return Forecast(
        arms=[PlannedArm(arm.name, arm.kind, arm.error) for arm in plan.arms],
        size=sizing.size(sizing.planned),
        seeds_per_base=plan.seeds_per_base,
        adaptive=plan.study.design.max_seeds is not None,
        pretraining=len(plan.base_runs),
        done=len(ended),
        seconds=sizing.seconds(list({run.key: run for run in plan.every_run if run.key not in ended}.values())),
        at_once=at_once,
        data=[line for line in (plan.dataset.summary, *image_lines(plan)) if line],
        metric=evaluation_of(plan.settings.task).metrics[0],
        margin=plan.study.design.margin / 100,
        noise=noise,
        sizes=[sizing.size(units) for units in sorted({*_UNITS, sizing.planned})],
        detect=detect,
        required=required,
        needed=sizing.size(required.seeds) if required and required.seeds else None,
    )


def _seeds(size: Size) -> str:
    return str(size.seeds) if size.bases is None else f"{size.seeds} from {size.bases} bases"


def _as_row(size: Size) -> dict[str, object]:
    low, high = size.detectable or (None, None)
    return {
        "seeds": size.seeds,
        "bases": size.bases,
        "runs": size.runs,
        "seconds": size.seconds,
        "low": low,
        "high": high,
        "equivalent": size.equivalent,
    }


def _time(seconds: float | None) -> str:
    return "unknown" if seconds is None else duration(seconds)


def _range(ends: tuple[float, float] | None) -> str:
    return "unknown" if ends is None else points_range(ends)


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0%}"
