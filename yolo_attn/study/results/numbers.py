"""The numbers of a study's arms: means over seeds, differences to the baseline, verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo_attn.errors import UserError
from yolo_attn.stats import npz
from yolo_attn.stats.ap import METRICS
from yolo_attn.stats.compare import (
    MIN_SEEDS,
    Difference,
    Estimate,
    difference,
    estimate,
    holm,
    minimum_detectable,
    pooled_noise,
    verdict,
)
from yolo_attn.study.files import MATCHES
from yolo_attn.study.results.measured import Measured, measure

__all__ = ["MAIN", "ArmNumbers", "Source", "arm_numbers", "detectable", "measured", "with_verdicts"]

MAIN = METRICS[0]  # the metric that the verdict goes by


@dataclass(frozen=True)
class Source:
    """Where the numbers of a run that is done come from; equal sources give equal numbers.

    Args:
        seed: Seed of the run.
        folder: Its folder.
        matches: Fingerprint of its matches.
        keep: Whether what takes long to compute may be written into the folder.
    """

    seed: int
    folder: Path
    matches: str
    keep: bool = True

    @classmethod
    def of(cls, folder: Path, seed: int, *, keep: bool = True) -> Source:
        """Return the source of a run.

        Raises:
            UserError: Its matches are missing or damaged.
        """
        return cls(seed, folder, npz.fingerprint(folder / MATCHES), keep)


@dataclass(frozen=True)
class ArmNumbers:
    """The numbers of one arm.

    Args:
        runs: Each of `METRICS`, by seed.
        metrics: Mean, sd and ci95 over seeds for each of `METRICS`.
        per_class: The same of each class's mAP50-95, and its difference to the baseline.
        delta: Difference to the baseline for each of `METRICS`; None for the baseline, or without common seeds.
        learnt: By seed, whether the run has learnt anything; None where that cannot be told.
        chance: By seed, the mAP50-95 that the run reaches by chance; None where that is not known.
        comparable: Whether this arm or the baseline has learnt anything. Where neither has, their difference is about
            nothing, and there is no verdict.
    """

    runs: Mapping[int, Mapping[str, float]]
    metrics: Mapping[str, Mapping[str, Any]]
    per_class: Mapping[str, Mapping[str, Any]]
    delta: Mapping[str, Difference | None] | None
    learnt: Mapping[int, bool | None] = field(default_factory=dict)
    chance: Mapping[int, float | None] = field(default_factory=dict)
    comparable: bool = True

    @property
    def has_learnt(self) -> bool | None:
        """Whether any of its runs has; False when none of them has, None where that cannot be told."""
        return _any_learnt(self.learnt.values())


@lru_cache(maxsize=256)
def measured(where: Source) -> Measured:
    """Return the numbers of a run; computed once for the same source.

    Raises:
        UserError: Its matches are damaged.
    """
    return measure(where.folder, keep=where.keep)


@lru_cache(maxsize=4096)
def arm_numbers(own: tuple[Source, ...], base: tuple[Source, ...] | None) -> ArmNumbers:
    """Return the numbers of one arm; computed once for the same sources.

    Args:
        own: Its runs that are done.
        base: Those of the baseline; None for the baseline itself.

    Raises:
        UserError: Matches are damaged, or runs were evaluated on different images.
    """
    if not own:
        return ArmNumbers({}, {name: {"mean": None, "sd": None, "ci95": None} for name in METRICS}, {}, None)
    _check_alike(own, base or ())
    mine = {where.seed: measured(where) for where in own}
    first = mine[own[0].seed]
    summaries = _summaries(estimate(*_stacked(list(mine.values())), test_images=first.images))
    pairs = [(mine[where.seed], measured(where)) for where in base or () if where.seed in mine]
    differences = _differences(pairs) if pairs else None
    changes = [None] * len(summaries) if differences is None else _changes(differences)
    classes = zip(first.classes, first.instances, summaries[len(METRICS) :], changes[len(METRICS) :], strict=True)
    return ArmNumbers(
        runs={seed: dict(zip(METRICS, map(float, run.values), strict=False)) for seed, run in mine.items()},
        metrics=dict(zip(METRICS, summaries, strict=False)),
        per_class={name: {**summary, "instances": count, "delta": change} for name, count, summary, change in classes},
        delta=None if differences is None else {name: _metric(differences, name) for name in METRICS},
        learnt={seed: run.learnt for seed, run in mine.items()},
        chance={seed: run.chance.mean if run.chance else None for seed, run in mine.items()},
        comparable=_any_learnt(measured(where).learnt for where in (*own, *(base or ()))) is not False,
    )


def _any_learnt(runs: Iterable[bool | None]) -> bool | None:
    known = list(runs)
    return True if True in known else False if known and None not in known else None


def _check_alike(own: Sequence[Source], base: Sequence[Source]) -> None:
    """Raise UserError unless all runs saw the same images and objects."""
    for where in (*own, *base):
        if measured(where).dataset != measured(own[0]).dataset:
            raise UserError(
                f"{where.folder / MATCHES}: of other images, objects or classes than {own[0].folder / MATCHES}; "
                "delete the folder of the one that is wrong to run it again"
            )


def _stacked(runs: Sequence[Measured]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    return np.stack([run.values for run in runs]), np.stack([run.draws for run in runs])


def _differences(pairs: Sequence[tuple[Measured, Measured]]) -> Estimate:
    """Return the differences over common seeds: of an arm's runs to the baseline's."""
    (mine, my_draws), (base, base_draws) = (_stacked(side) for side in zip(*pairs, strict=True))
    return estimate(mine - base, my_draws.astype(np.float64) - base_draws, test_images=pairs[0][0].images)


def _summaries(found: Estimate) -> list[dict[str, Any]]:
    """Return mean, sd and ci95 of each column."""
    columns = zip(found.mean, found.sd, _intervals(found), strict=True)
    return [{"mean": _number(mean), "sd": _number(sd), "ci95": interval} for mean, sd, interval in columns]


def _changes(found: Estimate) -> list[dict[str, Any] | None]:
    """Return mean and ci95 of each column's difference."""
    means = [_number(mean) for mean in found.mean]
    return [
        None if mean is None else {"mean": mean, "ci95": interval}
        for mean, interval in zip(means, _intervals(found), strict=True)
    ]


