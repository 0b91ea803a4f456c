"""The budget of a search."""

from __future__ import annotations

import pytest

from yolo_attn.errors import UserError
from yolo_attn.selection.budget import Budget, seeds_needed
from yolo_attn.selection.specification import Search


def budget(pretrain: int, **arguments: object) -> Budget:
    """Return a budget in which an epoch takes 10 seconds."""
    given = {"base": "yolo11n.yaml", "data": "digits", "pretrain": pretrain, "epochs": 3, "hours": 1, **arguments}
    return Budget(Search.from_arguments(given), 2, lambda epochs: 10.0 * epochs, lambda epochs: 15.0 * epochs)


@pytest.mark.parametrize("pretrain", [1, 50, 100])
def test_hours_include_the_training_of_the_bases(pretrain: int) -> None:
    found = budget(pretrain)
    seconds = found.expected_seconds(found.plan(200))
    assert seconds is not None
    assert 3600 - 8 * 30 < seconds <= 3600
    bases, confirmed = 25 * pretrain, 5 * 4 * 45 / 2
    assert seconds > bases + confirmed


def test_a_base_that_takes_all_the_time_is_an_error() -> None:
    with pytest.raises(UserError, match=r"hours=1: too short; a search of 6 candidates takes about 2:1\d:\d\d here"):
        budget(300).plan(20)


def test_runs_include_those_of_the_bases() -> None:
    found = budget(100, hours=None, runs=80)
    assert found.total_runs(found.plan(20)) <= 80


def test_a_measured_time_corrects_the_expectation_for_other_numbers_of_epochs() -> None:
    found = budget(0, epochs=10)
    found.learn(5, 200.0)  # four times as long as expected
    assert (found._run_seconds(5), found._run_seconds(10)) == (200.0, 400.0)
    found.learn(10, 300.0)
    assert (found._run_seconds(5), found._run_seconds(10), found._run_seconds(20)) == (200.0, 300.0, 600.0)


def test_there_are_no_more_finalists_than_candidates_and_pairs() -> None:
    for pairs, finalists in ((False, 2), (True, 3)):
        found = budget(0, pairs=pairs)
        found.limit_finalists(2)
        assert found.finalists == finalists


@pytest.mark.parametrize(
    ("sd", "margin", "finalists", "seeds"),
    [(0.0, 0.5, 3, 5), (0.15, 0.5, 3, 5), (0.3, 0.5, 3, 7), (0.3, 0.5, 1, 6), (0.3, 1.0, 3, 5), (0.6, 0.5, 3, 12)],
)
def test_the_noise_decides_the_seeds_of_the_confirmation(sd: float, margin: float, finalists: int, seeds: int) -> None:
    assert seeds_needed(range(5, 13), sd, margin, finalists) == seeds
    assert seeds_needed(range(4, 5), sd, margin, finalists) == 4


def test_a_quarter_of_the_budget_is_reserved_for_the_confirmation() -> None:
    free = budget(0, hours=None)
    free.plan(20)
    assert free.confirm_seeds == 12
    large, small = budget(0, hours=None, runs=160), budget(0, hours=None, runs=80)
    planned = large.plan(60)
    assert large.confirm_seeds == 10  # of 160 runs, 40 = 10 x (3 finalists and the base)
    assert large.total_runs(planned) <= 160
    assert planned[0].candidates == 60
    planned = small.plan(40)
    assert (small.confirm_seeds, planned[0].candidates) == (5, 40)  # another seed would leave out candidates
    assert small.total_runs(planned) <= 80


@pytest.mark.parametrize(("sd", "seeds"), [(0.003, 7), (0.05, 10), (None, 5)])
def test_the_seeds_are_chosen_from_those_that_are_reserved(sd: float | None, seeds: int) -> None:
    found = budget(0, hours=None, runs=160)
    found.plan(60)
    found.choose_seeds(sd)
    assert found.confirm_seeds == seeds


def test_given_seeds_and_those_of_a_confirmation_that_has_begun_are_kept() -> None:
    given = budget(0, hours=None, seeds=4)
    given.settle_seeds(9)
    given.plan(20)
    given.choose_seeds(0.05)
    assert given.confirm_seeds == 4
    begun = budget(0, hours=None, runs=160)
    begun.settle_seeds(8)
    begun.plan(60)
    begun.choose_seeds(0.0)
    assert begun.confirm_seeds == 8


def test_hours_reserve_time_for_the_confirmation() -> None:
    found = budget(0)
    planned = found.plan(60)
    seconds = found.expected_seconds(planned)
    assert found.confirm_seeds == 10  # at most 1800 seconds of two workers, 45 for a run
    assert seconds is not None and seconds <= 3600
    resumed = budget(0)
    resumed.reserve_beside(planned)
    assert resumed.confirm_seeds >= found.confirm_seeds
