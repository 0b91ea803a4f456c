"""What is around a training; real trainings are in test_real.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.simulation.images import Images
from tests.study.conftest import make_job
from yolo_attn.errors import UserError
from yolo_attn.study.running import training
from yolo_attn.system import patterns


class Started(Exception):
    """The training was started."""


@pytest.mark.parametrize("left", ["a damaged state", "no state"])
def test_output_of_an_attempt_without_a_state_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    class Model:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def add_callback(self, *_: object) -> None:
            pass

        def train(self, **_: object) -> None:
            raise Started

    monkeypatch.setattr(training, "load_yolo", Model)
    monkeypatch.setattr(training, "switch_off_integrations", lambda names: None)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "results.csv").write_text("epoch\n1\n2\n")
    if left == "a damaged state":
        (tmp_path / "state.pt").touch()
    with pytest.raises(Started):
        training.train_and_measure(tmp_path, make_job())
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_a_gpu_is_not_trained_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics falls back silently, and the result would count as one of the GPU."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    job = make_job()
    inputs = replace(job.inputs, platform=replace(job.inputs.platform, device="cuda"))
    with pytest.raises(UserError, match="this run needs a GPU, and PyTorch finds none here"):
        training.train_and_measure(tmp_path, replace(job, inputs=inputs))


def test_a_bootstrap_that_fails_is_left_to_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, matching may take longer than its time limit; the run is finished."""
    lines: list[str] = []
    monkeypatch.setattr(training.LOGGER, "warning", lines.append)
    monkeypatch.setattr(patterns, "SECONDS", 0.3)
    found = Images(np.random.default_rng(0), 30, classes=2).evaluate(np.zeros(30))
    replace(found, images=tuple(f"{image:02}{'a' * 60}!.jpg" for image in range(30))).save(tmp_path / "matches.npz")
    assert training._bootstrap(tmp_path, make_job(groups="(a+)+$")) is None
    assert len(lines) == 1 and "left to the report: groups=(a+)+$: matching takes longer" in lines[0]
    assert training._bootstrap(tmp_path, make_job()) is True
    assert (tmp_path / "draws.npz").is_file()


def test_evaluation_has_the_keys_of_the_recipe_that_change_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NMS-free models, and the masks of segmentation, would be evaluated in another way than in training."""
    settings: list[dict[str, object]] = []

    def evaluate(weights: Path, job: object, given: dict[str, object], name: str) -> None:
        settings.append(given)
        raise Started

    monkeypatch.setattr(training, "_evaluate", evaluate)
    recipe = {"epochs": 1, "nms": False, "mask_ratio": 1, "overlap_mask": False, "max_det": 7, "lr0": 0.1}
    job = make_job()
    with pytest.raises(Started):
        training._evaluate_run(tmp_path, replace(job, inputs=replace(job.inputs, recipe=recipe)), 1.0)
    assert settings[0].items() >= {"nms": False, "mask_ratio": 1, "overlap_mask": False, "max_det": 7}.items()
    assert "lr0" not in settings[0]


def test_the_gpu_is_the_one_of_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the first of the machine, nor one that a training on the CPU has not used."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: f"name of {device}")
    trainer = SimpleNamespace(device=torch.device("cuda", 1), amp=True)
    assert training._environment(4, trainer).items() >= {"threads": 4, "gpu": "name of cuda:1", "amp": True}.items()
    of_several = SimpleNamespace(device=torch.device("cpu"))  # which decides on precision in other processes
    assert training._environment(4, of_several).items() >= {"gpu": None, "amp": None}.items()
    assert training._allocated_cuda(of_several.device) is None
    assert training._peak_memory(None)["cuda_reserved"] is None
