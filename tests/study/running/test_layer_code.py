"""The code of layers in the keys of runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.study.conftest import PLATFORM
from yolo_attn import registry
from yolo_attn.errors import UserError
from yolo_attn.layer_files import sources
from yolo_attn.study.running import layer_code as module
from yolo_attn.study.running.layer_code import check_layer_code, layer_code
from yolo_attn.study.running.run import Run, plan_run
from yolo_attn.study.specification.arms import Arm, build_arms
from yolo_attn.study.specification.study import Study


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", "epochs": 1, **arguments})


GATE = """
from yolo_attn import register_layer
from {package}.base import Base


@register_layer(family="channel", summary="scales each channel by its mean", aliases=("Average",))
class MeanGate(Base):
    def gate(self, x):
        return {body}
"""


@pytest.fixture
def write_gate(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write a package with the custom layer MeanGate and import it; called again, edit it."""
    package = fresh_folder / "users_gates"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(fresh_folder))

    def write(body: str = "x.mean((2, 3), keepdim=True)", base: str = "pass") -> None:
        (package / "gate.py").write_text(GATE.format(package=package.name, body=body))
        (package / "base.py").write_text(f"from yolo_attn.layers.base import Gate\nclass Base(Gate):\n    {base}\n")
        if not registry.is_layer("MeanGate"):
            __import__("users_gates.gate")

    yield write
    if registry.is_layer("MeanGate"):
        registry.unregister_layer("MeanGate")
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]
    sources.distribution_of.cache_clear()


def model_with(*modules: str) -> dict[str, Any]:
    rows = [[-1, 1, "Conv", [8]], *([-1, 1, module, []] for module in modules)]
    return {"backbone": rows, "head": [[[0], 1, "Detect", [1]]]}


def run(model: dict[str, Any]) -> Run:
    return plan_run(Arm("A", "variant", model), 0, data="d", recipe={}, platform=PLATFORM)


@pytest.mark.parametrize("module", ["MeanGate", "Average", "C3k2+MeanGate", "C3k2+Average"])
def test_the_source_of_a_custom_layer_is_in_the_key(write_gate: Callable[..., None], module: str) -> None:
    def key() -> str:
        return run(model_with("SE", module)).key

    write_gate()
    keys = [key()]
    write_gate(body="x.amax((2, 3), keepdim=True)")
    keys.append(key())
    write_gate(body="x.amax((2, 3), keepdim=True)", base="scale = 3")
    keys.append(key())
    assert len(set(keys)) == 3
    write_gate()
    assert key() == keys[0]


def test_a_custom_layer_is_found_at_every_site(write_gate: Callable[..., None]) -> None:
    write_gate()
    base, *arms = build_arms(study(variants="MeanGate@neck,Average@inside:C3k2,SE@neck"))
    assert [list(layer_code(arm.model)) for arm in (base, *arms)] == [[], ["MeanGate"], ["MeanGate"], ["SE"]]


@pytest.mark.parametrize("changed", ["cbam", "cbam_channel", "base"])
def test_the_source_of_a_layer_of_this_package_is_in_the_key(changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout changes while the version stays the same: the layer's file, and those that it is made from."""

    def keys() -> list[str]:
        module._built_in_code.cache_clear()
        return [run(model_with(name)).key for name in ("CBAM", "C3k2+CBAM", "Conv")]

    before, real = keys(), module.file_hash
    assert keys() == before
    monkeypatch.setattr(module, "file_hash", lambda path: "edited" if path.stem == changed else real(path))
    after = keys()
    module._built_in_code.cache_clear()
    assert [key in before for key in after] == [False, False, True]


def test_the_distribution_of_a_custom_layer_is_in_the_key(
    write_gate: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gate()
    assert layer_code(model_with("MeanGate"))["MeanGate"].keys() == {"source"}
    entry = EntryPoint("gates", "users_gates.gate:MeanGate", "yolo_attn.layers")
    vars(entry)["dist"] = SimpleNamespace(name="users-gates", version="1.2")
    monkeypatch.setattr(sources, "entry_points", lambda group: [entry])
    sources.distribution_of.cache_clear()
    assert layer_code(model_with("MeanGate"))["MeanGate"]["package"] == "users-gates 1.2"


def test_a_run_whose_layer_was_edited_since_it_was_planned_is_refused(write_gate: Callable[..., None]) -> None:
    write_gate()
    inputs = run(model_with("MeanGate")).inputs
    check_layer_code(inputs)
    write_gate(body="x")
    with pytest.raises(UserError, match="layer MeanGate: its code is not the one"):
        check_layer_code(inputs)
    check_layer_code(run(model_with("SE")).inputs)
