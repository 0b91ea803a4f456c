"""Third-party model YAMLs run no code in any command."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.host.helpers import build, python, tiny_dataset
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.parser import check_safe

HERE = "ran-code"  # the file that every attack writes


class Payload:
    """Object that writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (f"open({HERE!r}, 'w').close()",)


def with_key(key: str, value: Any) -> dict[str, Any]:
    return {**model_yaml("yolo11n.yaml"), key: value}


def with_module(module: Any, args: list[Any]) -> dict[str, Any]:
    document = copy.deepcopy(model_yaml("yolo11n.yaml"))
    document["backbone"][5] = [-1, 1, module, args]
    return document


CODE = f"open({HERE!r}, 'w').close()"
ATTACKS: dict[str, tuple[dict[str, Any], str]] = {
    "an argument": (with_key("activation", f"nn.SiLU({CODE})"), "activation: "),
    "a call instead": (with_key("activation", CODE), "activation: "),
    "a call after it": (with_key("activation", f"nn.SiLU() if {CODE} else None"), "activation: "),
    "a tuple": (with_key("activation", f"(nn.SiLU(), {CODE})[0]"), "activation: "),
    "a keyword": (with_key("activation", f"nn.SiLU(inplace={CODE})"), "activation: "),
    "unpacked": (with_key("activation", f"nn.SiLU(**{{'inplace': {CODE}}})"), "activation: "),
    "a subscript": (with_key("activation", f"nn.__dict__['SiLU']({CODE})"), "activation: "),
    "bytes": (with_key("activation", CODE.encode()), "activation: "),
    "a path through a module": (with_key("activation", "nn.modules.os.system('touch ran-code')"), "activation: "),
    "another module": (with_key("activation", "torch.load('evil.pt', weights_only=False)"), "activation: "),
    "a row that unpickles": (with_module("torch_safe_load", ["evil.pt"]), "row 5: 'torch_safe_load' is not a layer"),
    "a row that loads": (with_module("torch_load", ["evil.pt"]), "row 5: "),
    "a row that opens a checkpoint": (with_module("load_checkpoint", ["evil.pt"]), "row 5: "),
    "a row that installs": (with_module("check_requirements", ["no-such-package"]), "row 5: 'check_requirements' is"),
    "a row that is a model": (with_module("DetectionModel", ["evil.yaml"]), "row 5: 'DetectionModel' is not a layer"),
    "a function of torch's": (with_module("nn.factory_kwargs", [{}]), "row 5: 'nn.factory_kwargs' is not a layer"),
    "an operator": (with_module("torchvision.ops.nms", [1, 2, 3]), "row 5: 'torchvision.ops.nms' is not a layer"),
    "a module in a mapping": (with_module({"nn.": 1}, []), "row 5: "),
    "a text model": (with_key("text_model", "clip:evil.pt"), "text_model: "),
}  # fmt: skip


@pytest.fixture
def folder(fresh_folder: Path) -> Path:
    """A working folder with the files that the attacks open."""
    with Path("evil.pt").open("wb") as stream:
        pickle.dump(Payload(), stream)
    Path("evil.yaml").write_text(yaml.safe_dump(with_key("activation", CODE)))
    np.save("image.npy", np.zeros((4, 4)))
    return fresh_folder


def refused(words: list[str], expected: str, capsys: pytest.CaptureFixture[str], status: int = 2) -> None:
    """Run a command, which must fail with one line and run no code."""
    capsys.readouterr()
    assert main(words) == status, words
    captured = capsys.readouterr()
    output = captured.out if status == 1 else captured.err
    lines = [line for line in output.splitlines() if expected in line]
    assert len(lines) == 1, (words, captured)
    assert "Traceback" not in captured.err
    assert not Path(HERE).exists(), words


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_command_runs_what_a_model_yaml_says(attack: str, folder: Path, capsys) -> None:
    document, expected = ATTACKS[attack]
    Path("mine.yaml").write_text(yaml.safe_dump(document))
    refused(["lint", "model=mine.yaml"], expected, capsys, status=1)
    refused(["place", "model=mine.yaml", "layer=SE", "at=neck"], expected, capsys)
    refused(["profile", "model=mine.yaml", "imgsz=32"], expected, capsys)
    refused(["maps", "model=mine.yaml", "source=nowhere"], expected, capsys)
    refused(["export", "model=mine.yaml", "imgsz=32"], expected, capsys)
    refused(["predict", "model=mine.yaml", "source=nowhere"], expected, capsys)
    refused(["train", "model=mine.yaml+SE@neck", "data=nowhere"], expected, capsys)
    refused(["compare", "base=mine.yaml", "variants=SE@neck", "project=runs"], expected, capsys)
    with pytest.raises((UserError, ValueError, TypeError)):
        YOLO("mine.yaml", task="detect")
    with pytest.raises((UserError, ValueError, TypeError)):
        YOLO("mine.yaml+SE@neck", task="detect")
    assert not Path(HERE).exists()


