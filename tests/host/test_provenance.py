"""What a trained variant is and where it comes from: the files of its training, and what trackers receive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

import yolo_attn
from tests.host.helpers import build, set_up, tiny_dataset
from yolo_attn.host import provenance, trackers
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.provenance import ATTENTION_FILE, MODEL_FILE, log_provenance
from yolo_attn.host.transfer import last_transfer
from yolo_attn.layer_files import load_layers
from yolo_attn.registry import unregister_layer

VARIANT = "yolov8n.yaml+SE[reduction=8]@neck.P4+EMA@inside:6"
LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="scales each channel by its mean")
class RecordedGate(Gate):
    def __init__(self, channels, *, act=abs, init="paper"):
        super().__init__(channels, init=init)
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""


class Recorder:
    """Stand-in for every tracker; records the calls of its methods."""

    def __init__(self, folder: Path) -> None:
        self.dir = str(folder)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("run", "config", "Task", "WRITER"):
            return self
        return lambda *args, **kwargs: (self.calls.append((name, args)), self)[1]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(provenance.LOGGER, "warning", lines.append)
    return lines


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Replace every tracker, all of them switched on."""
    (tmp_path / "tracker").mkdir()
    found = Recorder(tmp_path / "tracker")
    monkeypatch.setattr(trackers, "_from_ultralytics", lambda module, name: found)
    monkeypatch.setattr(provenance, "SETTINGS", dict.fromkeys(trackers.TRACKERS, True))
    return found


def training(folder: Path, model: Any = None, resume: str = "") -> SimpleNamespace:
    """Return what `log_provenance` reads of a trainer."""
    return SimpleNamespace(
        model=build(model_yaml(VARIANT)) if model is None else model,
        save_dir=folder,
        args=SimpleNamespace(resume=resume),
    )


def content(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / ATTENTION_FILE).read_text()))


def test_a_stock_training_writes_what_its_model_is(tmp_path: Path, warnings: list[str]) -> None:
    base = build("yolov8n.yaml", seed=3, nc=1)
    torch.save({"model": base, "epoch": -1}, tmp_path / "base.pt")
    trainer = set_up(VARIANT, tiny_dataset(tmp_path), tmp_path, pretrained=str(tmp_path / "base.pt"))
    found = content(trainer.save_dir)
    tensors = len(base.state_dict())
    assert [(layer["row"], layer["layer"], layer["reads"]) for layer in found["layers"]] == [
        (6, "EMA", [5]), (19, "SE", [18]),
    ]  # fmt: skip
    ema, se = found["layers"]
    assert ema["inside"] == "C2f"
    assert se["options"]["reduction"] == 8
    assert se["options"].keys() == yolo_attn.get_layer("SE").options.keys()
    assert se["parameters"] == sum(p.numel() for p in trainer.model.model[19].parameters())
    assert ema["parameters"] == sum(p.numel() for n, p in trainer.model.named_parameters() if ".attention." in n)
    assert found["transfer"].startswith(f"{tensors}/{tensors} base tensors arrived in their own layers, 0/")
    assert found["versions"]["yolo_attn"] == yolo_attn.__version__
    again = YOLO(trainer.save_dir / MODEL_FILE).model
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in trainer.model.state_dict().items()
    }
    assert not warnings


def test_a_stock_model_leaves_its_folder_as_it_is(tmp_path: Path, tracker: Recorder) -> None:
    log_provenance(training(tmp_path, build("yolov8n.yaml")))
    log_provenance(training(tmp_path, torch.nn.Linear(1, 1)))
    assert not list(tmp_path.rglob("*.yaml"))
    assert not tracker.calls


def test_a_resumed_training_keeps_the_files_of_its_beginning(tmp_path: Path, tracker: Recorder) -> None:
    log_provenance(training(tmp_path))
    (tmp_path / ATTENTION_FILE).write_text("layers: []\ngit: of the beginning\n")
    (tmp_path / MODEL_FILE).write_text("# mine\n")
    tracker.calls.clear()
    log_provenance(training(tmp_path, resume="last.pt"))
    assert (tmp_path / ATTENTION_FILE).read_text() == "layers: []\ngit: of the beginning\n"
    assert (tmp_path / MODEL_FILE).read_text() == "# mine\n"
    assert ("set_tags", ({"attention.layers": "[]", "attention.git": "of the beginning"},)) in tracker.calls
    for file in (ATTENTION_FILE, MODEL_FILE):
        (tmp_path / file).unlink()
    log_provenance(training(tmp_path, resume="last.pt"))
    assert len(content(tmp_path)["layers"]) == 2
    log_provenance(training(tmp_path))  # a new training in the same folder
    assert (tmp_path / MODEL_FILE).read_text() != "# mine\n"


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("tensorboard", "add_text"),
        ("mlflow", "log_artifact"),
        ("wandb", "update"),
        ("clearml", "set_configuration_object"),
        ("comet", "log_asset"),
        ("dvc", "log_params"),
    ],
)
def test_only_active_trackers_receive_the_files(
    tmp_path: Path, tracker: Recorder, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    monkeypatch.setattr(provenance, "SETTINGS", {**dict.fromkeys(trackers.TRACKERS, False), name: True})
    log_provenance(training(tmp_path))
    assert [made for made, _ in tracker.calls].count(method) == (1 if name in ("dvc", "wandb") else 2)
    assert len(list((tmp_path / "tracker").iterdir())) == (2 if name == "wandb" else 0)
    others = {"add_text", "log_artifact", "update", "set_configuration_object", "log_asset", "log_params"} - {method}
    assert not others & {made for made, _ in tracker.calls}


def test_a_tracker_that_is_not_installed_or_has_no_run_receives_nothing(tmp_path: Path, warnings: list[str]) -> None:
    """As here, where Ultralytics switches all trackers off under pytest."""
    given = trackers.Provenance((tmp_path / "missing.yaml",), {})
    for give in trackers.TRACKERS.values():
        give(given)


def test_a_failing_tracker_is_one_warning_and_the_others_receive_the_files(
    tmp_path: Path, tracker: Recorder, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: trackers.Provenance) -> None:
        raise RuntimeError("no\nserver")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", fail)
    log_provenance(training(tmp_path))
    assert warnings == ["yolo-attn: tensorboard has not received attention.yaml: RuntimeError: no server"]
    assert {"log_artifact", "log_params"} <= {made for made, _ in tracker.calls}


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path, warnings: list[str]) -> None:
    log_provenance(training(tmp_path / "missing"))
    assert len(warnings) == 1
    assert "attention.yaml was not written: " in warnings[0]


