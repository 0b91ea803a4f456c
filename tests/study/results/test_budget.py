"""The noise budget: shares of the variance, and what more seeds, bases and images would detect."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.study.report.simple import EQUIVALENT, make
from yolo_attn.stats.power import Noise, minimum_detectable_range, probability_equivalent
from yolo_attn.study.report.noise import noise_lines, size_name
from yolo_attn.study.results.budget import Budget, noise_budget
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.records import BaseSummary, NoiseSummary, StudyResults


def study(noise: NoiseSummary, bases: int = 0, **info: object) -> StudyResults:
    made = make({"A": EQUIVALENT, "B": EQUIVALENT}, **info)
    runs = [replace(run, base=run.seed % (bases or 1)) for run in made.baseline.runs]
    made = replace(made, arms=[replace(made.baseline, runs=runs), *made.others])
    return replace(made, noise=noise, bases=[BaseSummary(seed, "done", seconds=100.0) for seed in range(bases)])


def budget(noise: NoiseSummary, bases: int = 0, **info: object) -> Budget:
    found = noise_budget(study(noise, bases, **info))
    assert found is not None
    return found


def test_shares_are_those_of_the_variance() -> None:
    found = budget(NoiseSummary(0.01, 0.002, df=8.0))
    assert found.error == pytest.approx(math.sqrt(0.01**2 / 5 + 0.002**2))
    assert (found.training, found.images, found.bases) == (pytest.approx(5 / 6), pytest.approx(1 / 6), None)


def test_sizes_with_one_base() -> None:
    noise = NoiseSummary(0.01, 0.002, df=8.0)
    found = budget(noise)
    assert [size_name(it) for it in found.sizes] == ["5 seeds", "6 seeds", "10 seeds", "twice the test images"]
    for size in found.sizes:
        known = Noise(0.01, 0.002 / math.sqrt(size.images), 8.0)
        expected = minimum_detectable_range(size.seeds, known, alpha=0.05 / 2)
        assert size.detectable == pytest.approx(expected)
        assert size.equivalent == pytest.approx(probability_equivalent(size.seeds, known, 0.005, 0.05 / 2))
    assert [it.runs for it in found.sizes] == [15, 18, 30, 15]
    assert [it.seconds for it in found.sizes] == [60 * it.runs for it in found.sizes]  # of a minute each
    assert [found.added_seconds(it) for it in found.sizes] == [0, 3 * 60, 15 * 60, 0]


def test_few_images_are_estimated_poorly() -> None:
    """As in the intervals of the verdicts."""
    few = budget(NoiseSummary(0.01, 0.008, df=8.0, image_df=5)).sizes
    assert few[0].detectable == pytest.approx(minimum_detectable_range(5, Noise(0.01, 0.008, 8.0, 5), alpha=0.05 / 2))
    assert few[3].detectable == pytest.approx(
        minimum_detectable_range(5, Noise(0.01, 0.008 / math.sqrt(2), 8.0, 10), alpha=0.05 / 2)
    )


@pytest.mark.parametrize("df", [1e-300, 0, -1.0, "many", float("nan")])
def test_impossible_degrees_of_freedom_are_unknown(df: object) -> None:
    """In a results.json from elsewhere."""
    content = {"training": 0.01, "images": 0.002, "df": df, "image_df": df}
    assert NoiseSummary.from_json(content) == NoiseSummary(0.01, 0.002)


def test_shared_runs_are_counted_once() -> None:
    """Arms with the same model share the folders of their runs."""
    made = study(NoiseSummary(0.01, 0.002, df=8.0))
    numbered = [
        replace(arm, runs=[replace(run, folder=f"runs/{name}-s{run.seed}", seconds=36.0) for run in arm.runs])
        for arm, name in zip(made.arms, ("base", "same", "same"), strict=True)
    ]
    shared = replace(made, arms=numbered)
    assert [arm.name for arm in shared.trained_arms] == [arm.name for arm in made.arms[:2]]
    assert shared.hours == pytest.approx(2 * len(made.baseline.runs) * 36 / 3600)
    found = noise_budget(shared)
    assert found is not None
    assert (found.sizes[0].runs, found.sizes[0].seconds) == (10, 600)


def test_images_that_change_nothing_are_not_a_number() -> None:
    few, many = (noise_lines(study(NoiseSummary(0.01, images, df=8.0)))[1] for images in (0.0, 0.01))
    assert few.endswith("with twice the test images no less than now.")
    assert "no less" not in many


def test_bases_are_the_units_of_training() -> None:
    noise = NoiseSummary(0.01, 0.001, bases=0.02, df=4.0)
    made = study(noise, 3)
    arms = [
        replace(arm, delta={name: replace(it, seeds=6) for name, it in arm.delta.items() if it}) for arm in made.arms
    ]
    found = noise_budget(replace(made, arms=arms))
    assert found is not None
    training, between, images = 0.01**2 / 6, 0.02**2 / 3, 0.001**2
    total = training + between + images
    assert (found.training, found.bases, found.images) == pytest.approx(
        (training / total, between / total, images / total)
    )
    names = [size_name(it) for it in found.sizes]
    assert names == [
        *("3 bases and 6 seeds", "4 bases and 8 seeds", "3 bases and 12 seeds", "6 bases and 12 seeds"),
        "twice the test images",
    ]
    per_base = math.sqrt(0.02**2 + 0.01**2 / 2)
    assert found.sizes[1].detectable == pytest.approx(
        minimum_detectable_range(4, Noise(per_base, 0.001, 4.0), alpha=0.05 / 2)
    )
    assert found.sizes[1].runs == 8 * 3 + 4
    assert found.added_seconds(found.sizes[1]) == pytest.approx(2 * 3 * 60 + 100)  # two seeds of three arms, and a base


def test_one_seed_of_each_base_does_not_tell_training_from_bases() -> None:
    noise = NoiseSummary(0.02, 0.001, bases=None, df=2.0)
    made = study(noise, 3)
    arms = [
        replace(arm, delta={name: replace(it, seeds=3) for name, it in arm.delta.items() if it}) for arm in made.arms
    ]
    found = noise_budget(replace(made, arms=arms))
    assert found is not None
    total = 0.02**2 / 3 + 0.001**2
    assert found.shares == pytest.approx({"training and bases": 0.02**2 / 3 / total, "test images": 0.001**2 / total})
    names = [size_name(it) for it in found.sizes]
    assert names == [
        *("3 bases and 3 seeds", "4 bases and 4 seeds", "6 bases and 6 seeds"),
        "twice the test images",
    ]
    assert "training and bases 99%" in noise_lines(replace(made, arms=arms))[0]


@pytest.mark.slow
def test_looks_make_the_last_seed_the_design() -> None:
    found = budget(NoiseSummary(0.01, 0.002, df=8.0), max_seeds=12).sizes
    assert [it.seeds for it in found] == [12, 13, 24, 12]
    factor = Rules(0.005, max_seeds=12).look_factor(0.025, 12)
    assert factor > 1
    expected = minimum_detectable_range(12, Noise(0.01, 0.002, 8.0), alpha=0.025, look_factor=factor)
    assert found[0].detectable == pytest.approx(expected)


@pytest.mark.parametrize("noise", [None, NoiseSummary(0.0, 0.0, df=4.0)])
def test_no_budget_without_noise(noise: NoiseSummary | None) -> None:
    made = replace(make({"A": EQUIVALENT}), noise=noise)
    assert noise_budget(made) is None and noise_lines(made) == []


def test_unknown_times_leave_the_cost_out() -> None:
    made = study(NoiseSummary(0.01, 0.002, df=8.0))
    untimed = replace(made, arms=[replace(arm, seconds=None) for arm in made.arms])
    found = noise_budget(untimed)
    assert found is not None and found.added_seconds(found.sizes[1]) is None
    assert "of training)" in noise_lines(made)[1] and "of training)" not in noise_lines(untimed)[1]


def test_damaged_bases_do_not_divide_by_zero() -> None:
    """A results.json from elsewhere can state noise of bases without bases."""
    assert budget(NoiseSummary(0.01, 0.002, bases=0.01)).training < 1