@pytest.mark.parametrize("attack", ["an argument", "a row that unpickles"])
def test_training_and_validating_run_nothing_either(attack: str, folder: Path, capsys) -> None:
    document, expected = ATTACKS[attack]
    Path("mine.yaml").write_text(yaml.safe_dump(document))
    data = tiny_dataset(folder)
    for verb in ("train", "val", "tune"):
        refused([verb, "model=mine.yaml", f"data={data}", "imgsz=32", "epochs=1", "project=runs"], expected, capsys)


def test_the_yaml_inside_a_checkpoint_is_checked_when_it_is_built_again(folder: Path, capsys) -> None:
    data = tiny_dataset(folder)
    model = build(model_yaml("yolo11n.yaml"), nc=1)
    model.yaml["activation"] = f"nn.SiLU({CODE})"
    model.args = {"task": "detect", "model": "mine.yaml", "imgsz": 32, "data": str(data), "epochs": 2, "mode": "train"}
    torch.save(
        {"model": model, "ema": None, "epoch": 0, "optimizer": {"state": {}}, "train_args": model.args},
        folder / "best.pt",
    )
    common = ["model=best.pt", f"data={data}", "imgsz=32", "epochs=2", f"project={folder / 'runs'}"]
    for words in (["train"], ["train", "resume=True"], ["tune", "iterations=1"]):
        refused([*words, *common], "activation: ", capsys)
    refused(["place", "model=best.pt", "layer=SE", "at=neck"], "activation: ", capsys)
    refused(["lint", "model=best.pt"], "activation: ", capsys, status=1)


@pytest.mark.slow
def test_a_fresh_process_that_only_imports_us(folder: Path) -> None:
    Path("mine.yaml").write_text(yaml.safe_dump(ATTACKS["an argument"][0]))
    done = python("import yolo_attn; from ultralytics import YOLO; YOLO('mine.yaml')", cwd=folder, check=False)
    assert "UserError: activation: " in done.stderr
    assert not Path(HERE).exists()


@pytest.mark.parametrize("rows", [{"a": 1, "b": 1, "torch_safe_load": 1, "zq": 1}, "abcd", {"a", "b", "c", "d"}, None])
def test_a_row_that_is_no_list(rows: Any) -> None:
    """Four keys of a mapping, or four letters, would be read as from, repeats, module and arguments."""
    document = model_yaml("yolo11n.yaml")
    document["head"][0] = rows
    with pytest.raises(UserError, match="row 11: expected"):
        check_safe(document)


@pytest.mark.parametrize(
    "activation",
    [None, "", "nn.SiLU()", " nn.ReLU() ", "nn.LeakyReLU(0.1)", "torch.nn.ReLU(inplace=True)", "nn.GELU('tanh')",
     "torch.nn.Hardswish()", "nn.Softplus(beta=1, threshold=-2)", "nn.PReLU()"],
)  # fmt: skip
def test_valid_activations_work(activation: str | None) -> None:
    assert check_safe(with_key("activation", activation))
    before = tasks.Conv.default_act
    build(with_key("activation", activation and activation.strip()))
    assert tasks.Conv.default_act is before, "the activation would stay for all later models"


@pytest.mark.parametrize("name", ["nn.Identity", "torchvision.ops.SqueezeExcitation", "TorchVision", "Index", "C3k2"])
def test_layers_of_all_sources_may_be_named(name: str) -> None:
    if name.isidentifier() and not hasattr(tasks, name):
        pytest.skip("this Ultralytics has no such rows")
    assert name in check_safe(with_module(name, [8, 2]))


@pytest.mark.parametrize(
    ("activation", "advice"),
    [
        ("nn.LeakyReLU(slope=1)", "unexpected keyword argument 'slope'; write one, such as nn.ReLU() or nn.Leaky"),
        ("nn.SiLU(x)", "has arguments that are not literals; write one, such as nn.ReLU() or nn.LeakyReLU(0.1)"),
        ("None", "is not a PyTorch module; write one, such as nn.ReLU() or nn.LeakyReLU(0.1)"),
        ("nn.Parameter()", "is not a PyTorch module"),
        ("nn.SiLU(" + "(" * 500, "is not a PyTorch module"),
    ],
)
def test_invalid_activations_are_reported(activation: str, advice: str) -> None:
    with pytest.raises(UserError) as caught:
        check_safe(with_key("activation", activation))
    assert advice in str(caught.value)
    assert len(str(caught.value)) < 300
