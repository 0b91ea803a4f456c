"""The real worker with a fake training, whose behavior is the name of its arm.

The training of a base behaves like the base after the word "base": that of `basefail.x` fails, its arms do not.

As a script it imports the package without its `__init__`, which would import torch: a child starts in half a second. A
test forks it instead (`forked.py`), because the imports are most of a fake run.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import sys
import time
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    spec = importlib.util.find_spec("yolo_attn")
    assert spec and spec.submodule_search_locations
    package = types.ModuleType("yolo_attn")
    package.__path__ = [*spec.submodule_search_locations]
    sys.modules["yolo_attn"] = package

import numpy as np

from yolo_attn.security import seal
from yolo_attn.stats.matches import MatchesBuilder
from yolo_attn.study.job import Job, Measurements
from yolo_attn.study.running import worker

PRETRAINING = " pretraining"


def note(event: str, job: Job) -> None:
    line = f"{event} {job.arm.replace(' ', '-')} {job.seed} {os.getpid()}\n".encode()
    handle = os.open(os.environ["FAKE_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(handle, line)
    os.close(handle)


def wait_for_another() -> None:
    """Wait until two runs are running, or have been, at the same time."""
    met = Path(os.environ["FAKE_JOURNAL"] + ".met")
    ends = time.monotonic() + 60
    while not met.exists() and time.monotonic() < ends:
        events = [line.split()[0] for line in Path(os.environ["FAKE_JOURNAL"]).read_text().splitlines()]
        if events.count("start") - events.count("finish") > 1:
            met.touch()
        time.sleep(0.02)


def hits_of(arm: str, seed: int) -> int:
    """Return how many of every twenty objects an arm detects: B more than others, crippled fewer, hits16 16.

    The arm "unsure" is better than others with half of the seeds and worse with the other half.
    """
    behavior = arm.partition(".")[0]
    if behavior.startswith("hits"):
        return int(behavior.removeprefix("hits"))
    return {"B": 14, "crippled": 2, "unsure": 13 if seed % 2 else 5}.get(behavior, 9)


def found(arm: str, seed: int) -> Any:
    """Return the matches of forty images with one object each."""
    builder = MatchesBuilder(["one", "two"])
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    for image in range(40):
        hit = (image * 7 + seed) % 20 < hits_of(arm, seed)
        builder.add_image(
            f"{image}.png",
            gt_class=[0],
            gt_area=[100.0],
            gt_box=box,
            det_class=[0],
            det_score=[0.5 + image / 100],
            det_area=[100.0],
            det_box=box,
            similarity=[[1.0 if hit else 0.1]],
        )
    return builder.build()


def perform(folder: Path, job: Job) -> Measurements:
    note("start", job)
    assert not (folder / "train").exists(), "the remains of an earlier attempt were not removed"
    (folder / "train").mkdir()
    (folder / "train" / "results.csv").write_text("epoch,loss\n1,0.5\n")
    (folder / "train" / "weights").mkdir()
    (folder / "train" / "weights" / "last.pt").write_text(job.key)
    print("training", job.arm, os.environ["OMP_NUM_THREADS"])
    again = (folder / "again").exists()
    (folder / "again").touch()
    behavior = job.arm.partition(".")[0]
    if job.arm.endswith(PRETRAINING):
        behavior = behavior.removeprefix("base")
    if job.weights:
        assert Path(job.weights).read_text() == job.inputs.weights, "the weights are not those of the base"
    if behavior == "fail" or (behavior == "failonce" and not again) or behavior == f"fail{job.seed}":
        raise ValueError("it broke\nin two lines")
    if behavior == "colors":
        raise ValueError("\x1b[31m\x1b[1mtrain: \x1b[0mit broke")
    if behavior == "killed" and not again:
        os.kill(os.getpid(), signal.SIGKILL)
    if behavior == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if behavior == "exits" and not again:
        os.write(1, b"\x1b[34m\x1b[1mSegmentation\x1b[0m of something\n\x1b[0m\n")
        os._exit(3)
    if behavior == "full" and not again:
        raise RuntimeError("cannot save") from OSError(errno.ENOSPC, "No space left on device")
    if behavior == "hang":
        time.sleep(60)
    if behavior == "sleepy":
        time.sleep(1.0)
    if behavior == "slow":
        time.sleep(0.1)
    if behavior == "meets":
        wait_for_another()
    note("finish", job)
    value = 0.4 + 0.01 * job.seed + (0.05 if job.arm == "B" else 0.0)
    metrics = dict.fromkeys(("mAP50-95", "mAP50", "mAP75"), value)
    found(job.arm, job.seed).save(folder / "matches.npz")
    return Measurements(
        seconds=1.0,
        epochs=3,
        metrics=metrics,
        metrics_best=metrics,
        per_class={"one": value, "two": float("nan")},
        params=1000,
        gflops=1.5,
        memory_mib={"process": 1.0, "cuda": None},
        norm_lag=50.0 if "lags" in job.arm else 0.3,
    )


def main(arguments: Sequence[str]) -> int:
    """Execute the run of a folder, as `worker.main` does, and return the exit status."""
    os.fsync = lambda handle: None  # type: ignore[assignment] # a fake study does not have to survive a power failure
    # The folder of the user's settings, which Ultralytics knows, whose import would import torch.
    seal._key = lambda: seal._key_in(Path(os.environ["FAKE_SETTINGS"]), os.getpid())
    return worker.main(arguments, perform)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
