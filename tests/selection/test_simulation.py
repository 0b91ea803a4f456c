"""Simulated searches: what the tables of docs/search.md say holds."""

from __future__ import annotations

import pytest

from benchmarks.simulation import search
from benchmarks.simulation.search_tables import WORLDS, nothing, rates

SEARCHES = 60
MOST = 6.5 / 5  # false confirmations, relative to the nominal ones


def test_runs_are_not_counted_twice() -> None:
    import numpy as np

    random = np.random.default_rng(0)
    surface = WORLDS["as on BCCD"].surface(random)
    finalists = search.racing(surface, 150, random)
    assert len(set(finalists)) == search.FINALISTS
    cost = surface.cost
    assert 100 < cost <= 150
    surface.measure(finalists, 1, search.EPOCHS)
    assert surface.cost == cost


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_a_race_finds_more_than_random_candidates(world: str) -> None:
    race = rates(WORLDS[world], search.racing, 150, SEARCHES)
    random = rates(WORLDS[world], search.random_search, 150, SEARCHES)
    assert race.confirmed > random.confirmed + 0.1 * (WORLDS[world].training < 0.5)


@pytest.mark.slow
def test_searches_without_a_better_candidate_confirm_none() -> None:
    found = nothing(True)
    assert max(found.rates) < MOST
    assert min(float(row[2]) for row in found.rows) > 0.2  # points by which the best estimate is too large


@pytest.mark.slow
def test_noisy_searches_are_confirmed_with_more_seeds() -> None:
    world = WORLDS["four times the training noise"]
    few, many = (rates(world, search.racing, 300, SEARCHES, seeds).confirmed for seeds in (5, 12))
    assert many > few + 0.3
