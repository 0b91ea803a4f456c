"""Training processes that Ultralytics starts: they register the layers and open files as this process does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn
from ultralytics import YOLO
from ultralytics.engine import trainer, tuner
from ultralytics.nn.tasks import DetectionModel

from yolo_attn import UserError, register_layer
from yolo_attn.host import child_training
from yolo_attn.host.provenance import describe
from yolo_attn.host.restricted import restricted
from yolo_attn.host.transfer import INHERITED, last_transfer
from yolo_attn.layer_files import load_layers
from yolo_attn.layers.base import Gate
from yolo_attn.registry import unregister_layer
from yolo_attn.security.trust import trusting

LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="scales each channel by its mean")
class {name}(Gate):
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""
STARTS = (["yolo"], [sys.executable, "-m", "ultralytics.cfg.__init__"])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any]]:
    """Return the commands that are started, with their environments; none is run."""
    found: list[tuple[Any, Any]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, env=None, **_: found.append((command, env)))
    return found


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return a tuner that only starts the processes of its first candidate, in both of Ultralytics' spellings."""

    def call(self: Any) -> None:
        for start in STARTS:
            subprocess.run([*start, "train", f"lr_attention={getattr(self.args, 'lr_attention', None)}"], check=True)
        subprocess.run(["yolo", "checks"], check=True)
        subprocess.run("yolo train", check=True)

    return SimpleNamespace(call=child_training._wrap_tuner(call), space={}, args=SimpleNamespace(), model=None)


def test_candidates_are_trained_by_yolo_attn(search: SimpleNamespace, started: list[tuple[Any, Any]]) -> None:
    search.space = {"lr_attention": (1, 20)}
    search.call(search)
    own = [sys.executable, "-m", "yolo_attn", "train", "lr_attention=1.0", "trust=True"]
    assert [command for command, _ in started] == [own, own, ["yolo", "checks"], "yolo train"]
    assert [env and env.get("PYTHONSAFEPATH") for _, env in started] == [None] * 4  # modules may be in this folder
    subprocess.run(["yolo", "train"], check=True)  # outside of a search
    assert started[-1] == (["yolo", "train"], None)


def test_untrusted_files_cannot_add_modules(search: SimpleNamespace, started: list[tuple[Any, Any]]) -> None:
    with restricted():
        search.call(search)
    assert [env and env.get("PYTHONSAFEPATH") for _, env in started] == ["1", "1", None, None]


def test_they_open_files_as_this_process_does(search: SimpleNamespace, started: list[tuple[Any, Any]]) -> None:
    with restricted():
        search.call(search)
    assert started[0][0][-1] == "trust=False"
    with trusting(True), restricted():
        search.call(search)
    assert started[4][0][-1] == "trust=True"


@pytest.fixture
def imported(fresh_folder: Path) -> Iterator[Path]:
    """A file of layers that the user's program imports itself."""
    file = fresh_folder / "child_layers.py"
    file.write_text(LAYER.format(name="ChildGate"))
    sys.path.insert(0, str(fresh_folder))
    __import__("child_layers")
    yield file
    unregister_layer("ChildGate")
    sys.modules.pop("child_layers", None)


def test_they_import_the_users_layers(
    imported: Path, fresh_folder: Path, search: SimpleNamespace, started: list[tuple[Any, Any]]
) -> None:
    given = fresh_folder / "more_child_layers.py"
    given.write_text(LAYER.format(name="MoreChildGate"))
    load_layers([given])
    try:
        search.call(search)
    finally:
        unregister_layer("MoreChildGate")
        sys.modules.pop("more_child_layers", None)
    assert started[0][0][-2:] == [f"layers={imported},{given}", "trust=True"]


def test_a_layer_of_a_notebook_is_refused_before_anything_is_trained(
    search: SimpleNamespace, started: list[tuple[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotebookGate(Gate):
        def gate(self, x):
            return x

    NotebookGate.__module__ = "__main__"
    monkeypatch.setattr(sys.modules["__main__"], "NotebookGate", NotebookGate, raising=False)
    register_layer(family="channel", summary="as its input")(NotebookGate)
    try:
        search.model = nn.Sequential(NotebookGate(8))
        with pytest.raises(UserError, match=r"NotebookGate is defined in a script or notebook .* processes of tune"):
            search.call(search)
        search.model = nn.Identity()
        search.call(search)  # the model has no such layer
    finally:
        unregister_layer("NotebookGate")
    assert len(started) == 4


def _variant() -> DetectionModel:
    return DetectionModel("yolo11n-cbam.yaml", nc=2, verbose=False)


def test_candidates_state_the_transfer_into_the_model_that_they_receive(
    started: list[tuple[Any, Any]], tmp_path: Path
) -> None:
    """Ultralytics gives them the whole model as a checkpoint, from which initial weights arrive like others."""
    built, loaded, opened = YOLO("yolo11n.yaml+CBAM@neck").model, _variant(), _variant()
    loaded.load(DetectionModel("yolo11n.yaml", nc=2, verbose=False))
    opened.pt_path = str(tmp_path / "best.pt")
    Path(opened.pt_path).touch()
    train = child_training._wrap_several(lambda self: subprocess.run([*STARTS[0], "train"], check=True))
    for model in (built, loaded, opened):
        train(SimpleNamespace(trainer=None, model=model, args={"pretrained": True}))
    for pretrained in ("yolo11n.pt", False):  # which each candidate loads itself
        train(SimpleNamespace(trainer=None, model=built, args={"pretrained": pretrained}))
    reports = [env.get(INHERITED) for _, env in started]
    assert reports == ["", str(last_transfer(loaded)), None, None, None]
    assert "new: row" in str(reports[1])


@pytest.mark.parametrize("report", ["", "499/499 base tensors arrived"])
def test_a_candidate_repeats_the_report_that_it_was_given(report: str, monkeypatch: pytest.MonkeyPatch) -> None:
    received = _variant()
    received.load(_variant())
    assert "attention tensors" in describe(received)["transfer"]
    monkeypatch.setenv(INHERITED, report)
    assert describe(received).get("transfer", "") == report


@pytest.mark.skipif(not hasattr(trainer, "MultiTrainer"), reason="a later release trains on several datasets")
def test_several_datasets(started: list[tuple[Any, Any]]) -> None:
    several = SimpleNamespace(trainer=None, model=None, args={})
    child_training._wrap_several(lambda self: subprocess.run([*STARTS[1], "train"], check=True))(several)
    assert started[0][0][2:4] == ["yolo_attn", "train"]


def test_the_commands_are_those_of_the_installed_release() -> None:
    """A release that starts its processes in another way would train without the layers."""
    import inspect

    from ultralytics import cfg

    source = inspect.getsource(tuner) + inspect.getsource(trainer)
    known = getattr(cfg, "_YOLO_CLI_COMMAND", None)
    assert known in (None, *STARTS)
    assert known or '["yolo", "train"' in source or '"-m", "ultralytics.cfg.__init__"]' in source
