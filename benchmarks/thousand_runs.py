"""Benchmark of building and writing the results of a large study.

python benchmarks/thousand_runs.py [RUNS] [SEEDS]   1,000 runs of arms with 10 seeds by default, on 160 images

The matches are simulated. The first pass computes the bootstrap of every run; later passes read it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from simulation.images import Images

from yolo_attn.study.comparison import Results
from yolo_attn.study.job import Measurements, RunResult, RunState
from yolo_attn.study.results import estimates
from yolo_attn.study.results.build import ArmRuns, make_results
from yolo_attn.study.results.records import StudyInfo
from yolo_attn.system.files import as_json

IMAGES, CLASSES = 160, 10
INFO = StudyInfo(data="simulated", recipe={"epochs": 1}, device="cpu")


def main() -> None:
    """Measure and print a table."""
    given = [int(word) for word in sys.argv[1:]]
    count, seeds = [*given, *(1000, 10)[len(given) :]]
    with tempfile.TemporaryDirectory() as folder:
        arms = simulate(Path(folder), count // seeds, seeds)
        print(f"{count:,} runs of {len(arms)} arms, {IMAGES} images, {CLASSES} classes\n")
        print("| step | seconds | CPU seconds |\n|---|---:|---:|")
        timed("first pass, with the bootstrap of every run", lambda: build(Path(folder), arms))
        estimates.forget()
        timed("second pass, in a new process", lambda: build(Path(folder), arms))
        timed("third pass, in the same process", lambda: build(Path(folder), arms))
        results = build(Path(folder), arms)
        timed("results.json as text", lambda: as_json(results.to_dict()))
        timed("results.json, .csv, .md, .tex", lambda: results.write(html=False))
        timed("all files including the page", results.write)


def simulate(folder: Path, arms: int, seeds: int) -> list[ArmRuns]:
    """Write the matches of simulated runs."""
    rng = np.random.default_rng(0)
    images = Images(rng, IMAGES, CLASSES)
    result = []
    for arm in range(arms):
        skill = images.arm(0.3)
        runs = []
        for seed in range(seeds):
            path = folder / "runs" / f"arm{arm}-s{seed}"
            path.mkdir(parents=True)
            images.evaluate(skill + rng.normal(0, 0.1)).save(path / "matches.npz")
            outcome = RunResult(None, seed, "done", measurements=Measurements(seconds=1.0))
            runs.append(RunState(seed, "done", path.relative_to(folder).as_posix(), result=outcome))
        result.append(ArmRuns(f"arm{arm}", "variant" if arm else "baseline", None, runs))
    return result


def build(folder: Path, arms: list[ArmRuns]) -> Results:
    """Build the results of a study."""
    return Results(folder, make_results(folder, replace(INFO, seeds=range(len(arms[0].runs))), arms))


def timed(step: str, work: Callable[[], object]) -> None:
    """Print the time of a step."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    print(f"| {step} | {time.perf_counter() - began:.2f} | {time.process_time() - worked:.2f} |", flush=True)


if __name__ == "__main__":
    main()
