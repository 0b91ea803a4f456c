from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from yolo_attn import registry
from yolo_attn.errors import UserError
from yolo_attn.host import initialization
from yolo_attn.host.geometry import model_cost
from yolo_attn.layer_files import sources
from yolo_attn.study.running import inputs
from yolo_attn.study.specification.estimate import guess_run_seconds
from yolo_attn.study.specification.study import Arm, Study


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", "epochs": 1, **arguments})


def test_arms_are_the_base_and_its_variants() -> None:
    arms = inputs.build_arms(study(base="yolov8n.yaml", variants="SE@neck,yolo11n.yaml"))
    assert [(arm.name, arm.kind) for arm in arms] == [
        ("yolov8n", "baseline"),
        ("SE@neck", "variant"),
        ("yolo11n", "variant"),
    ]
    assert [arm.model["scale"] for arm in arms] == ["n", "n", "n"]
    rows = [arm.model["backbone"] + arm.model["head"] for arm in arms]
    assert len(rows[1]) == len(rows[0]) + 3
    assert sum(row[2] == "SE" for row in rows[1]) == 3
    assert all("yaml_file" not in arm.model and arm.weights is None for arm in arms)


@pytest.mark.parametrize("variant", ["SE@nek", "SEE@neck", "SE", "nowhere.yaml"])
def test_a_misspelt_variant_stops_the_study(variant: str) -> None:
    with pytest.raises(UserError):
        inputs.build_arms(study(variants=f"CBAM@neck,{variant}"))


def test_a_model_file_with_a_fault_is_an_arm_with_an_error(fresh_folder: Path) -> None:
    Path("broken.yaml").write_text(yaml.safe_dump({"nc": 3, "backbone": [[-1, 1, "Conv"]], "head": 3}))
    arms = inputs.build_arms(study(variants="broken.yaml,SE@neck"))
    assert arms[1].name == "broken"
    assert arms[1].error
    assert not arms[2].error


CLASH = """
nc: 3
backbone:
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [256, 3, 2]]
  - [-1, 2, C2PSA, [512]]
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""


def test_a_model_that_cannot_be_built_is_an_arm_with_an_error_whatever_was_raised(fresh_folder: Path) -> None:
    Path("clash.yaml").write_text(CLASH)
    base, clash, se, null, width = inputs.build_arms(study(variants="clash.yaml,SE@neck", controls="null,width"))
    assert clash.error == "row 3: C2PSA cannot be built with [512]: AssertionError"
    assert [arm.error for arm in (base, se, null, width)] == [None] * 4
    broken = Arm("clash", "variant", yaml.safe_load(CLASH))
    assert inputs.shared_start(broken, base, "detect", 3) is None
    model = {"train_images": 8, "recipe": {"batch": 2, "imgsz": 32, "epochs": 1}, "where": "cpu", "threads": 1}
    assert guess_run_seconds(broken.model, "detect", 3, **model) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [AttributeError, ZeroDivisionError, NameError, AssertionError])
def test_any_exception_in_building_an_arm_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuse(*_: Any) -> None:
        raise kind("it\nbroke")

    monkeypatch.setattr("yolo_attn.host.geometry.row_strides", refuse)
    monkeypatch.setattr(initialization, "build_model", refuse)
    arms = inputs.build_arms(study(variants="SE@neck,yolo11n-cbam.yaml"))
    assert [arm.error for arm in arms[1:]] == [f"{kind.__name__}: it broke"] * 2


def test_a_layer_that_only_the_quick_build_cannot_take_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError("not on the meta device")

    monkeypatch.setattr("yolo_attn.host.geometry.row_strides", refuse)
    assert inputs.build_arms(study(variants="yolo11n-se.yaml"))[1].error is None


def test_two_arms_may_be_the_same_model_but_not_have_one_name(fresh_folder: Path) -> None:
    base = inputs.build_arms(study(variants="SE@neck"))[1].model
    Path("mine.yaml").write_text(yaml.safe_dump(dict(base)))
    arms = inputs.build_arms(study(variants="SE@neck,mine.yaml"))
    assert arms[1].model == arms[2].model
    Path("SE@neck.yaml").write_text(yaml.safe_dump(dict(base)))
    with pytest.raises(UserError, match="name SE@neck"):
        inputs.build_arms(study(variants="SE@neck,SE@neck.yaml"))


def test_the_null_control_has_identities_where_the_variants_have_layers() -> None:
    base, *_, null = inputs.build_arms(study(variants="SE@neck.P3,CBAM@backbone.P5,yolo11n-eca.yaml", controls="null"))
    rows = null.model["backbone"] + null.model["head"]
    assert [row[2] for row in rows if row[2] == "nn.Identity"] == ["nn.Identity"] * 4  # three of the neck, one before
    assert len(rows) == len(base.model["backbone"] + base.model["head"]) + 4
    assert inputs.shared_start(null, base, "detect", 10) == inputs.shared_start(base, base, "detect", 10)


def test_the_width_control_is_the_narrowest_base_with_the_largest_variants_parameters() -> None:
    base, gam, width = inputs.build_arms(study(variants="GAM@neck", controls="width"))
    params = [model_cost(dict(arm.model)).params for arm in (base, gam, width)]
    assert params[0] < params[1] <= params[2] < 1.06 * params[1]
    assert width.kind == "control"


def test_a_control_that_cannot_be_made_is_an_arm_with_an_error() -> None:
    null = inputs.build_arms(study(base="yolo11n.yaml", variants="yolov8n.yaml", controls="null"))[-1]
    assert "null" in str(null.error)


def test_every_variant_starts_with_all_of_the_bases_tensors() -> None:
    base, *others = inputs.build_arms(study(variants="SE@neck,CBAM@backbone", controls="width"))
    counts = [inputs.shared_start(arm, base, "detect", 10) for arm in (base, *others)]
    assert counts[0] is not None
    assert counts[:3] == [[counts[0][1]] * 2] * 3
    assert counts[3] is not None
    assert counts[3][0] < counts[3][1] / 2  # another width: other shapes


def test_a_dataset_that_is_not_there_is_downloaded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [False]
    monkeypatch.setattr(
        "yolo_attn.data.check_data",
        lambda *_: SimpleNamespace(
            present=present[0], digest="of the images" if present[0] else "", names={}, splits={}
        ),
    )
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", lambda data: present.__setitem__(0, True))
    assert inputs.read_dataset("coco8.yaml", "detect").digest == "of the images"

    def offline(data: str) -> None:
        raise ConnectionError("no\nnetwork")

    present[0] = False
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", offline)
    with pytest.raises(UserError, match="no network"):
        inputs.read_dataset("coco8.yaml", "detect")


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
    """Write a package of a user's, with the layer MeanGate, and import it; again to edit it."""
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


