"""What a study's files hold, checked as input: they may be damaged, or come from anybody.

Numbers that are computed from the matches do not pass through here. What a run alone can know (times, memory,
parameters, how it ended) is taken from its files, as far as it has the right form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_attn.errors import UserError
from yolo_attn.study.files import BOOTSTRAP, JOB, MAPS, MATCHES, RESULT, TRAIN, TRAIN_TABLE
from yolo_attn.system.files import read_json

__all__ = ["STATUSES", "check_run_folder", "find_fault", "read_run"]

STATUSES = ("waiting", "running", "done", "failed", "interrupted")
_READ = (RESULT, JOB, MATCHES, BOOTSTRAP, MAPS, TRAIN, TRAIN_TABLE)
_MOST_SEED = 2**63
_LEAST_TIME, _MOST_TIME = 0.0, 4e9  # seconds since 1970


def find_fault(data: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the content of a `results.json`, as far as something is read from it; None if nothing.

    Everything that is shown as text only may hold whatever it likes.
    """
    return next(_faults(data), None)


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    arms = data.get("arms")
    if not isinstance(arms, list) or not arms or not all(isinstance(arm, dict) for arm in arms):
        yield "it has no arms"
        return
    if not isinstance(data.get("recipe", {}), dict) or not isinstance(data.get("versions", {}), dict):
        yield "recipe or versions is no mapping"
    if not isinstance(data.get("image_root"), (str, type(None))):
        yield "image_root is no text"
    names = [arm.get("name") for arm in arms]
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        yield "names of arms are missing or not different"
    kinds = [arm.get("kind") for arm in arms]
    if kinds[0] != "baseline" or not all(kind in ("variant", "control") for kind in kinds[1:]):
        yield "the baseline has to be the first arm, and the only one"
    for arm in arms:
        yield from (f"{arm['name']}: {fault}" for fault in _arm_faults(arm))


def _arm_faults(arm: Mapping[str, Any]) -> Iterator[str]:
    runs = arm.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        yield "it has no runs"
        return
    if not all(_is_seed(run.get("seed")) for run in runs):
        yield "a run has no seed"
    if not all(run.get("status") in STATUSES for run in runs):
        yield "the status of a run is unknown"
    if not all(isinstance(run.get("folder"), (str, type(None))) for run in runs):
        yield "the folder of a run is no text"
    for what in ("seed", "folder"):  # one run that stands for several would make the study look larger
        given = [run.get(what) for run in runs if run.get(what) is not None]
        if len(set(given)) < len(given):
            yield f"two runs have the same {what}"
    if not isinstance(arm.get("model"), (str, type(None))):
        yield "its model is no text"
    counts = arm.get("transferred")
    if counts is not None and not (isinstance(counts, list) and all(map(_is_count, counts))):
        yield "transferred is no pair of numbers"


def check_run_folder(study: Path, name: str) -> None:
    """Check that a run's folder, and every file that is read from it or written into it, lies in the study's folder.

    Args:
        study: The study's folder.
        name: The run's folder as the results name it.

    Raises:
        UserError: It leads out of the study's folder, by its name or by a link.
    """
    folder = study / name
    try:
        root = study.resolve()
        outside = [path for path in (folder, *(folder / file for file in _READ)) if not _is_inside(path, root)]
    except (OSError, ValueError, RuntimeError) as error:  # links in a circle, a name that no file system takes
        raise UserError(f"{study}: a run's folder {name[:60]!r} cannot be read ({type(error).__name__})") from None
    if outside:
        raise UserError(f"{outside[0]}: leads out of the study's folder {study}; nothing outside of it is read")


def _is_inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root)


def read_run(folder: Path, seed: int) -> dict[str, Any]:
    """Return the result of a run, with None for whatever has not the right form.

    Args:
        folder: The run's folder.
        seed: The seed that it has to be of.

    Raises:
        UserError: The result is damaged, or is that of another run.
    """
    path = folder / RESULT
    result = read_json(path)
    if result.get("status") not in ("done", "failed"):
        raise UserError(f"{path}: damaged (its status is neither done nor failed)")
    if result.get("seed", seed) != seed:
        raise UserError(f"{path}: of seed {str(result['seed'])[:20]}, not of seed {seed} as results.json says")
    order = folder / JOB
    if order.is_file() and read_json(order).get("key") != result.get("key"):
        raise UserError(f"{path}: is not the result of the run that {JOB} beside it describes")
    return {key: form(result.get(key)) for key, form in _FORMS.items()}


def _is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MOST_SEED


def _is_count(value: object) -> bool:
    return _count(value) is not None


def _number(value: object) -> float | int | None:
    """Return a finite number of zero or more, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < 1e18 and math.isfinite(value) else None  # noqa: PLR2004 (beyond any time or size)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and _number(value) is not None else None


def _time(value: object) -> float | int | None:
    known = _number(value)
    return known if known is not None and _LEAST_TIME <= known <= _MOST_TIME else None


def _share(value: object) -> float | int | None:
    known = _number(value)
    return known if known is not None and known <= 1 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _each(form: Callable[[object], Any]) -> Callable[[object], dict[str, Any] | None]:
    def read(value: object) -> dict[str, Any] | None:
        return {str(key): form(item) for key, item in value.items()} if isinstance(value, dict) else None

    return read


_FORMS: dict[str, Callable[[object], Any]] = {
    "status": _text,
    "error": _text,
    "epochs": _count,
    "params": _count,
    "gflops": _number,
    "began": _time,
    "wall_seconds": _time,
    "seconds": _number,
    "memory_mib": _each(_number),
    "metrics_best": _each(_share),
    "metrics_ultralytics": _each(_share),
}
