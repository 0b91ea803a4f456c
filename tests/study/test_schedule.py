"""Runs that are due, without training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.study.conftest import PLATFORM, fake_arm
from yolo_attn.study.job import Inputs
from yolo_attn.study.planning import Plan
from yolo_attn.study.results.records import ArmSummary, Difference, RunSummary, StudyInfo, StudyResults
from yolo_attn.study.running.run import Run
from yolo_attn.study.schedule import Schedule, describe_look, needs_seed
from yolo_attn.study.specification.arms import Arm
from yolo_attn.study.specification.design import Design

ARMS = [fake_arm("base", "baseline"), fake_arm("A"), fake_arm("B"), fake_arm("null", "control")]


def make_plan(arms: Sequence[Arm] = ARMS, seeds: int = 6, *, fixed: bool = False, same: Collection[str] = ()) -> Plan:
    """Return a plan in which the arms `same` have the same model."""
    runs = [
        Run(arm, Inputs("d", {}, PLATFORM, arm.model, None, seed), f"{'same' if arm.name in same else arm.name}-{seed}")
        for seed in range(seeds)
        for arm in arms
        if not arm.error
    ]
    study = SimpleNamespace(seeds=tuple(range(seeds)), design=Design(max_seeds=None if fixed else seeds))
    return Plan(cast(Any, study), arms, {}, runs, *cast(Any, [None] * 4))


def keys(names: str, seeds: Collection[int]) -> set[str]:
    return {f"{name}-{seed}" for name in names.split() for seed in seeds}


def summary(
    name: str, seeds: int, verdict: str | None = None, *, kind: str = "variant", status: str = "done", common: int = -1
) -> ArmSummary:
    """Return an arm whose last run has a status and whose others are done."""
    runs = [RunSummary(seed, status if seed == seeds - 1 else "done") for seed in range(seeds)]
    return ArmSummary(
        name=name,
        kind=kind,
        runs=runs,
        verdict=verdict,
        delta={"mAP50-95": Difference(0.0, seeds=seeds if common < 0 else common)},
    )


def results(*arms: ArmSummary, seeds: int = 3, status: str = "done") -> StudyResults:
    return StudyResults(StudyInfo(), [summary("base", seeds, kind="baseline", status=status), *arms])


def test_a_variant_that_cannot_be_built_counts_among_those_that_are_tested() -> None:
    arms = [*ARMS, Arm("broken", "variant", error="row 5: dead")]
    study = StudyResults(StudyInfo(), [ArmSummary(arm.name, arm.kind) for arm in arms])
    assert make_plan(arms).tested == len(study.variants) == 3


def test_all_runs_of_a_fixed_number_of_seeds_are_due() -> None:
    plan = make_plan(fixed=True)
    schedule = Schedule.at_start(plan, keys("base A", range(2)))
    assert schedule.runs == list(plan.runs)
    undecided = [summary(name, 6, "inconclusive") for name in ("A", "B", "null")]
    assert schedule.after_look(results(*undecided, seeds=6)) == schedule


def test_a_study_starts_with_three_seeds_of_every_arm() -> None:
    schedule = Schedule.at_start(make_plan(), ())
    assert [(run.arm.name, run.seed) for run in schedule.runs] == [(arm.name, n) for n in range(3) for arm in ARMS]


def test_only_undecided_arms_and_the_baseline_get_another_seed() -> None:
    first = Schedule.at_start(make_plan(), ())
    arms = [summary("A", 3, "equivalent"), summary("B", 3, "inconclusive"), summary("null", 3, "equivalent")]
    second = first.after_look(results(*arms))
    assert second.seeds == {"base": 4, "A": 3, "B": 4, "null": 3}
    assert {run.key for run in second.runs} - {run.key for run in first.runs} == keys("base B", [3])
    third = second.after_look(results(arms[0], summary("B", 4, "worse"), arms[2], seeds=4))
    assert third == second


def test_the_base_with_other_seeds_gets_seeds_only_together_with_other_arms() -> None:
    """It is never equivalent where seeds differ more than the margin, and would train all seeds for nothing."""
    first = Schedule.at_start(make_plan([*ARMS, fake_arm("aa", "control")]), ())
    noise, null = summary("aa", 3, "inconclusive", kind="control"), summary("null", 3, "equivalent", kind="control")
    decided = [summary("A", 3, "better"), summary("B", 3, "equivalent"), null, noise]
    assert first.after_look(results(*decided)) == first
    following = first.after_look(results(summary("A", 3, "inconclusive"), *decided[1:]))
    assert following.seeds == {"base": 4, "A": 4, "B": 3, "null": 3, "aa": 4}


def test_the_largest_number_of_seeds_is_not_exceeded() -> None:
    schedule = Schedule.at_start(make_plan(), keys("base A B null", range(6)))
    undecided = [summary(name, 6, "inconclusive") for name in ("A", "B", "null")]
    assert schedule.after_look(results(*undecided, seeds=6), workers=8) == schedule


def test_a_study_continues_from_its_results() -> None:
    """B was decided after three seeds; a run of A's fifth seed had not ended when the study was killed."""
    ended = keys("base A", range(4)) | keys("B null", range(3)) | {"base-4"}
    schedule = Schedule.at_start(make_plan(), ended)
    assert schedule.seeds == {"base": 4, "A": 4, "B": 3, "null": 3}
    arms = [summary("A", 4, "inconclusive"), summary("B", 3, "better"), summary("null", 3, "equivalent")]
    assert schedule.after_look(results(*arms, seeds=4)).seeds["A"] == 5


