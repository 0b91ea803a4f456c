"""The budget of a search."""

from __future__ import annotations

import pytest

from yolo_attn.errors import UserError
from yolo_attn.selection.budget import Budget
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
