"""The benchmark of whole models: its command line, its table, tiny measurements and the accounts of a study."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import end_to_end
from benchmarks.end_to_end import main
from yolo_attn.study.job import Job
from yolo_attn.study.running.local import LocalRunner


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("parts=bild", "parts=bild: use import, build, transfer, place, train, predict, load, study"),
        ("round=3", "round"),
        ("rounds=many", "rounds=many"),
        ("device=gpu", "device=gpu: use cpu, or the number of a GPU"),
    ],
)
def test_wrong_words_are_one_line(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert (printed.out, printed.err.count("\n")) == ("", 1)


def test_a_line_has_the_median_and_the_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def part(device: torch.device, **options: int) -> Any:
        asked.append((device, options))
        yield "one", [1.0, 3.0, 2.0], "a note"

    monkeypatch.setitem(end_to_end.PARTS, "build", part)
    assert main(["parts=build", "rounds=7"]) == 0
    assert asked == [(torch.device("cpu"), {"imgsz": 320, "batch": 4, "rounds": 7, "epochs": 5})]
    assert capsys.readouterr().out.splitlines()[2:] == ["| one | 2.000 | 1.200 to 2.800 | a note |"]


@pytest.mark.slow
def test_tiny_measurements(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(end_to_end, "VARIANTS", ("yolo11n.yaml+SE@neck",))
    monkeypatch.setattr(end_to_end, "LOADERS", 2)
    assert main(["parts=build,train,predict,load", "imgsz=64", "batch=1", "rounds=1", "epochs=1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [line.strip("| ").split(" | ") for line in lines[2:]]
    names = [f"{part} yolo11n.yaml+SE@neck" for part in ("build", "train", "predict")]
    assert [row[0] for row in rows] == [*names, "load 2 processes, beside Ultralytics' loader"]
    assert all(float(row[1]) > 0 for row in rows)


def test_a_study_is_what_its_commands_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each run's commands take 10 and 2 seconds here, the study's run 11, and everything else 1."""
    clock, commands = [0.0], []
    recipe = {"epochs": 5, "imgsz": 64, "split": "test"}
    job = SimpleNamespace(data="d.yaml", device="cpu", seed=3, inputs=SimpleNamespace(recipe=recipe))

    def command(words: list[str], **_: object) -> None:
        commands.append(words[-1])
        clock[0] += 10 if "'yolo train " in words[-1] else 2

    def start(self: LocalRunner, folder: Path, threads: int) -> None:
        clock[0] += 11

    def compare(arguments: dict[str, Any], runner: LocalRunner, stream: object) -> None:
        assert arguments["seeds"] == 5 and arguments["workers"] == 1
        for _ in range(10):
            runner.start(tmp_path, 1)
        clock[0] += 1

    monkeypatch.setattr(end_to_end, "_processor_seconds", lambda: clock[0])
    monkeypatch.setattr(end_to_end, "resolve_data", lambda name: name)
    monkeypatch.setattr(end_to_end, "compare", compare)
    monkeypatch.setattr(Job, "read", lambda folder: job)
    monkeypatch.setattr(LocalRunner, "start", start)
    monkeypatch.setattr(subprocess, "run", command)
    (_, alone, note), (_, both, _) = end_to_end.studies(torch.device("cpu"), epochs=5)
    assert alone == [pytest.approx(111 / 100)]
    assert both == [pytest.approx(111 / 120)]
    assert note == "111 s; 100 s of trainings, 20 s of validations"
    train, val = commands[:2]
    assert "epochs=5" in train and "seed=3" in train and f"model={tmp_path / 'model.yaml'}" in train
    assert "split=test" in val and "last.pt" in val and "epochs" not in val
