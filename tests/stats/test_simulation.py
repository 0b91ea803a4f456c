"""The simulations of docs/statistics.md: their formulas are those of the package, and their quick form holds."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulation import looks
from benchmarks.simulation.reference import half_width
from benchmarks.simulation.tables import TABLES
from yolo_attn.stats.compare import PairedDifference
from yolo_attn.stats.sequential import look_factor, look_levels
from yolo_attn.stats.verdicts import read_verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
MOST = 6.5 / 5  # false alarms, relative to the nominal ones
RATES = ["per-test", "influences", "family", "shapes", "whole-studies", "planned-looks", "boards", "board-spread"]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(("seeds", "image_df"), [(3, 20), (5, 100), (12, 7)])
@pytest.mark.parametrize("level", [0.05, 0.05 / 70])
def test_intervals_are_those_of_the_package(share: float, seeds: int, image_df: int, level: float) -> None:
    found = PairedDifference(
        0, None, None, None, None, None, None, seeds, error=2.0, share=share, training_df=seeds - 1, image_df=image_df
    ).interval(1 - level)
    assert found is not None
    assert float(half_width(4 * share, 4 * (1 - share), seeds, image_df, level)) == pytest.approx(found[1], rel=0.01)


def test_looks_are_those_of_the_package() -> None:
    rule = looks.power_rule(0.05, 2)
    levels = look_levels(0.05, looks.FIRST, looks.LARGEST)
    assert rule.levels == pytest.approx(list(levels.values()), rel=0.01)
    rng, plan = np.random.default_rng(0), next(iter(looks.PLANS.values()))
    studies, _ = looks.studies_of(plan, rng, 20)
    for seeds in (3, 7, 12):
        sd = studies.differences[:, :, :seeds].std(axis=-1, ddof=1)
        for index, mine in np.ndenumerate(rule.verdicts(studies, seeds)):
            training, images = sd[index] ** 2 / seeds, studies.images[index]
            found = PairedDifference(
                float(studies.means(seeds)[index]),
                *[None] * 6,
                seeds,
                error=float(np.sqrt(training + images)),
                share=float(training / (training + images)),
                training_df=seeds - 1,
                image_df=studies.count - 1,
            ).interval(0.95, look_factor(0.05, seeds, looks.FIRST, looks.LARGEST))
            assert found is not None
            assert read_verdict(found, looks.MARGIN) == looks.NAMES[mine]


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_false_alarms_stay_below_the_limit(name: str) -> None:
    found = TABLES[name](True)
    assert found.rates
    assert [
        (rate, error) for rate, error in zip(found.rates, found.errors, strict=True) if rate - 3 * error > MOST
    ] == []


@pytest.mark.slow
def test_looks_save_runs() -> None:
    rates = TABLES["savings"](True).rates
    assert min(rates) < 0.6
    assert max(rates) < 0.85


def test_every_table_is_on_the_page() -> None:
    tables = re.findall(r"<!-- table: ([\w-]+) -->\n\n(.+?)\n\n<!-- end -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert [name for name, _ in tables] == list(TABLES)
    assert all(text.startswith("| ") for _, text in tables)
