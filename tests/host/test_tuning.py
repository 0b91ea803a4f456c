"""The search space of `tune`, and searches without a result."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ultralytics.engine import tuner

from tests.host.helpers import tiny_dataset
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.host.restricted import restrict, restricted
from yolo_attn.host.tuning import read_space, run_tune


@pytest.mark.parametrize(
    "written",
    [
        "{lr0: [1e-5, 0.01], lr_attention: [1, 20], momentum: [0.7, 0.98, 0.3]}",
        {"lr0": (1e-5, 0.01), "lr_attention": [1, 20], "momentum": (0.7, 0.98, 0.3)},
    ],
)
def test_a_search_space(written: Any) -> None:
    assert read_space(written) == {"lr0": (1e-5, 0.01), "lr_attention": (1, 20), "momentum": (0.7, 0.98, 0.3)}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("lr0", "space=lr0: give the smallest and largest value of each hyperparameter"),
        ("{}", "space={}: give the smallest"),
        ("{lr0: [1", "space=, line 1, column"),
        ("{lr: [0.1, 1]}", "'lr' is not a number that training takes; did you mean lr"),
        ("{model: [0.1, 1]}", "'model' is not a number"),
        ("{lr0: 0.1}", "lr0: 0.1: give its smallest and largest value"),
        ("{lr0: [0.1]}", r"lr0: \[0.1\]: give its"),
        ("{lr0: [1, 0.1]}", r"lr0: \[1, 0.1\]: give its"),
        ("{lr0: [a, b]}", r"lr0: \[a, b\]: give its"),
        ("{lr0: [false, true]}", r"lr0: \[false, true\]: give its"),
        ("{lr0: [0.1, .inf]}", r"lr0: \[0.1, .inf\]: give its"),
        ("{lr0: [.nan, 1]}", r"lr0: \[.nan, 1\]: give its"),
        ("{close_mosaic: [1.2, 1.8]}", r"\[1.2, 1.8\]: close_mosaic is an integer, and there is none between them"),
    ],
)
def test_an_invalid_search_space(written: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_space(written)


def test_the_command_reads_flags_and_the_space(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `yolo train resume` does, `tune resume` continues."""
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("ultralytics.engine.model.Model.tune", lambda self, **given: seen.append(given))
    words = ["tune", "model=yolov8n.yaml+SE@neck.P5", f"data={tiny_dataset(fresh_folder)}", "resume", "iterations=2"]
    assert main([*words, "space={lr_attention: [1, 20]}"]) == 0
    assert seen[0]["resume"] is True
    assert seen[0]["space"] == {"lr_attention": (1, 20)}


def test_a_search_without_a_result_is_an_error(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search, statuses = SimpleNamespace(tune_dir=fresh_folder), []

    def call(self: Any) -> None:
        for status in statuses:
            subprocess.run([sys.executable, "-m", "yolo_attn", "train", f"status={status}"], check=False)
        subprocess.run(["git", "status"], check=False)

    monkeypatch.setattr(tuner.Tuner, "__call__", call)
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: SimpleNamespace(returncode=int(command[-1][-1] != "0"))
    )
    monkeypatch.setattr("ultralytics.engine.model.Model.tune", lambda self, **given: tuner.Tuner.__call__(search))
    with pytest.raises(UserError, match=f"tune: no training succeeded; .* the folder is {fresh_folder}"):
        run_tune(["tune", "model=yolov8n.yaml"])
    (fresh_folder / "best_hyperparameters.yaml").touch()  # of an earlier call
    run_tune(["tune", "model=yolov8n.yaml"])
    statuses[:] = [1, 1]
    with pytest.raises(UserError, match="tune: no training succeeded"):
        run_tune(["tune", "model=yolov8n.yaml"])
    statuses[:] = [1, 0, 1]
    run_tune(["tune", "model=yolov8n.yaml"])


def test_ray_tune_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'use_ray=True needs Ray Tune .*: pip install "ray\[tune\]" optuna'):
        run_tune(["tune", "model=yolov8n.yaml", "use_ray=True"])


def test_processes_of_ray_open_files_as_the_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    ray = SimpleNamespace(
        tune=SimpleNamespace(
            uniform=lambda low, high: f"{low} to {high}", randint=lambda low, high: list(range(low, high))
        ),
        is_initialized=lambda: False,
        init=lambda **given: begun.append(given),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    searched: list[dict[str, Any]] = []
    monkeypatch.setattr("ultralytics.engine.model.Model.tune", lambda self, **given: searched.append(given))
    words = ["tune", "model=yolov8n.yaml", "use_ray=True", "space={lr0: [0.1, 1, 0.5], close_mosaic: [0.5, 3]}"]
    run_tune(words)
    assert not begun  # nothing is restricted here
    with restricted():
        run_tune(words)
    module, _, name = begun[0]["runtime_env"]["worker_process_setup_hook"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is restrict
    assert searched[1] == {"use_ray": True, "space": {"lr0": "0.1 to 1", "close_mosaic": [1, 2, 3]}}