def test_a_model_yaml_that_is_not_written_is_another_warning(
    tmp_path: Path, tracker: Recorder, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(provenance, "dump_model", fail)
    log_provenance(training(tmp_path))
    assert warnings == ["yolo-attn: model.yaml was not written: OSError: no space left"]
    assert [args for made, args in tracker.calls if made == "log_artifact"] == [(str(tmp_path / ATTENTION_FILE),)]


def test_the_transfer_is_forgotten_when_a_file_is_not_written(tmp_path: Path, warnings: list[str]) -> None:
    model = build(model_yaml(VARIANT))
    model.load(build("yolov8n.yaml"))
    assert last_transfer(model) is not None
    log_provenance(training(tmp_path / "missing", model))
    assert len(warnings) == 1
    assert last_transfer(model) is None


def test_a_model_yaml_of_the_user_is_kept(tmp_path: Path, tracker: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a training may be that of the user's files (exist_ok=True)."""
    trainer = training(tmp_path)
    lines: list[str] = []
    monkeypatch.setattr(provenance.LOGGER, "info", lines.append)
    file = tmp_path / MODEL_FILE
    file.write_text("# my own model\n")
    log_provenance(trainer)
    assert file.read_text() == "# my own model\n"
    assert lines == [f"yolo-attn: {file} is kept: yolo-attn has not written it"]
    assert len(content(tmp_path)["layers"]) == 2
    assert [args for made, args in tracker.calls if made == "log_artifact"] == [(str(tmp_path / ATTENTION_FILE),)]
    file.unlink()
    log_provenance(training(tmp_path))
    file.write_text(file.read_text() + "# of an earlier training\n")
    log_provenance(training(tmp_path))
    assert "# of an earlier training" not in file.read_text()


def test_only_the_first_process_of_a_training_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "RANK", 1)
    log_provenance(training(tmp_path))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(provenance, "RANK", 0)
    log_provenance(training(tmp_path))
    assert {file.name for file in tmp_path.iterdir()} == {ATTENTION_FILE, MODEL_FILE}


@pytest.fixture
def custom(fresh_folder: Path) -> Iterator[Path]:
    file = fresh_folder / "recorded_layers.py"
    file.write_text(LAYER)
    load_layers([file])
    yield file
    unregister_layer("RecordedGate")
    sys.modules.pop("recorded_layers", None)


def test_the_code_of_custom_layers_and_options_that_are_no_plain_values(custom: Path, fresh_folder: Path) -> None:
    model = build(model_yaml("yolov8n.yaml+RecordedGate@neck.P4+SE@neck.P3"))
    found = provenance.describe(model)
    assert list(found["custom_layers"]) == ["RecordedGate"]
    assert len(found["custom_layers"]["RecordedGate"]["source"]) >= 64
    log_provenance(training(fresh_folder, model))
    options = [layer["options"] for layer in content(fresh_folder)["layers"] if layer["layer"] == "RecordedGate"]
    assert options == [{"act": "<built-in function abs>", "init": "paper"}]


def test_the_model_is_found_in_its_wrappers(tmp_path: Path) -> None:
    wrapped = torch.nn.Module()
    wrapped.module = torch.nn.Module()
    wrapped.module.student_model = build(model_yaml(VARIANT))
    log_provenance(training(tmp_path, wrapped))
    assert len(content(tmp_path)["layers"]) == 2


def test_every_trainer_describes_its_model_after_the_trackers_have_begun(tmp_path: Path) -> None:
    """Once: a second description has no transfer, and in some releases the trainings of a model share callbacks."""
    overrides = {
        "model": "yolov8n.yaml",
        "data": str(tiny_dataset(tmp_path)),
        "device": "cpu",
        "project": str(tmp_path),
    }
    trainer = DetectionTrainer(overrides=overrides)
    begun = trainer.callbacks["on_pretrain_routine_end"]
    assert begun[-1] is log_provenance
    begun.append(print)
    again = DetectionTrainer(overrides=overrides, _callbacks=trainer.callbacks)
    assert again.callbacks["on_pretrain_routine_end"][-1] is log_provenance
    assert again.callbacks["on_pretrain_routine_end"].count(log_provenance) == 1
