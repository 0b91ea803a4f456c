"""Real experiment trackers receive what a trained variant is and where it comes from; no server is needed.

Trackers are no dependencies: pip install tensorboard mlflow wandb clearml
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from tests.host.helpers import build, tiny_dataset

pytestmark = pytest.mark.slow

TRAIN = """
import sys
from ultralytics import settings
settings.update({name: name == sys.argv[1] for name in ("tensorboard", "mlflow", "wandb", "clearml", "comet", "dvc")})
from yolo_attn.cli import main
sys.exit(main(sys.argv[2:]))
"""
CI = ("PYTEST_CURRENT_TEST", "GITHUB_ACTIONS")  # with which Ultralytics calls no tracker


def _tensorboard(folder: Path) -> dict[str, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs" / "a")).Reload()
    found = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    return {tag.partition("/")[0]: text.removeprefix("```yaml\n").removesuffix("```") for tag, text in found.items()}


def _mlflow(folder: Path) -> dict[str, str]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = [run for found in client.search_experiments() for run in client.search_runs([found.experiment_id])]
    assert "base tensors arrived" in run.data.tags["attention.transfer"]
    names = ("attention.yaml", "model.yaml")
    files = {name: client.download_artifacts(run.info.run_id, name, str(folder)) for name in names}
    return {name: Path(file).read_text() for name, file in files.items()}


def _wandb(folder: Path) -> dict[str, str]:
    (run,) = folder.glob("runs/a/wandb/offline-run-*")
    assert b"base tensors arrived" in next(run.glob("*.wandb")).read_bytes()  # the settings of the run
    return {file.name: file.read_text() for file in (run / "files").glob("*.yaml")}


def _clearml(folder: Path) -> dict[str, str]:
    (session,) = folder.glob("cache/offline/*.zip")
    with zipfile.ZipFile(session) as archive:
        found = json.loads(archive.read("task.json"))["configuration"]
    return {name: found[name]["value"] for name in ("attention.yaml", "model.yaml")}


@pytest.mark.parametrize("read", [_tensorboard, _mlflow, _wandb, _clearml])
def test_a_tracker_receives_the_files(read: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    name = read.__name__.strip("_")
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    torch.save({"model": build("yolov8n.yaml", nc=1), "epoch": -1}, tmp_path / "base.pt")
    words = ["train", "model=yolov8n.yaml+SE@neck.P5", f"pretrained={tmp_path / 'base.pt'}", "name=a"]
    words += [f"data={tiny_dataset(tmp_path)}", "epochs=1", "imgsz=32", "batch=2", "device=cpu", "workers=0"]
    env = {key: value for key, value in os.environ.items() if key not in CI}
    env |= {"YOLO_CONFIG_DIR": str(tmp_path), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    env |= {"WANDB_MODE": "offline", "CLEARML_OFFLINE_MODE": "1", "CLEARML_CACHE_DIR": str(tmp_path / "cache")}
    words += ["plots=False", "val=False", f"project={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, name, *words], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    # Ultralytics' own callback fails at the end of an offline session of ClearML.
    assert done.returncode == 0 or name == "clearml", output[-3000:]
    assert "has not received" not in output
    found = read(tmp_path)
    for file in ("attention.yaml", "model.yaml"):
        assert yaml.safe_load(found[file]) == yaml.safe_load((tmp_path / "runs" / "a" / file).read_text())
