"""The README's first training and prediction, with the commands as printed there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .test_readme import COMMANDS, README

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-c", "import sys; from yolo_attn.cli import main; sys.exit(main())"]
SPREAD = 0.1  # of mAP50 between machines, whose arithmetic differs


def run(verb: str, needs: str) -> str:
    """Run the README's first command with a given verb and word."""
    command = next(c for c in COMMANDS if shlex.split(c)[1] == verb and needs in c)
    newcomer = {**os.environ, "YOLO_CONFIG_DIR": "settings"}  # a new user, whose runs are written to the working folder
    newcomer.pop("PYTEST_CURRENT_TEST", None)  # if it is set, Ultralytics writes runs to its test folder
    words = [*COMMAND, *shlex.split(command)[1:]]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=newcomer)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return re.sub(r"\x1b\[[0-9;]*[mK]", "", done.stdout + done.stderr)


def printed_map50(text: str) -> float:
    """Return mAP50 of all classes in the last such line of a validation's output."""
    return float(re.findall(r"^ +all +\d+ +\d+ +\S+ +\S+ +(\S+)", text, re.MULTILINE)[-1])


def test_the_first_training_learns(fresh_folder: Path) -> None:
    expected = printed_map50(README)
    assert abs(printed_map50(run("train", "recipe=")) - expected) < SPREAD
    assert abs(printed_map50(run("val", "best.pt")) - expected) < SPREAD
    found = [line for line in run("predict", "best.pt").splitlines() if re.match(r"image \d+/160 ", line)]
    assert len(found) == 160
    assert sum("(no detections)" not in line for line in found) > 120
    assert "CBAM.spatial" in run("maps", "best.pt")
