"""A learning rate of their own for attention layers."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from ultralytics.cfg import get_cfg
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer

from tests.host.helpers import set_up, tiny_dataset
from yolo_attn import UserError
from yolo_attn.host import learning_rate
from yolo_attn.host.arguments import read_words
from yolo_attn.host.learning_rate import read_lr_attention

BASE = "yolov8n.yaml"
VARIANT = "yolov8n+SE[init=identity]@after:2+EMA@inside:6.yaml"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(learning_rate.LOGGER, level, lines.append)
    return lines


def settings(trainer: BaseTrainer) -> dict[str, dict[str, Any]]:
    """Return the settings of the optimizer by name of the parameter."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {
        names[id(parameter)]: {key: value for key, value in group.items() if key != "params"}
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }


def own(output: list[str]) -> list[str]:
    return [line for line in output if line.startswith("yolo-attn: lr_attention")]


def is_attention(name: str) -> bool:
    return name.startswith("model.3.") or ".attention." in name


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "MuSGD"])
def test_attention_layers_differ_in_the_learning_rate_alone(
    data: Path, tmp_path: Path, optimizer: str, output: list[str]
) -> None:
    if optimizer not in inspect.getsource(learning_rate.LEARNING_RATE[1].original):
        pytest.skip(f"the installed Ultralytics has no {optimizer}")
    usual = settings(set_up(VARIANT, data, tmp_path, optimizer=optimizer))
    trainer = set_up(VARIANT, data, tmp_path, optimizer=optimizer, lr_attention=5)
    found = settings(trainer)
    assert found.keys() == usual.keys() == dict(trainer.model.named_parameters()).keys()
    assert sum(map(is_attention, found)) > 8
    assert any(name.endswith("gamma") for name in found if is_attention(name))
    for name, group in found.items():
        factor = 5 if is_attention(name) else 1
        assert group["initial_lr"] == pytest.approx(factor * usual[name]["initial_lr"])
        assert group["lr"] == pytest.approx(factor * usual[name]["lr"])
        assert {**group, "lr": 0, "initial_lr": 0} == {**usual[name], "lr": 0, "initial_lr": 0}
    assert "trained with 5 times the learning rate" in " ".join(output)


def test_a_schedule_keeps_the_ratio(data: Path, tmp_path: Path) -> None:
    trainer = set_up(VARIANT, data, tmp_path, lr_attention=5, epochs=4)
    trainer.optimizer.step()
    trainer.scheduler.step()  # to the first epoch
    trainer.scheduler.step()
    rates = {is_attention(name): group["lr"] for name, group in settings(trainer).items()}
    assert rates[True] == pytest.approx(5 * rates[False])
    assert rates[False] < 0.01


def test_every_process_and_a_resumed_training_get_the_argument(data: Path, tmp_path: Path) -> None:
    """Worker processes are given the arguments of the trainer, and checkpoints contain them."""
    trainer = set_up(VARIANT, data, tmp_path, lr_attention=5)
    again = DetectionTrainer(overrides=vars(trainer.args))
    assert again.args.lr_attention == 5
    assert get_cfg(vars(trainer.args)).lr_attention == 5


def test_without_attention_layers_it_has_no_effect(data: Path, tmp_path: Path, output: list[str]) -> None:
    usual = settings(set_up(BASE, data, tmp_path))
    trainer = set_up(BASE, data, tmp_path, lr_attention=5)
    assert settings(trainer) == usual
    assert own(output) == ["yolo-attn: lr_attention=5 has no effect: the model has no attention layer with parameters"]
    assert not hasattr(trainer.args, "lr_attention")  # stock Ultralytics resumes from the checkpoint


def test_one_changes_nothing(data: Path, tmp_path: Path, output: list[str]) -> None:
    assert settings(set_up(VARIANT, data, tmp_path, lr_attention=1)) == settings(set_up(VARIANT, data, tmp_path))
    assert not own(output)


@pytest.mark.parametrize("value", [0, -1, "fast", "nan", "inf", None])
def test_it_is_a_positive_number(value: object) -> None:
    with pytest.raises(UserError, match=f"lr_attention={value}: must be a number above 0"):
        read_lr_attention(value)


def test_it_belongs_to_training() -> None:
    assert read_words(["train", "lr_attention=5"]) == ["train", "lr_attention=5"]
    with pytest.raises(UserError, match="unknown key 'lr_attention'"):
        read_words(["val", "lr_attention=5"])
    with pytest.raises(SyntaxError, match="lr_attentions"):
        get_cfg(overrides={"lr_attentions": 5})


def test_an_optimizer_of_another_trainer_is_built_as_before() -> None:
    assert BaseTrainer.build_optimizer(None, nn.Linear(2, 1), name="SGD", lr=0.01, momentum=0.9).param_groups
