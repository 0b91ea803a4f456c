"""The tables of docs/search.md. `benchmarks/search.py` writes them, slow tests repeat parts of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from yolo_attn.selection.budget import seeds_needed
from yolo_attn.selection.racing import SHAPES
from yolo_attn.selection.specification import CONFIRM_SEEDS, MOST_CONFIRM_SEEDS

from . import search
from .search import FINALISTS, Strategy, World, confirm
from .tables import Table

WORLDS: dict[str, World] = {
    "as on BCCD": World(),
    "short runs say little": World(order={1: 0.3, 2: 0.5, 3: 0.8, 4: 1.0}),
    "twice the noise": World(training=0.3, images=0.3, confirm_images=0.15),
    "four times the training noise": World(training=0.6),
}
STRATEGIES: dict[str, Strategy] = {
    "race": search.racing,
    "every candidate, equal seeds": search.grid,
    "random candidates, three seeds": search.random_search,
    "Optuna: Wilcoxon pruner": search.wilcoxon,
}
ENGINES: dict[str, Strategy] = {
    "race": search.racing,
    "Optuna: TPE": search.tpe,
    "Optuna: TPE, Hyperband": search.hyperband,
}
_NEAR = 0.2  # points from the best
_BUDGETS = (150, 300)
_MARGIN = 0.5  # points


@dataclass(frozen=True)
class Rates:
    """What simulated searches found.

    Args:
        confirmed: Share of searches that confirm the best candidate, or one that is nearly as good.
        false: Share of searches that confirm a candidate that is not better than the base.
        estimated: Mean of the search's estimate of its best finalist minus its true gain, in points.
    """

    confirmed: float
    false: float
    estimated: float


def rates(world: World, strategy: Strategy, budget: float, searches: int, seeds: int = CONFIRM_SEEDS) -> Rates:
    """Simulate searches.

    Args:
        world: The surfaces.
        strategy: The strategy.
        budget: Runs of each search, without the confirmation.
        searches: Number of searches.
        seeds: Seeds of the confirmation.
    """
    confirmed, false, excess = 0, 0, []
    for number in range(searches):
        random = np.random.default_rng(number)
        surface = world.surface(random)
        finalists = strategy(surface, budget, random)[:FINALISTS]
        better = confirm(surface, finalists, random, seeds)
        confirmed += any(surface.gains[index] >= world.best - _NEAR for index in better)
        false += any(surface.gains[index] <= 0 for index in better)
        excess.append(surface.estimate(finalists[0]) - surface.gains[finalists[0]])
    return Rates(confirmed / searches, false / searches, float(np.mean(excess)))


def strategies(quick: bool) -> Table:
    """Confirmed searches, by strategy."""
    return _compare(STRATEGIES, 100 if quick else 300)


def engines(quick: bool) -> Table:
    """The same with engines that propose candidates, a search of which takes seconds."""
    return _compare(ENGINES, 5 if quick else 40)


def _compare(compared: Mapping[str, Strategy], searches: int) -> Table:
    table = Table(["strategy", *[f"{name}, {budget} runs" for name in WORLDS for budget in _BUDGETS]])
    for name, strategy in compared.items():
        if "Optuna" in name and not _has_optuna():
            continue
        found = [rates(world, strategy, budget, searches).confirmed for world in WORLDS.values() for budget in _BUDGETS]
        table.rows.append([name, *[f"{100 * rate:.0f}" for rate in found]])
    return table


def confirmation(quick: bool) -> Table:
    """Confirmed searches, by the seeds of the confirmation."""
    table = Table(["seeds of the confirmation", *WORLDS])
    searches = 100 if quick else 300
    counts = range(CONFIRM_SEEDS, MOST_CONFIRM_SEEDS + 1)
    needed = {name: seeds_needed(counts, world.training, _MARGIN, FINALISTS) for name, world in WORLDS.items()}
    fixed = [rates(world, search.racing, 300, searches).confirmed for world in WORLDS.values()]
    table.rows.append(["always 5", *[f"{100 * rate:.0f}" for rate in fixed]])
    chosen = [rates(world, search.racing, 300, searches, needed[name]).confirmed for name, world in WORLDS.items()]
    cells = [f"{100 * rate:.0f} ({count})" for rate, count in zip(chosen, needed.values(), strict=True)]
    table.rows.append(["by the noise (their number)", *cells])
    return table


def nothing(quick: bool) -> Table:
    """False confirmations where no candidate differs from the base."""
    estimates = ("estimate of the best finalist", "its true gain")
    table = Table(["simulated accuracies", "false confirmations in %", *estimates])
    searches = 200 if quick else 1000
    for name, world in WORLDS.items():
        found = rates(replace(world, best=0.0), search.racing, 300, searches)
        table.add(found.false, searches)
        table.rows.append([name, f"{100 * found.false:.1f}", f"{found.estimated:+.2f}", "0"])
    return table


def shapes(quick: bool) -> Table:
    """Confirmed searches, by the shape of the rungs."""
    table = Table(["share", "growth", "epochs of the first rung", "runs", *WORLDS])
    for shape in SHAPES:
        strategy, cost = search.racing_with(shape), search.cost_with(shape)
        found = [rates(world, strategy, np.inf, 100 if quick else 300).confirmed for world in WORLDS.values()]
        start = "all" if shape.first_epochs == 1 else f"{shape.first_epochs:.0%}"
        table.rows.append(
            [f"{shape.share:.2f}", f"{shape.growth:g}", start, f"{cost:.0f}", *[f"{100 * rate:.0f}" for rate in found]]
        )
    return table


def _has_optuna() -> bool:
    try:
        import optuna
    except ImportError:
        return False
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    return True


TABLES: Mapping[str, Callable[[bool], Table]] = {
    "strategies": strategies,
    "engines": engines,
    "nothing": nothing,
    "confirmation": confirmation,
    "shapes": shapes,
}
