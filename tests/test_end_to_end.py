"""From a YAML row to a trained model, in fresh processes and with the stock `yolo` command."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ultralytics.engine import tuner

from tests.host.helpers import exports_onnx
from yolo_attn.data.digits import make_digits

pytestmark = pytest.mark.slow

STOCK = [sys.executable, "-c", "import sys; sys.argv[0] = 'yolo'; from ultralytics.cfg import entrypoint; entrypoint()"]
YOLO_ATTN = [sys.executable, "-c", "import sys; from yolo_attn.cli import main; sys.exit(main())"]
SMALL = ["imgsz=64", "batch=8", "workers=0", "device=cpu", "plots=False"]


def run(command: list[str], *words: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_digits(tmp_path_factory.mktemp("data"), counts={"train": 24, "val": 8, "test": 8})


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with an attention layer, trained by `yolo-attn`."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["train", "model=yolo11n-cbam.yaml", f"data={data}", "epochs=2", "lr_attention=5", *SMALL]
    out = run(YOLO_ATTN, *words, f"project={folder}", "name=first", cwd=folder)
    assert "yolo_attn.layers.hybrid.cbam.CBAM" in out
    assert re.search(r"lr_attention=5: \d+ tensors of attention layers are trained with 5 times", out)
    return folder / "first"


def test_training_leaves_the_stock_files(trained: Path) -> None:
    assert (trained / "results.csv").exists()
    assert (trained / "weights" / "best.pt").exists()


@pytest.mark.parametrize("words", [["predict"], ["val"], ["export", "format=torchscript"], ["train", "epochs=1"]])
def test_the_stock_command_works_on_the_checkpoint(trained: Path, data: Path, words: list[str], tmp_path: Path) -> None:
    """It does not import yolo_attn by name; loading the checkpoint does."""
    best = trained / "weights" / "best.pt"
    more = {
        "predict": [f"source={data.parent / 'images' / 'val'}", "imgsz=64"],
        "val": [f"data={data}", *SMALL],
        "export": ["imgsz=64"],
        "train": [f"data={data}", *SMALL],
    }[words[0]]
    where = [] if words[0] == "export" else [f"project={tmp_path}"]
    run(STOCK, *words, f"model={best}", *more, *where, cwd=tmp_path)


def test_the_stock_command_finds_the_built_in_dataset(trained: Path, tmp_path: Path) -> None:
    """Loading the checkpoint imports yolo_attn before the name of the dataset is read."""
    best = trained / "weights" / "best.pt"
    out = run(STOCK, "val", f"model={best}", "data=digits", *SMALL, f"project={tmp_path}", cwd=tmp_path)
    assert re.search(r"^ +all +160 ", out, re.MULTILINE)


def test_both_commands_measure_the_same(trained: Path, data: Path, tmp_path: Path) -> None:
    words = ["val", f"model={trained / 'weights' / 'best.pt'}", f"data={data}", *SMALL, f"project={tmp_path}"]
    lines = [
        next(line.split() for line in run(command, *words, cwd=tmp_path).splitlines() if line.split()[:1] == ["all"])
        for command in (STOCK, YOLO_ATTN)
    ]
    assert lines[0] == lines[1]


def test_restricted_loading(trained: Path, data: Path, tmp_path: Path) -> None:
    source = f"source={data.parent / 'images' / 'val'}"
    model = f"model={trained / 'weights' / 'best.pt'}"
    run(YOLO_ATTN, "predict", model, source, "imgsz=64", f"project={tmp_path}", cwd=tmp_path, ULTRALYTICS_SAFE_LOAD="1")


def test_tune(data: Path, tmp_path: Path) -> None:
    words = ["tune", "model=yolo11n.yaml+SE@neck", f"data={data}", "epochs=1", *SMALL, f"project={tmp_path}"]
    words += ["name=search", "space={lr0: [1e-4, 1e-2], lr_attention: [1, 20]}", "val=False"]
    run(YOLO_ATTN, *words, "iterations=1", cwd=tmp_path)
    best = next(tmp_path.rglob("best_hyperparameters.yaml"))
    assert yaml.safe_load(best.read_text()).keys() == {"lr0", "lr_attention"}
    if "Resuming" not in inspect.getsource(tuner):
        return  # early releases continue no search
    out = run(YOLO_ATTN, *words, "iterations=2", "resume", cwd=tmp_path)
    assert best == next(tmp_path.rglob("best_hyperparameters.yaml"))
    assert "2/2 iterations complete" in out


def test_tune_in_python(data: Path, tmp_path: Path) -> None:
    """The processes of the candidates accept the names and arguments of this package."""
    code = """
import sys, yolo_attn
from ultralytics import YOLO
small = dict(imgsz=64, batch=8, workers=0, device="cpu", plots=False, val=False, project=sys.argv[2], epochs=1)
model = YOLO("yolo11n-cbam.yaml")
model.tune(data=sys.argv[1], iterations=1, lr_attention=5, name="search", **small)
"""
    out = run([sys.executable, "-c", code], str(data), str(tmp_path), cwd=tmp_path)
    assert re.search(r"lr_attention=5: \d+ tensors of attention layers are trained with 5 times", out)
    assert "1/1 iterations complete" in out
    assert "all failed" not in out
    assert list(tmp_path.rglob("best_hyperparameters.yaml"))


def test_benchmark(trained: Path, data: Path, tmp_path: Path) -> None:
    words = ["benchmark", f"model={trained / 'weights' / 'best.pt'}", f"data={data}", "imgsz=64", "format=torchscript"]
    out = run(YOLO_ATTN, *words, "device=cpu", cwd=tmp_path)
    assert "TorchScript" in out


@pytest.mark.skipif(not exports_onnx(), reason="this Ultralytics predates the ONNX exporter of this PyTorch")
def test_onnx_export(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    run(
        YOLO_ATTN,
        "export",
        f"model={trained / 'weights' / 'last.pt'}",
        "format=onnx",
        "imgsz=64",
        "dynamic=True",
        cwd=tmp_path,
    )
    assert (trained / "weights" / "last.onnx").exists()


def test_the_stock_command_resumes_a_killed_training(data: Path, tmp_path: Path) -> None:
    words = ["train", "model=yolo11n-se.yaml", f"data={data}", "epochs=60", "lr_attention=5", *SMALL]
    words += [f"project={tmp_path}", "name=cut"]
    process = subprocess.Popen([*YOLO_ATTN, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    results, last = tmp_path / "cut" / "results.csv", tmp_path / "cut" / "weights" / "last.pt"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        last.exists() and results.exists() and len(results.read_text().splitlines()) > 2
    ):
        assert process.poll() is None, "the training ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(results.read_text().splitlines()) - 1
    assert 2 <= done < 60
    # The time budget, which a resumed training respects, ends the remaining epochs soon.
    process = subprocess.Popen(
        [*STOCK, "train", "resume", f"model={last}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )
    while time.monotonic() < deadline and len(results.read_text().splitlines()) - 1 < done + 2:
        assert process.poll() is None, process.stdout.read()[-3000:] if process.stdout else ""
        time.sleep(0.05)
    process.kill()
    assert len(results.read_text().splitlines()) - 1 >= done + 2
