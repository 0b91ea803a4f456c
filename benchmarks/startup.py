"""Benchmark of what `yolo-attn enable-yolo` adds to the start of Python and to programs that use Ultralytics.

python benchmarks/startup.py [REPETITIONS]      300 by default

A new virtual environment, which reads the packages of this one, is measured with and without the start-up file in turn.
Times of programs are processor times, which depend less on what else the machine does; the time of `import site` is
what Python reports.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ultralytics

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from yolo_attn.host.import_hook import NAME  # noqa: E402
from yolo_attn.host.startup_file import startup_text  # noqa: E402

SITE = re.compile(r"\| +(\d+) \| site$", re.MULTILINE)


def main() -> None:
    """Measure and print a table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    print("| step | without (ms) | with (ms) | difference: median [quartiles] |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, symlinks=os.name != "nt")
        python = Path(folder) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        (packages,) = Path(folder).rglob("site-packages")
        (packages / "packages.pth").write_text(f"{ROOT}\n{Path(ultralytics.__file__).parents[1]}\n")
        file = packages / NAME

        def compare(step: str, measure: Callable[[str], float], count: int) -> None:
            times: dict[bool, list[float]] = {False: [], True: []}
            for number in range(2 * count):
                on = number % 4 in (1, 2)  # off, on, on, off: a drift affects both
                file.write_text(startup_text()) if on else file.unlink(missing_ok=True)
                times[on].append(measure(str(python)))
            without, with_file = map(np.array, times.values())
            low, middle, high = np.quantile(with_file - without, (0.25, 0.5, 0.75))
            print(
                f"| {step} | {np.median(without):.2f} | {np.median(with_file):.2f} "
                f"| {middle:+.2f} [{low:+.2f}, {high:+.2f}] |"
            )

        compare("`python -c pass`", lambda python: seconds(python, "pass") * 1e3, repetitions)
        compare("`import site` in it (`-X importtime`)", site_time, repetitions)
        for code in ("import ultralytics", "from ultralytics import YOLO; YOLO('yolo11n.yaml')"):
            compare(f"`{code}`", lambda python, code=code: seconds(python, code) * 1e3, max(1, repetitions // 30))


def run(python: str, *words: str) -> str:
    """Run Python without the variables of this process that change its imports; return its warnings."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run([python, *words], capture_output=True, text=True, env=clean, check=True).stderr


def seconds(python: str, code: str) -> float:
    """Return the processor time of a process that runs code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(python, "-c", code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def site_time(python: str) -> float:
    """Return the milliseconds of importing `site`, which runs the start-up file, as Python reports them."""
    (microseconds,) = SITE.findall(run(python, "-X", "importtime", "-c", "pass"))
    return int(microseconds) / 1e3


if __name__ == "__main__":
    main()
