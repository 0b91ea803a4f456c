"""Run all tests that need a GPU, and write hardware, versions and results to one JSON file.

python benchmarks/gpu.py [out=gpu.json] [limit=540] [workers=8] [select=EXPRESSION]

`limit` is the time in seconds after which it stops; results up to then are kept, because the file is written while the
tests run. `workers` is the number of processes that share the GPU, by default half of the cores, one for each 6 GiB
of its memory, and at most eight.
`select` is an expression for names of tests, as of `pytest -k`. The exit status is pytest's.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pytest  # noqa: E402
import torch  # noqa: E402

from yolo_attn.analysis.models import processor_name  # noqa: E402
from yolo_attn.system.files import write_atomically  # noqa: E402

DEFAULTS = {"out": "gpu.json", "limit": "540", "workers": "", "select": ""}
PACKAGES = ("yolo-attn", "ultralytics", "torch", "triton", "numpy", "ray")
MEMORY_OF_A_WORKER = 6 * 2**30
WRITE_SECONDS = 2.0
"""Time between two writes of the file."""


class Recorder:
    """A pytest plugin that writes the results of tests to a file while they run.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.finished = path, False
        self._results: dict[str, dict[str, Any]] = {}
        self._began, self._written = time.time(), 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record one phase of a test: set-up, call or tear-down."""
        result = self._results.setdefault(report.nodeid, {"outcome": "running", "seconds": 0.0})
        result["seconds"] = round(result["seconds"] + report.duration, 3)
        if report.outcome != "passed":
            result |= {"outcome": report.outcome, "reason": _reason(report)}
        elif report.when == "call":
            result["outcome"] = "passed"
        if report.user_properties:
            result["measured"] = dict(report.user_properties)
        if time.time() - self._written >= WRITE_SECONDS:
            self.write()

    def pytest_sessionfinish(self) -> None:
        """Write the last results."""
        self.write()

    def write(self) -> None:
        """Write what is known so far."""
        content = {
            "hardware": hardware(),
            "versions": versions(),
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "finished": self.finished,
            "outcomes": dict(Counter(result["outcome"] for result in self._results.values())),
            "results": self._results,
        }
        write_atomically(self.path, json.dumps(content, indent=1) + "\n")
        self._written = time.time()


def _reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped or failed, in a few lines."""
    found = report.longrepr
    text = str(found[2]) if isinstance(found, tuple) else getattr(found, "reprcrash", None) or found
    return str(getattr(text, "message", text)).strip()[-2000:]


def hardware() -> dict[str, Any]:
    """Return the processors of this machine."""
    gpus = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        memory = round(about.total_memory / 2**30, 1)
        gpus.append({"name": about.name, "memory_gib": memory, "capability": f"{about.major}.{about.minor}"})
    return {"gpus": gpus, "cpu": processor_name(torch.device("cpu")), "cores": os.cpu_count()}


def versions() -> dict[str, Any]:
    """Return the versions of the packages and libraries that the results depend on."""
    found: dict[str, Any] = {"python": platform.python_version(), "platform": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return {**found, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def main(words: list[str]) -> int:
    """Run the tests and return the exit status of pytest."""
    given = dict(word.partition("=")[::2] for word in words)
    if unknown := given.keys() - DEFAULTS.keys():
        raise SystemExit(f"{unknown.pop()}: not a key; use {', '.join(DEFAULTS)}")
    settings = DEFAULTS | given
    workers = settings["workers"] or str(_workers())
    recorder = Recorder(Path(settings["out"]))
    recorder.write()  # a file that cannot be written is an error now
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _stop)
        signal.alarm(int(settings["limit"]))
    processes = ["-n", workers, "--dist", "load"]  # in the order of the files, so the longest tests come last
    arguments = ["-m", "cuda", *processes, "-q", "--tb=short", "-p", "no:cacheprovider", "--durations=20"]
    select = ["-k", settings["select"]] if settings["select"] else []
    status = pytest.main([*arguments, *select, str(ROOT / "tests" / "cuda")], plugins=[recorder])
    recorder.finished = status in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}
    recorder.write()
    print(f"Results saved to {recorder.path}")
    return int(status)


def _workers() -> int:
    """Return the processes that the cores and the memory of the first GPU allow."""
    cores = max(1, (os.cpu_count() or 2) // 2)
    memory = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    return min(8, cores, max(1, memory // MEMORY_OF_A_WORKER))


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
