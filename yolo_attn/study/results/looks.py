"""The looks at a study: the evaluations at which verdicts were written, and what they mean together.

A verdict is wrong with a small probability at one look. Whoever adds seeds because of a verdict looks again, and each
look is another chance of a false alarm. The looks of `seeds=auto` have smaller error levels, which together have the
rate of a single look. Those of users who add seeds by hand have not. Every look is therefore stored with its seeds and
error levels, and the exact error rate of all of them is stated where it is larger than that of a single look.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from yolo_attn.errors import UserError
from yolo_attn.stats.sequential import error_rate
from yolo_attn.stats.verdicts import ALPHA
from yolo_attn.study.files import LOOKS, RESULTS
from yolo_attn.study.results.judging import Rules
from yolo_attn.study.results.records import ArmSummary, Look, StudyResults
from yolo_attn.study.results.storage import read_results
from yolo_attn.system.files import as_json, read_json, write_atomically

__all__ = [
    "all_looks",
    "false_alarms",
    "keep_looks",
    "list_seeds",
    "look_notes",
    "looks_of",
    "read_looks",
    "unplanned_rate",
    "with_look",
    "write_looks",
]

_MOST = ALPHA + 0.0005  # rates are printed in percent with one decimal


def read_looks(folder: Path) -> list[Look]:
    """Return all looks at the studies of a folder; empty before the first one.

    Raises:
        UserError: Their file is damaged.
    """
    path = folder / LOOKS
    if not path.exists():
        return _looks_in_results(folder)
    try:
        looks = read_json(path).get("looks")
    except UserError:
        looks = None
    if not isinstance(looks, list):
        raise UserError(
            f"{path}: damaged; restore it, or delete it: verdicts then account for the looks in {RESULTS} only"
        )
    return [Look.from_json(item) for item in looks]


def _looks_in_results(folder: Path) -> list[Look]:
    """Return the looks at the last study of a folder without `looks.json`.

    The file was deleted, or the study is of an early version, whose results have verdicts and no looks.
    """
    try:
        study = read_results(folder)
    except UserError:  # missing, or damaged and written again
        return []
    return list(study.looks) or (with_look([], study) if study.baseline.runs else [])


def write_looks(folder: Path, looks: Sequence[Look]) -> None:
    """Write all looks at the studies of a folder.

    Raises:
        UserError: The disk is full or cannot be written; the earlier file is unchanged.
    """
    write_atomically(folder / LOOKS, as_json({"looks": looks}))


def looks_of(looks: Sequence[Look], baseline: Sequence[str | None]) -> list[Look]:
    """Return the looks at a study, without those at studies of other data or another recipe in the same folder.

    Args:
        looks: The looks.
        baseline: Folders of the baseline's runs.
    """
    return [look for look in looks if look.baseline is None or look.baseline in baseline]


def all_looks(looks: Sequence[Look], study: StudyResults) -> list[Look]:
    """Return the looks at all studies of a folder with those at one of them replaced.

    Args:
        looks: The looks.
        study: Results that contain all looks at it.
    """
    replaced = looks_of(looks, [run.folder for run in study.baseline.runs])
    return [*(look for look in looks if look not in replaced), *study.looks]


def keep_looks(folder: Path, looks: Sequence[Look], study: StudyResults) -> Sequence[Look]:
    """Store the looks at a study before anyone can read its verdicts, and return all looks at studies of the folder.

    Args:
        folder: The folder.
        looks: The looks of `read_looks`, which may come from results that are going to be replaced.
        study: Results that contain all looks at it.

    Raises:
        UserError: The disk is full or cannot be written.
    """
    kept = all_looks(looks, study)
    if kept != list(looks) or (kept and not (folder / LOOKS).exists()):
        write_looks(folder, kept)
    return kept


def with_look(looks: Sequence[Look], study: StudyResults) -> list[Look]:
    """Return looks with the present one at a study added, unless no arm was tested.

    The same runs can be evaluated any number of times: an evaluation with the same seeds as the last one, or with
    further arms only, is the same look.

    Args:
        looks: Earlier looks at it.
        study: Its results; an arm with more seeds than runs is in a forged file and ignored.
    """
    tested = [
        (arm, seeds)
        for arm in study.others
        if arm.difference().p is not None and (seeds := arm.difference().seeds) and seeds <= len(arm.runs)
    ]
    if not tested:
        return list(looks)
    rules, variants = Rules.of(study.info), len(study.variants)
    now = Look(
        seeds=max(seeds for _, seeds in tested),
        made=study.info.made,
        verdicts={arm.name: arm.verdict or "inconclusive" for arm, _ in tested},  # early versions had another name
        counts={arm.name: seeds for arm, seeds in tested},
        alphas={arm.name: rules.alpha(variants if arm.kind == "variant" else 1, seeds) for arm, seeds in tested},
        margin=study.info.margin,
        baseline=study.baseline.runs[0].folder,
    )
    earlier = list(looks)
    if earlier and _is_same(earlier[-1], now):
        now = _merged(earlier.pop(), now)
    return [*earlier, replace(now, planned=false_alarms([*earlier, now], study) <= _MOST)]


def _is_same(last: Look, now: Look) -> bool:
    """Whether two evaluations are one look: with the same seeds, of which one may have further arms."""
    added = last.counts.items() <= now.counts.items() or now.counts.items() <= last.counts.items()
    return added and last.margin == now.margin


def _merged(last: Look, now: Look) -> Look:
    """Return two evaluations that are one look as one.

    An arm keeps its largest level, with which it could have been decided.
    """
    return replace(
        now,
        seeds=max(last.seeds, now.seeds),
        made=last.made if now.counts.items() <= last.counts.items() else now.made,
        verdicts={**last.verdicts, **now.verdicts},
        counts={**last.counts, **now.counts},
        alphas=_largest(last.alphas, now.alphas),
    )


def _largest(last: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: max(last.get(name, 0.0), now.get(name, 0.0)) for name in {**last, **now}}


def false_alarms(looks: Sequence[Look], study: StudyResults) -> float:
    """Return the probability of any wrong verdict about a variant at any look, or a bound of it.

    The rate of one variant is exact for normally distributed training noise; those of several are added. With several
    bases the levels of all looks are added too, because more seeds do not make the noise of the bases smaller.

    Args:
        looks: The looks.
        study: The study's results.
    """
    alphas = [_alphas(looks, arm) for arm in study.variants]
    rates = [
        sum(found.values()) if study.has_several_bases else _exact(tuple(sorted(found.items()))) for found in alphas
    ]
    return min(1.0, math.fsum(rates))


def _alphas(looks: Sequence[Look], arm: ArmSummary) -> dict[int, float]:
    """Return the largest error level at each number of seeds that an arm was looked at with.

    A look at more seeds than the arm has is in a forged file.
    """
    found: dict[int, float] = {}
    for look in looks:
        seeds = look.counts.get(arm.name, 0)
        if arm.name in look.alphas and 1 < seeds <= len(arm.runs):
            found[seeds] = max(found.get(seeds, 0.0), look.alphas[arm.name])
    return found


@lru_cache(maxsize=1024)
def _exact(alphas: tuple[tuple[int, float], ...]) -> float:
    return error_rate(dict(alphas)) if alphas else 0.0


def list_seeds(looks: Sequence[Look]) -> str:
    """Return the numbers of seeds of some looks as "3, 5 and 8"."""
    seeds = [str(number) for number in dict.fromkeys(look.seeds for look in looks)]
    return f"{', '.join(seeds[:-1])} and {seeds[-1]}" if len(seeds) > 1 else "".join(seeds)


def look_notes(study: StudyResults) -> list[str]:
    """Return what the looks at a study mean for its verdicts."""
    if not study.looks:
        return []
    return [*_stopping(study), *_unplanned(study), *_changed_margin(study)]


def _stopping(study: StudyResults) -> list[str]:
    """Return after how many seeds each variant was decided, if undecided ones get more."""
    if study.info.max_seeds is None:
        return []
    groups: dict[tuple[str, int], list[str]] = {}
    for arm in study.variants:
        if arm.verdict:
            state = "decided" if arm.decided else "undecided"
            groups.setdefault((state, arm.difference().seeds or 0), []).append(arm.name)
    parts = [f"{', '.join(names)} {state} after {seeds}" for (state, seeds), names in sorted(groups.items())]
    return [f"Seeds are added until an arm is decided, at most {study.info.max_seeds}: {'; '.join(parts)}."] * bool(
        parts
    )


def unplanned_rate(study: StudyResults) -> float | None:
    """Return the rate of false alarms of all looks at a study, None if it is not above that of a single look."""
    rate = false_alarms(study.looks, study)
    return rate if rate > _MOST else None


def _unplanned(study: StudyResults) -> list[str]:
    rate = unplanned_rate(study)
    return (
        []
        if rate is None
        else [
            f"Verdicts after unplanned looks at {list_seeds(study.looks)} seeds: false alarms up to {100 * rate:.1f}% "
            f"instead of {100 * ALPHA:.0f}%. A study that is planned with seeds=auto may look after every seed."
        ]
    )


def _changed_margin(study: StudyResults) -> list[str]:
    now = study.info.margin
    for look in study.looks:
        if look.margin is not None and now is not None and look.margin != now:
            return [
                f"The margin was {100 * look.margin:g} points at the look at {look.seeds} seeds and is {100 * now:g} "
                'now. A margin that is chosen after a look can make any arm "equivalent".'
            ]
    return []
