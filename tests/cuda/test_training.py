"""Variants with every layer trained on a GPU: mixed precision, EMA, compiled; the train command on one and two GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.utils import DEFAULT_CFG
from ultralytics.utils.torch_utils import ModelEMA

from tests.host.helpers import build
from tests.host.test_every_layer import GROUPS, _batch, model_with
from yolo_attn.analysis.latency import measure_latency
from yolo_attn.registry import LayerSpec

pytestmark = pytest.mark.cuda

STEPS = 2


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("specs", GROUPS, ids=lambda specs: "-".join(s.name for s in specs))
def test_training_steps(
    specs: list[LayerSpec], compiled: bool, device: torch.device, record_property: Callable[[str, Any], None]
) -> None:
    """Two steps of a YOLOv8 with several layers, as in Ultralytics' trainer with amp=True and compile=True."""
    torch.compiler.reset()
    model = build(model_with(specs), nc=10).to(device).train()
    model.args = SimpleNamespace(**{**vars(DEFAULT_CFG), "box": 7.5, "cls": 0.5, "dfl": 1.5})
    attention = [module for module in model.modules() if type(module) in [spec.cls for spec in specs]]
    assert {type(module) for module in attention} == {spec.cls for spec in specs}
    ema, criterion = ModelEMA(model), model.init_criterion()
    step_model = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
    torch.cuda.reset_peak_memory_stats(device)
    for step in range(STEPS):
        batch = {key: value.to(device) for key, value in _batch(step).items()}
        with torch.autocast("cuda", torch.float16):
            loss, _ = criterion(step_model(batch["img"]), batch)  # Ultralytics computes the loss outside as well
        optimizer.zero_grad()
        scaler.scale(loss.sum()).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        ema.update(model)
    record_property("peak_mib", torch.cuda.max_memory_allocated(device) / 2**20)
    assert scaler.get_scale() == 256.0, "a step was skipped because of a gradient that is not finite"
    assert all(parameter.grad is not None for module in attention for parameter in module.parameters())
    for name, parameter in [*model.named_parameters(), *ema.ema.named_parameters()]:
        assert parameter.isfinite().all(), name
    with torch.no_grad():
        assert ema.ema.eval()(batch["img"])[0].isfinite().all()


def test_latency(device: torch.device, record_property: Callable[[str, Any], None]) -> None:
    models = {name: build(f"{name}.yaml") for name in ("yolo11n", "yolo11n-cbam")}
    found = measure_latency(models, (3, 320, 320), rounds=20, device=device)
    for name, figures in found.items():
        assert 0 < figures["p10"] <= figures["median"] <= figures["p90"] < 1000
        assert figures["device"] == "cuda:0"
        record_property(name, {key: figures[key] for key in ("median", "p10", "p90")})


@pytest.mark.parametrize("arguments", ["device=0", "device=0 compile=True", "device=0,1"])
def test_command_train(arguments: str, tmp_path: Path) -> None:
    if "0,1" in arguments and torch.cuda.device_count() < 2:
        pytest.skip("requires two GPUs")
    words = "model=yolo11n.yaml+CBAM@neck data=digits epochs=1 fraction=0.05 imgsz=64 batch=4 amp=True plots=False"
    log = run("train", *words.split(), *arguments.split(), f"project={tmp_path}", "name=t", folder=tmp_path)
    checkpoint = tmp_path / "t" / "weights" / "last.pt"
    assert checkpoint.is_file(), log
    log = run("val", f"model={checkpoint}", "data=digits", "imgsz=64", "device=0", "plots=False", folder=tmp_path)
    assert "mAP50" in log


def run(*words: str, folder: Path, seconds: float = 220, **environment: str) -> str:
    """Run a command, which must succeed, and return its output."""
    done = subprocess.run(
        [sys.executable, "-m", "yolo_attn", *words],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