def test_an_added_variant_starts_with_three_seeds_and_continues_at_its_own_pace() -> None:
    ended = keys("base A", range(5)) | keys("null", range(3))
    schedule = Schedule.at_start(make_plan(), ended)
    assert schedule.seeds == {"base": 5, "A": 5, "B": 3, "null": 3}
    arms = [summary("A", 5, "better"), summary("B", 3, "inconclusive"), summary("null", 3, "equivalent")]
    assert schedule.after_look(results(*arms, seeds=5)).seeds == {"base": 5, "A": 5, "B": 4, "null": 3}
    # The larger number of variants made A undecided again.
    arms[0] = summary("A", 5, "inconclusive")
    assert schedule.after_look(results(*arms, seeds=5)).seeds == {"base": 6, "A": 6, "B": 4, "null": 3}


def test_arms_with_the_same_model_share_their_runs() -> None:
    schedule = Schedule.at_start(make_plan(same=("A", "B")), ())
    assert [run.arm.name for run in schedule.runs] == ["base", "A", "null"] * 3
    arms = [summary("A", 3, "equivalent"), summary("B", 3, "inconclusive"), summary("null", 3, "equivalent")]
    assert [run.key for run in schedule.after_look(results(*arms)).runs][9:] == ["base-3", "same-3"]


def test_idle_workers_train_further_seeds() -> None:
    schedule = Schedule.at_start(make_plan(), ())
    arms = [summary("A", 3, "equivalent"), summary("B", 3, "inconclusive"), summary("null", 3, "equivalent")]
    numbers = {workers: schedule.after_look(results(*arms), workers).seeds["B"] for workers in (1, 2, 3, 4, 6, 100)}
    assert numbers == {1: 4, 2: 4, 3: 4, 4: 5, 6: 6, 100: 6}


def test_a_model_that_cannot_be_built_gets_no_seeds() -> None:
    arms = [*ARMS[:2], Arm("broken", "variant", error="row 5: dead")]
    schedule = Schedule.at_start(make_plan(arms), ())
    broken = ArmSummary("broken", "variant", runs=[RunSummary(seed, "failed") for seed in range(3)])
    following = schedule.after_look(results(summary("A", 3, "inconclusive"), broken))
    assert following.seeds == {"base": 4, "A": 4, "broken": 3}
    assert [run.key for run in following.runs][-2:] == ["base-3", "A-3"]


@pytest.mark.parametrize(
    ("arm", "expected"),
    [
        (summary("A", 3, "inconclusive"), True),
        (summary("A", 3, "no worse"), False),
        (summary("A", 3, status="failed", common=2), True),  # too few common seeds
        (summary("A", 4, status="failed", common=3), False),  # nothing learned, or too few images
        (summary("A", 3, status="interrupted", common=2), False),
        (summary("A", 1, status="failed", common=0), False),  # all runs have failed
    ],
)
def test_more_seeds_are_used_only_where_they_can_lead_to_a_verdict(arm: ArmSummary, expected: bool) -> None:
    assert needs_seed(arm, results(arm)) is expected


def test_a_baseline_without_results_gets_no_further_seeds() -> None:
    arm = summary("A", 3, common=0)
    assert not needs_seed(arm, results(arm, seeds=1, status="failed"))


def test_an_arm_that_only_failed_runs_leave_inconclusive_gets_no_further_seed() -> None:
    arm = summary("A", 5, "inconclusive", status="failed", common=4)
    better, unclear = (0.01, 0.03), (-0.01, 0.03)
    for interval, expected in ((better, False), (unclear, True)):
        found = Difference(0.02, interval=interval, seeds=4)
        arm = replace(arm, delta={"mAP50-95": found})
        assert needs_seed(arm, results(arm, seeds=5)) is expected


def test_nothing_is_added_while_a_run_of_the_baseline_is_missing() -> None:
    schedule = Schedule.at_start(make_plan(), ())
    arms = [summary(name, 3, "inconclusive") for name in ("A", "B", "null")]
    assert schedule.after_look(results(*arms, status="interrupted")) == schedule


def test_a_study_whose_time_is_over_has_only_runs_that_have_ended() -> None:
    schedule = Schedule.at_start(make_plan(), ())
    stopped = schedule.without_later(keys("base A", range(2)) | {"B-0"})
    assert stopped.seeds == {"base": 2, "A": 2, "B": 1, "null": 1}


def test_a_look_is_described() -> None:
    arms = [summary("A", 3, "equivalent"), summary("B", 4, "inconclusive"), summary("null", 3, "equivalent")]
    study = results(*arms[:2], summary("null", 3, "equivalent", kind="control"), seeds=4)
    assert describe_look(study, ()) == (
        "look after 4 seeds: A equivalent, null (control) equivalent, 1 of 2 variants undecided"
    )
    assert describe_look(study, {"A", "null"}) == "look after 4 seeds: no new verdict, 1 of 2 variants undecided"
