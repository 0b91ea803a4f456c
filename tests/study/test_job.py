"""The files that the processes of a study exchange: jobs, results and the keys of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.study.conftest import PLATFORM, make_job
from yolo_attn.errors import UserError
from yolo_attn.study.job import Inputs, Job, Measurements, RunResult, is_own_result, read_key
from yolo_attn.study.running.key import run_key
from yolo_attn.study.running.run import plan_run
from yolo_attn.study.specification.arms import Arm

ROWS = [[-1, 1, "Conv", [8]], [-1, 1, "SE", []], [-1, 1, "C3k2+CBAM", []]]
MODEL = {"backbone": ROWS, "head": [[[0], 1, "Detect", [1]]]}
RECIPE = {"epochs": 1, "imgsz": 64}


def test_the_keys_of_stored_runs_stay_valid() -> None:
    """Another key for the same inputs would train every stored run again."""
    run = plan_run(Arm("A", "variant", MODEL), 0, data="d", recipe=RECIPE, platform=PLATFORM)
    assert run_key(replace(run.inputs, layers={})) == "b85d0736b27b40c691991248e16a693b9b000bc6409b4451de270d42b10238bd"
    several = replace(run.inputs, layers={}, platform=replace(PLATFORM, device="cuda", devices=2))
    assert run_key(several) == "f867bc811db059044d8d273c1d07dfb6db12bae51dd00ff61ffea19805e33393"


def test_the_order_of_a_recipe_does_not_change_the_key() -> None:
    keys = [run_key(Inputs("d", recipe, PLATFORM, MODEL, None, 0)) for recipe in ({"a": 1, "b": 2}, {"b": 2, "a": 1})]
    assert keys[0] == keys[1]


def test_the_file_of_a_job_keeps_its_format() -> None:
    content = make_job().to_json()
    assert list(content) == ["key", "arm", "seed", "task", "data", "device", "weights", "inputs"]
    assert list(content["inputs"]) == [  # type: ignore[call-overload]
        *("schema", "data", "recipe", "versions", "device", "threads", "model", "weights", "seed"),
    ]
    job = make_job(trust=True, modules=("my_layers",), node="node", weights="a.pt")
    assert {"trust": True, "modules": ["my_layers"], "node": "node"}.items() <= job.to_json().items()


@pytest.mark.parametrize(
    "changes", [{}, {"trust": True, "modules": ("m",), "node": "n", "weights": "w", "device": None}]
)
def test_a_job_is_read_as_it_was_written(tmp_path: Path, changes: dict[str, object]) -> None:
    job = make_job(**changes)
    layers = {"MeanGate": {"source": "abc"}}
    job = replace(job, inputs=replace(job.inputs, platform=replace(PLATFORM, devices=2), layers=layers))
    (tmp_path / "run.json").write_text(job.to_text())
    assert Job.read(tmp_path) == job
    assert read_key(tmp_path) == job.key


@pytest.mark.parametrize("change", [{"seed": None}, {"recipe": []}, {"threads": True}, {"model": "yolo11n"}])
def test_a_damaged_job_is_an_error(tmp_path: Path, change: dict[str, object]) -> None:
    content = json.loads(make_job().to_text())
    content["inputs"].update(change)
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"run\.json: damaged \('{next(iter(change))}' is missing or"):
        Job.read(tmp_path)


def test_the_file_of_a_result_keeps_its_format() -> None:
    done = RunResult("k", 3, "done", measurements=Measurements(seconds=1.0), began=1.0, wall_seconds=2.0)
    ends = ["began", "wall_seconds", "node"]
    assert list(done.to_json()) == [
        *("key", "seed", "status", "error", "seconds", "epochs", "metrics", "metrics_best", "metrics_ultralytics"),
        *(
            "per_class",
            "learnt",
            "images",
            "instances",
            "params",
            "gflops",
            "memory_mib",
            "environment",
            "start",
            "norm_lag",
            *ends,
        ),
    ]
    failed = replace(done, status="failed", error="it broke")
    assert list(failed.to_json()) == ["key", "seed", "status", "error", *ends]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    measured = Measurements(
        seconds=1.5,
        epochs=3,
        metrics={"mAP50": 0.5, "mAP75": None},
        learnt=True,
        params=10,
        memory_mib={"process": 7.0, "cuda": None},
        environment={"python": "3.11"},
        norm_lag=2.5,
    )
    result = RunResult("k", 3, "done", measurements=measured, began=1.0, wall_seconds=2.0, node="n")
    result.write(tmp_path)
    assert RunResult.read(tmp_path) == result


def test_the_seal_of_a_result_covers_the_files_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "matches.npz").write_bytes(b"first")
    RunResult("k", 3, "done", began=1.5).write(tmp_path)
    assert is_own_result(tmp_path)
    for name in ("train.log", "draws.npz"):  # these change later
        (tmp_path / name).write_bytes(b"later")
    assert is_own_result(tmp_path)
    for name in ("matches.npz", "maps.npz"):  # changed, or not of the run
        before = (tmp_path / "matches.npz").read_bytes()
        (tmp_path / name).write_bytes(b"other")
        assert not is_own_result(tmp_path)
        (tmp_path / name).unlink()
        assert is_own_result(tmp_path)  # deleted to save space
        (tmp_path / "matches.npz").write_bytes(before)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    for change in ({"began": 2.5}, {"seal": None}, {"files": {}}, {"later": 1}):
        path.write_text(json.dumps({**content, **change}))
        assert not is_own_result(tmp_path)
    path.write_text(json.dumps(content))
    assert is_own_result(tmp_path)


def test_values_of_a_wrong_form_are_unknown_and_other_keys_are_ignored() -> None:
    read = RunResult.from_json(
        {
            **{"status": "done", "key": 3, "seed": "a", "error": [], "began": -1, "wall_seconds": 1e12, "later": 1},
            **{"seconds": float("nan"), "epochs": 1.5, "metrics": {"mAP50": 2, "mAP75": 0.5}, "per_class": []},
            **{"learnt": 1, "params": True, "gflops": float("inf"), "memory_mib": {"process": "x"}},
            **{"norm_lag": float("nan")},
        }
    )
    unknown = Measurements(metrics={"mAP50": None, "mAP75": 0.5}, memory_mib={"process": None})
    assert read == RunResult(None, None, "done", measurements=unknown)
    with pytest.raises(UserError, match="damaged"):
        RunResult.from_json({"status": "waiting"})
