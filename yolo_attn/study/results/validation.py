"""Validation of the parts of `results.json` that results are computed from again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from yolo_attn.study.job import STATUSES

__all__ = ["find_problem"]

_MAX_SEED = 2**63


def find_problem(data: Mapping[str, object]) -> str | None:
    """Return the first problem in the content of a `results.json`, None if it is valid.

    Only arms, runs, seeds and folders have to be valid. Values that are only displayed may be anything.
    """
    return next(_problems(data), None)


def _problems(data: Mapping[str, object]) -> Iterator[str]:
    arms = data.get("arms")
    if not isinstance(arms, list) or not arms or not all(isinstance(arm, dict) for arm in arms):
        yield "it has no arms"
        return
    if not isinstance(data.get("recipe", {}), dict) or not isinstance(data.get("versions", {}), dict):
        yield "recipe or versions is not a mapping"
    names = [arm.get("name") for arm in arms]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        yield "names of arms are missing or repeated"
    kinds = [arm.get("kind") for arm in arms]
    if kinds[0] != "baseline" or not all(kind in ("variant", "control") for kind in kinds[1:]):
        yield "the first arm, and no other, has to be the baseline"
    for arm in arms:
        yield from (f"{arm['name']}: {problem}" for problem in _arm_problems(arm))


def _arm_problems(arm: Mapping[str, object]) -> Iterator[str]:
    runs = arm.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        yield "it has no runs"
        return
    if not all(_is_seed(run.get("seed")) for run in runs):
        yield "a run has no seed"
    if not all(run.get("status") in STATUSES for run in runs):
        yield "the status of a run is unknown"
    if not all(isinstance(run.get("folder"), (str, type(None))) for run in runs):
        yield "the folder of a run is not a string"
    for key in ("seed", "folder"):  # a run listed twice would make the study look larger
        given = [str(run.get(key)) for run in runs if run.get(key) is not None]
        if len(set(given)) < len(given):
            yield f"two runs have the same {key}"
    if not isinstance(arm.get("model"), (str, type(None))):
        yield "its model is not a string"
    counts = arm.get("transferred")
    if counts is not None and not (isinstance(counts, list) and all(map(_is_count, counts))):
        yield "transferred is not a pair of integers"


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_SEED


def _is_count(value: object) -> bool:
    return _is_seed(value) and isinstance(value, int) and value >= 0