def _intervals(found: Estimate) -> list[list[float] | None]:
    """Return the 95 % interval of each column, None where it is unknown."""
    if found.seeds == 1:
        return [None] * len(found.mean)
    pairs = np.stack(found.interval(), axis=1)
    return [[float(low), float(high)] if np.isfinite(low) else None for low, high in pairs]


def _metric(found: Estimate, name: str) -> Difference | None:
    """Return the difference in one metric; None where no object is of the size that it counts."""
    column = METRICS.index(name)
    return difference(found, column) if np.isfinite(found.mean[column]) else None


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def with_verdicts(kinds: Sequence[str], arms: Sequence[ArmNumbers]) -> list[tuple[dict[str, Any] | None, str | None]]:
    """Return `delta` as in results.json, and the verdict, of each arm.

    Holm's correction goes over the variants, for each metric by itself. Controls are no discoveries: their p-values
    stand as they are. An arm is not tested where neither it nor the baseline has learnt anything.

    Args:
        kinds: "baseline", "variant" or "control" of each arm.
        arms: Their numbers.
    """
    variants = [index for index, kind in enumerate(kinds) if kind == "variant"]
    corrected: dict[str, dict[int, float | None]] = {
        name: dict(zip(variants, holm([_p(arms[index], name) for index in variants]), strict=True)) for name in METRICS
    }
    results: list[tuple[dict[str, Any] | None, str | None]] = []
    for index, arm in enumerate(arms):
        if arm.delta is None:
            results.append((None, None))
            continue
        p = corrected[MAIN].get(index) if index in variants else _p(arm, MAIN)
        delta = {
            name: None if found is None else {**_as_json(found), "p_holm": corrected[name].get(index)}
            for name, found in arm.delta.items()
        }
        results.append((delta, verdict(arm.delta[MAIN], p)))
    return results


def _p(arm: ArmNumbers, name: str) -> float | None:
    found = arm.delta[name] if arm.delta and arm.comparable else None
    return found.p if found else None


def _as_json(found: Difference) -> dict[str, Any]:
    return {**asdict(found), "ci95": None if found.ci95 is None else list(found.ci95)}


def detectable(variants: Sequence[ArmNumbers]) -> dict[str, float] | None:
    """Return the smallest true difference that a study with this noise finds with 80 % power, for each metric.

    The noise is pooled over the variants that are tested; None while no difference has enough seeds for a verdict.
    Controls are left out: an identity layer may differ from the base by nothing at all.

    Args:
        variants: Their numbers.
    """
    sizes: dict[str, float] = {}
    for name in METRICS:
        found = [arm.delta[name] for arm in variants if arm.delta and arm.comparable]
        known = [item for item in found if item and item.seeds >= MIN_SEEDS and item.p is not None]
        noise = pooled_noise((item.sd_training or 0.0, item.se_images or 0.0) for item in known)
        if noise:
            sizes[name] = minimum_detectable(min(item.seeds for item in known), *noise, variants=len(known))
    return sizes or None
