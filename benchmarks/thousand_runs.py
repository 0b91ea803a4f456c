"""Measure how long the results of a large study take to make from its store.

python benchmarks/thousand_runs.py [RUNS]      1,000 runs by default: arms of 10 seeds, the size of the built-in dataset

The matches are simulated. The first time, every run's bootstrap is computed; afterwards it is read.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.stats.simulated import Images  # noqa: E402
from yolo_attn.study.results import numbers  # noqa: E402
from yolo_attn.study.results.results import ArmRuns, Results, make_results  # noqa: E402
from yolo_attn.study.specification.arms import Arm  # noqa: E402
from yolo_attn.system.files import as_json  # noqa: E402

SEEDS, IMAGES, CLASSES = 10, 160, 10
STUDY = {"data": "simulated", "recipe": {"epochs": 1}, "versions": {}, "seeds": list(range(SEEDS)), "device": "cpu"}


def main() -> None:
    """Measure and print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        arms = simulate(Path(folder), count // SEEDS)
        print(f"{count:,} runs of {len(arms)} arms, {IMAGES} images, {CLASSES} classes\n")
        print("| step | seconds | of processor |\n|---|---:|---:|")
        timed("first time, with every run's bootstrap", lambda: report(Path(folder), arms))
        forget()
        timed("again, in a new process", lambda: report(Path(folder), arms))
        timed("again, in the same process", lambda: report(Path(folder), arms))
        made = make_results(Path(folder), STUDY, arms)
        timed("results.json as text", lambda: as_json(made.data))
        timed("results.json, .csv, .md, .tex", lambda: made.write(pictures=False))
        timed("the page with the plots too", made.write)


def simulate(folder: Path, arms: int) -> list[ArmRuns]:
    """Write a store of runs that found what chance gave them."""
    rng = np.random.default_rng(0)
    images = Images(rng, IMAGES, CLASSES)
    result = []
    for arm in range(arms):
        skill = images.arm(0.3)
        runs: list[dict[str, Any]] = []
        for seed in range(SEEDS):
            path = folder / "runs" / f"arm{arm}-s{seed}"
            path.mkdir(parents=True)
            images.evaluate(skill + rng.normal(0, 0.1)).save(path / "matches.npz")
            runs.append({"seed": seed, "status": "done", "folder": path.relative_to(folder).as_posix(), "seconds": 1.0})
        result.append(ArmRuns(Arm(f"arm{arm}", "variant" if arm else "baseline"), None, runs))
    return result


def report(folder: Path, arms: list[ArmRuns]) -> Results:
    """Make the results of a study."""
    return make_results(folder, STUDY, arms)


def forget() -> None:
    """Forget what a process keeps in memory."""
    numbers.measured.cache_clear()
    numbers.arm_numbers.cache_clear()


def timed(step: str, work: Callable[[], object]) -> None:
    """Print how long a step takes."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    print(f"| {step} | {time.perf_counter() - began:.2f} | {time.process_time() - worked:.2f} |", flush=True)


if __name__ == "__main__":
    main()
