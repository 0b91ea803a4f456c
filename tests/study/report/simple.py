"""Results without files: arms with given differences, for tests of words and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from yolo_attn.stats.verdicts import read_verdict
from yolo_attn.study.results.records import (
    ArmSummary,
    Difference,
    PairResult,
    RunSummary,
    SeedMean,
    StudyInfo,
    StudyResults,
)

MAIN = "mAP50-95"
MARGIN = 0.005
BETTER, WORSE = (0.012, 0.004, 0.020), (-0.012, -0.020, -0.004)
EQUIVALENT, INCONCLUSIVE = (0.0012, -0.001, 0.0034), (0.0, -0.009, 0.009)

Numbers = tuple[float, float, float]  # mean, and the ends of the interval


def difference(numbers: Numbers, level: float = 0.95, seeds: int = 5) -> Difference:
    """Return a difference with an interval of a level."""
    mean, low, high = numbers
    return Difference(
        mean=mean,
        ci95=(mean - 0.001, mean + 0.001),  # excludes zero unlike some intervals of verdicts, so nothing may show it
        interval=(low, high),
        level=level,
        p=0.01,
        p_adjusted=0.03,
        p_better=0.9,
        sd_training=0.002,
        se_images=0.001,
        seeds=seeds,
    )


def arm(name: str, numbers: Numbers | None = None, kind: str = "variant", level: float = 0.95) -> ArmSummary:
    """Return an arm of five runs."""
    found = None if numbers is None else difference(numbers, level)
    runs = [RunSummary(seed, "done", metrics={MAIN: 0.5}, learnt=True) for seed in range(5)]
    return ArmSummary(
        name=name,
        kind=kind,
        seconds=60.0,
        runs=runs,
        learnt=True,
        metrics={MAIN: SeedMean(0.5, 0.01, (0.49, 0.51))},
        delta={} if found is None else {MAIN: found},
        verdict=None if found is None else read_verdict(numbers[1:], MARGIN),  # type: ignore[index]
    )


def make(
    variants: Mapping[str, Numbers], *, controls: Mapping[str, Numbers] | None = None, **info: object
) -> StudyResults:
    """Return a study of variants and controls with given differences to the baseline.

    Args:
        variants: Numbers by name.
        controls: Numbers by name.
        info: Values of `StudyInfo` other than the usual ones.
    """
    usual = {"data": "digits", "weights": "yolo11n.pt", "images": 512, "seeds": range(5), "recipe": {"epochs": 6}}
    level = 1 - 0.05 / len(variants)
    arms = [arm("yolo11n", kind="baseline"), *(arm(name, numbers, level=level) for name, numbers in variants.items())]
    arms += [arm(name, numbers, "control") for name, numbers in (controls or {}).items()]
    arms = [replace(item, index=index) for index, item in enumerate(arms)]
    return StudyResults(StudyInfo(**{"margin": MARGIN, **usual, **info}), arms)  # type: ignore[arg-type]


def with_failed(item: ArmSummary, failed: int) -> ArmSummary:
    """Return an arm whose last runs have failed."""
    done = item.runs[: len(item.runs) - failed]
    lost = [RunSummary(run.seed, "failed", "out of memory") for run in item.runs[len(done) :]]
    return replace(item, runs=[*done, *lost])


def with_arms(study: StudyResults, *arms: ArmSummary) -> StudyResults:
    """Return a study with arms in place of those of the same names."""
    others = {item.name: item for item in arms}
    return replace(study, arms=[others.get(item.name, item) for item in study.arms])


def pair(name: str, reference: str, numbers: Numbers, level: float = 0.95) -> PairResult:
    """Return a pair with given numbers."""
    return PairResult(name, reference, difference(numbers, level), read_verdict(numbers[1:], MARGIN))


def with_pairs(study: StudyResults, pairs: Sequence[PairResult]) -> StudyResults:
    """Return a study with pairs."""
    return replace(study, pairs=pairs)
