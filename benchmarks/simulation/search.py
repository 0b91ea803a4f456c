"""Simulated searches on response surfaces whose truth is known, and strategies that search them.

A surface has candidates: layers at sites. The gain of a candidate at the full number of epochs has an effect of its
layer, one of its site, and an interaction. With fewer epochs the gains are smaller and in another order. A run adds
noise of training, independent for each seed, and noise of the evaluated images, which is the same for all seeds.
Differences to the base of the same seed are simulated, since all candidates share it. All numbers are points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from yolo_attn.selection.racing import Measured, Rung, Shape, cost_of, plan_rungs, race, rungs_of
from yolo_attn.stats.compare import Support, difference, estimate

FINALISTS = 3
EPOCHS = 4
_REPLICATES = 200
_CONFIRM_IMAGES = 159

Floats = NDArray[np.float64]
Strategy = Callable[["Surface", float, np.random.Generator], list[int]]


@dataclass(frozen=True)
class World:
    """What surfaces have in common.

    Args:
        layers: Number of layers.
        sites: Number of sites.
        best: Gain of the best candidate; 0 if no candidate differs from the base.
        mean: Mean gain.
        spread: Standard deviation of the gains.
        training: Standard deviation over seeds of the difference to the base.
        images: Standard error due to the images that the search evaluates.
        confirm_images: The same of the images that the confirmation evaluates.
        order: Correlation of the gains with those of runs of fewer epochs, by number of epochs.
    """

    layers: int = 20
    sites: int = 5
    best: float = 1.0
    mean: float = -0.3
    spread: float = 0.4
    training: float = 0.15
    images: float = 0.15
    confirm_images: float = 0.08
    order: Mapping[int, float] = field(default_factory=lambda: {1: 0.6, 2: 0.8, 3: 0.9, 4: 1.0})

    def surface(self, random: np.random.Generator) -> Surface:
        """Return a random surface."""
        shape = (self.layers, self.sites)
        effects = 0.6 * random.normal(size=(self.layers, 1)) + 0.4 * random.normal(size=(1, self.sites))
        gains = (effects + 0.7 * random.normal(size=shape)).ravel()
        gains = self.mean + self.spread * (gains - gains.mean()) / gains.std()
        gains = np.minimum(gains, self.best)
        gains[gains.argmax()] = self.best
        if not self.best:
            gains = np.zeros_like(gains)
        return Surface(self, gains, random)


class Surface:
    """The candidates of one search; runs are cached, so that no run is counted twice.

    Args:
        world: What it has in common with others.
        gains: [K] gain of each candidate at the full number of epochs.
        random: Source of its noise.
    """

    def __init__(self, world: World, gains: Floats, random: np.random.Generator) -> None:
        self.world, self.gains = world, gains
        self._random = random
        self._images = random.normal(0, world.images, len(gains))
        self._replicates = random.normal(0, world.images, (_REPLICATES, len(gains)))
        self._at = {epochs: self._with_epochs(epochs, correlation) for epochs, correlation in world.order.items()}
        self._runs: dict[tuple[int, int, int], float] = {}
        self.cost = 0.0

    def _with_epochs(self, epochs: int, correlation: float) -> Floats:
        """Return the gains of runs with a number of epochs."""
        mean, spread = self.gains.mean(), self.gains.std()
        other = self._random.normal(0, spread, len(self.gains)) if spread else 0.0
        changed = correlation * (self.gains - mean) + math.sqrt(1 - correlation**2) * other
        return np.asarray(mean + changed * math.sqrt(epochs / EPOCHS))

    def run(self, candidate: int, seed: int, epochs: int = EPOCHS) -> float:
        """Return the difference to the base of one run, and count its cost."""
        key = (candidate, seed, epochs)
        if key not in self._runs:
            self.cost += epochs / EPOCHS
            noise = self._random.normal(0, self.world.training)
            self._runs[key] = float(self._at[epochs][candidate] + self._images[candidate] + noise)
        return self._runs[key]

    def estimate(self, candidate: int) -> float:
        """Return the mean of a candidate's runs with the full number of epochs, which the search would report."""
        values = [value for (index, _, epochs), value in self._runs.items() if (index, epochs) == (candidate, EPOCHS)]
        return float(np.mean(values))

    def measure(self, candidates: list[int], seeds: int, epochs: int) -> Measured:
        """Return the measurements of candidates in a rung."""
        values = np.array([[self.run(index, seed, epochs) for index in candidates] for seed in range(seeds)])
        replicates = np.broadcast_to(self._replicates[:, candidates], (seeds, _REPLICATES, len(candidates)))
        return Measured(values, replicates, Support.of_images([41]))


