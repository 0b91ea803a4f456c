"""benchmarks/gpu.py writes what it knows about every test, while the tests run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu

TESTS = """
import json, os, pathlib, pytest, time

def test_passes(record_property):
    record_property("difference", 0.25)

def test_fails():
    assert 1 == 2, "no"

def test_is_skipped():
    pytest.skip("requires two GPUs")

def test_sees_the_results_so_far():
    stored = json.loads(pathlib.Path("gpu.json").read_text())
    assert stored["outcomes"] == {"passed": 1, "failed": 1, "skipped": 1, "running": 1} and not stored["finished"]
"""
RUN = """
import sys, pytest
from pathlib import Path
from benchmarks import gpu
gpu.WRITE_SECONDS = 0
recorder = gpu.Recorder(Path("gpu.json"))
pytest.main(["-q", "-n", "0", "-p", "no:cacheprovider", "test_some.py"], plugins=[recorder])
"""
ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_results_are_written_while_the_tests_run(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}){RUN}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    stored = json.loads((tmp_path / "gpu.json").read_text())
    results = {name.partition("::")[2]: result for name, result in stored["results"].items()}
    assert results["test_passes"]["measured"] == {"difference": 0.25}
    assert results["test_fails"]["outcome"] == "failed" and "no" in results["test_fails"]["reason"]
    assert results["test_is_skipped"]["outcome"] == "skipped"
    assert results["test_is_skipped"]["reason"].endswith("requires two GPUs")
    assert results["test_sees_the_results_so_far"]["outcome"] == "passed", done.stdout
    assert stored["versions"]["torch"] and stored["hardware"]["cores"]


def test_an_unknown_key_is_an_error(fresh_folder: Path) -> None:
    with pytest.raises(SystemExit, match="ouput: not a key; use out, limit, workers, select"):
        gpu.main(["ouput=x.json"])
    assert not any(fresh_folder.iterdir())