@pytest.mark.parametrize("module", ["MeanGate", "Average", "C3k2+MeanGate", "C3k2+Average"])
def test_the_source_of_a_users_layer_is_in_the_key(write_gate: Callable[..., None], module: str) -> None:
    def key() -> str:
        return inputs.make_run(Arm("A", "variant", model_with("SE", module)), 0, {}).key

    write_gate()
    keys = [key()]
    write_gate(body="x.amax((2, 3), keepdim=True)")
    keys.append(key())
    write_gate(body="x.amax((2, 3), keepdim=True)", base="scale = 3")
    keys.append(key())
    assert len(set(keys)) == 3
    write_gate()
    assert key() == keys[0]


def test_a_users_layer_is_seen_wherever_a_variant_puts_it(write_gate: Callable[..., None]) -> None:
    write_gate()
    base, *arms = inputs.build_arms(study(variants="MeanGate@neck,Average@inside:C3k2,SE@neck"))
    assert [list(inputs.foreign_layers(arm.model)) for arm in (base, *arms)] == [[], ["MeanGate"], ["MeanGate"], []]


def test_the_distribution_of_a_users_layer_is_in_the_key(
    write_gate: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gate()
    assert inputs.foreign_layers(model_with("MeanGate"))["MeanGate"].keys() == {"source"}
    entry = EntryPoint("gates", "users_gates.gate:MeanGate", "yolo_attn.layers")
    vars(entry)["dist"] = SimpleNamespace(name="users-gates", version="1.2")
    monkeypatch.setattr(sources, "entry_points", lambda group: [entry])
    sources.distribution_of.cache_clear()
    assert inputs.foreign_layers(model_with("MeanGate"))["MeanGate"]["package"] == "users-gates 1.2"


def test_arms_without_a_users_layer_keep_the_keys_that_they_had(write_gate: Callable[..., None]) -> None:
    write_gate()
    run = inputs.make_run(Arm("A", "variant", model_with("SE", "C3k2+CBAM")), 0, {"data": "d"})
    assert run.inputs.keys() == {"data", "model", "weights", "seed"}
    assert run.key == "1f31115da608f543987d43abbe3c5986ebc03fd1d18488040a6dd6dcdec794d3"


def test_a_run_whose_layer_was_edited_since_it_was_planned_is_refused(write_gate: Callable[..., None]) -> None:
    write_gate()
    run = inputs.make_run(Arm("A", "variant", model_with("MeanGate")), 0, {})
    inputs.check_layers(run.inputs)
    write_gate(body="x")
    with pytest.raises(UserError, match="layer MeanGate: its code is not the one"):
        inputs.check_layers(run.inputs)
    inputs.check_layers({"model": model_with("SE")})