def confirm(surface: Surface, finalists: list[int], random: np.random.Generator, seeds: int = 5) -> list[int]:
    """Return the finalists that a study with fresh seeds on other images calls better."""
    world, better = surface.world, []
    for index in finalists:
        values = surface.gains[index] + random.normal(0, world.confirm_images) + random.normal(0, world.training, seeds)
        images = random.normal(0, world.confirm_images, _REPLICATES)
        support = Support.of_images([_CONFIRM_IMAGES])
        found = estimate(values[:, None], np.broadcast_to(images[:, None], (seeds, _REPLICATES, 1)), support)
        interval = difference(found).interval(1 - 0.05 / len(finalists))
        if interval is not None and interval[0] > 0:
            better.append(index)
    return better


# --- strategies -----------------------------------------------------------------------------------------------------


def racing(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
    """Race the candidates as `yolo-attn search` does."""
    rungs = plan_rungs(len(surface.gains), EPOCHS, FINALISTS, budget, _price)
    return _race(surface, rungs, random)


def racing_with(shape: Shape) -> Strategy:
    """Return a race whose rungs have a shape, whatever they cost."""

    def strategy(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
        return _race(surface, rungs_of(len(surface.gains), EPOCHS, FINALISTS, shape), random)

    return strategy


def cost_with(shape: Shape) -> float:
    """Return the runs of a race whose rungs have a shape."""
    world = World()
    return cost_of(rungs_of(world.layers * world.sites, EPOCHS, FINALISTS, shape), _price)


def _price(epochs: int) -> float:
    return epochs / EPOCHS


def _race(surface: Surface, rungs: Sequence[Rung], random: np.random.Generator) -> list[int]:
    alive = [int(index) for index in random.permutation(len(surface.gains))[: rungs[0].candidates]]
    for number, rung in enumerate(rungs):
        places = rungs[number + 1].candidates if number + 1 < len(rungs) else FINALISTS
        decision = race(surface.measure(alive, rung.seeds, rung.epochs), places=places, finalists=FINALISTS)
        alive = [alive[index] for index in decision.kept]
    return alive


def grid(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
    """Give all candidates as many seeds as the budget allows."""
    seeds = int(budget // len(surface.gains))
    if not seeds:
        return random_search(surface, budget, random, seeds=1)
    return _best(surface, list(range(len(surface.gains))), seeds)


def random_search(surface: Surface, budget: float, random: np.random.Generator, seeds: int = 3) -> list[int]:
    """Give as many random candidates as the budget allows three seeds."""
    number = min(len(surface.gains), int(budget // seeds))
    return _best(surface, [int(index) for index in random.permutation(len(surface.gains))[:number]], seeds)


def _best(surface: Surface, candidates: list[int], seeds: int) -> list[int]:
    means = {index: np.mean([surface.run(index, seed) for seed in range(seeds)]) for index in candidates}
    return sorted(candidates, key=lambda index: -means[index])[:FINALISTS]


def wilcoxon(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
    """Optuna: random candidates, whose seeds stop when its pruner for paired instances says so."""
    import optuna

    order = [int(index) for index in random.permutation(len(surface.gains))]
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.WilcoxonPruner(n_startup_steps=2))
    means: dict[int, float] = {}
    for index in order:
        if surface.cost >= budget:
            break
        trial = study.ask()
        values = []
        for seed in range(10):
            values.append(surface.run(index, seed))
            trial.report(values[-1], seed)
            if surface.cost >= budget or trial.should_prune():
                break
        means[index] = float(np.mean(values))
        study.tell(trial, means[index])
    return sorted(means, key=lambda index: -means[index])[:FINALISTS]


def tpe(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
    """Optuna: candidates proposed by TPE, one run each; repeated proposals get another seed."""
    return _propose(surface, budget, random, hyperband=False)


def hyperband(surface: Surface, budget: float, random: np.random.Generator) -> list[int]:
    """Optuna: candidates proposed by TPE, whose training stops early by Hyperband."""
    return _propose(surface, budget, random, hyperband=True)


def _propose(surface: Surface, budget: float, random: np.random.Generator, *, hyperband: bool) -> list[int]:
    import optuna

    world = surface.world
    sampler = optuna.samplers.TPESampler(seed=int(random.integers(2**31)), multivariate=True)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS, reduction_factor=2)
    study = optuna.create_study(
        direction="maximize", sampler=sampler, pruner=pruner if hyperband else optuna.pruners.NopPruner()
    )
    values: dict[int, list[float]] = {}
    while surface.cost < budget:
        trial = study.ask()
        layer = trial.suggest_categorical("layer", range(world.layers))
        index = layer * world.sites + trial.suggest_categorical("site", range(world.sites))
        seed, pruned = len(values.get(index, [])), False
        for epochs in range(1, EPOCHS + 1) if hyperband else [EPOCHS]:
            value = surface.run(index, seed, epochs)
            surface.cost -= (epochs - 1) / EPOCHS if hyperband else 0.0  # a training continues where it was
            trial.report(value, epochs)
            if hyperband and trial.should_prune():
                pruned = epochs < EPOCHS
                break
        if not pruned:
            values.setdefault(index, []).append(value)
        study.tell(trial, value)
    return sorted(values, key=lambda index: -float(np.mean(values[index])))[:FINALISTS]
