"""The arms of a study and the tensors that they share with the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

from yolo_attn.errors import UserError
from yolo_attn.host import initialization
from yolo_attn.host.geometry import model_cost
from yolo_attn.study.running.initialization import count_shared_tensors
from yolo_attn.study.specification.arms import Arm, build_arms
from yolo_attn.study.specification.controls import CONTROLS, Control
from yolo_attn.study.specification.study import Study
from yolo_attn.study.times import guess_epoch_seconds


def study(**arguments: object) -> Study:
    return Study.from_arguments({"device": "cpu", "epochs": 1, **arguments})


def test_arms_are_the_base_and_its_variants() -> None:
    arms = build_arms(study(base="yolov8n.yaml", variants="SE@neck,yolo11n.yaml"))
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
def test_a_misspelled_variant_stops_the_study(variant: str) -> None:
    with pytest.raises(UserError):
        build_arms(study(variants=f"CBAM@neck,{variant}"))


def test_a_task_that_ultralytics_lacks_is_named(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tasks, "SemanticSegmentationModel", raising=False)
    rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "Conv", [64, 3, 2]]]
    model = {"nc": 2, "backbone": rows, "head": [[[0, 1], 1, "SemanticSegment", ["nc"]]]}
    Path("own-sem.yaml").write_text(yaml.safe_dump(model))
    with pytest.raises(UserError, match=r"a semantic segmentation, which Ultralytics [\d.]+ lacks; install a newer"):
        build_arms(study(base="own-sem.yaml", variants="SE@neck"))


def test_an_invalid_model_file_is_an_arm_with_an_error(fresh_folder: Path) -> None:
    Path("broken.yaml").write_text(yaml.safe_dump({"nc": 3, "backbone": [[-1, 1, "Conv"]], "head": 3}))
    arms = build_arms(study(variants="broken.yaml,SE@neck"))
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


def test_a_model_that_cannot_be_built_is_an_arm_with_an_error_for_any_exception(fresh_folder: Path) -> None:
    Path("clash.yaml").write_text(CLASH)
    base, clash, se, null, width = build_arms(study(variants="clash.yaml,SE@neck", controls="null,width"))
    assert clash.error == "row 3: C2PSA cannot be built with [512]: AssertionError"
    assert [arm.error for arm in (base, se, null, width)] == [None] * 4
    broken = Arm("clash", "variant", yaml.safe_load(CLASH))
    assert count_shared_tensors(broken, base, "detect", 3) is None
    model = {"train_images": 8, "recipe": {"batch": 2, "imgsz": 32, "epochs": 1}, "device": "cpu", "threads": 1}
    assert guess_epoch_seconds(broken.model, "detect", 3, **model) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [AttributeError, ZeroDivisionError, NameError, AssertionError])
def test_any_exception_in_building_an_arm_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def refuse(*_: Any) -> None:
        raise kind("it\nbroke")

    monkeypatch.setattr("yolo_attn.host.geometry.row_strides", refuse)
    monkeypatch.setattr(initialization, "build_model", refuse)
    arms = build_arms(study(variants="SE@neck,yolo11n-cbam.yaml"))
    assert [arm.error for arm in arms[1:]] == [f"{kind.__name__}: it broke"] * 2


def test_a_layer_that_cannot_be_built_on_the_meta_device_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError("not on the meta device")

    monkeypatch.setattr("yolo_attn.host.geometry.row_strides", refuse)
    assert build_arms(study(variants="yolo11n-se.yaml"))[1].error is None


def test_two_arms_can_have_the_same_model_but_not_the_same_name(fresh_folder: Path) -> None:
    base = build_arms(study(variants="SE@neck"))[1].model
    Path("mine.yaml").write_text(yaml.safe_dump(dict(base)))
    arms = build_arms(study(variants="SE@neck,mine.yaml"))
    assert arms[1].model == arms[2].model
    Path("SE@neck.yaml").write_text(yaml.safe_dump(dict(base)))
    with pytest.raises(UserError, match="name SE@neck"):
        build_arms(study(variants="SE@neck,SE@neck.yaml"))


def test_the_null_control_has_identities_where_the_variants_have_layers() -> None:
    base, *_, null = build_arms(study(variants="SE@neck.P3,CBAM@backbone.P5,yolo11n-eca.yaml", controls="null"))
    rows = null.model["backbone"] + null.model["head"]
    assert [row[2] for row in rows if row[2] == "nn.Identity"] == ["nn.Identity"] * 4  # three of the neck, one before
    assert len(rows) == len(base.model["backbone"] + base.model["head"]) + 4
    assert count_shared_tensors(null, base, "detect", 10) == count_shared_tensors(base, base, "detect", 10)


@pytest.mark.slow
def test_the_width_control_is_the_narrowest_base_with_the_largest_variants_parameters() -> None:
    base, gam, width = build_arms(study(variants="GAM@neck", controls="width"))
    params = [model_cost(dict(arm.model)).params for arm in (base, gam, width)]
    assert params[0] < params[1] <= params[2] < 1.06 * params[1]
    assert width.kind == "control"


def test_a_control_that_cannot_be_built_is_an_arm_with_an_error() -> None:
    null = build_arms(study(base="yolo11n.yaml", variants="yolov8n.yaml", controls="null"))[-1]
    assert "null" in str(null.error)


def test_a_control_is_an_entry_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Control(lambda base, variants: {**base, "variants": len(variants)}, "the base, and the number of variants")
    monkeypatch.setitem(CONTROLS, "copy", copy)
    control = build_arms(study(variants="SE@neck,CA@neck", controls="copy"))[-1]
    assert (control.name, control.kind, control.model["variants"]) == ("copy", "control", 2)
    with pytest.raises(UserError, match=rf"unknown control 'nil'.* \({', '.join(CONTROLS)}\)"):
        study(controls="nil")


def test_every_variant_is_initialized_with_all_tensors_of_the_base() -> None:
    base, *others = build_arms(study(variants="SE@neck,CBAM@backbone", controls="width"))
    counts = [count_shared_tensors(arm, base, "detect", 10) for arm in (base, *others)]
    assert counts[0] is not None
    assert counts[:3] == [(counts[0][1], counts[0][1])] * 3
    assert counts[3] is not None
    assert counts[3][0] < counts[3][1] / 2  # another width: other shapes


def test_arms_of_a_trained_base_are_initialized_with_its_tensors() -> None:
    base, se, aa, width = build_arms(study(variants="SE@neck", controls="aa,width", pretrain=5))
    counts = [count_shared_tensors(arm, base, "detect", 10, pretrained=True) for arm in (base, se, aa, width)]
    assert counts[0] is not None
    assert counts == [(counts[0][1], counts[0][1])] * 3 + [None]  # the wide base is trained by itself
    scratch = count_shared_tensors(aa, base, "detect", 10)
    assert scratch is not None
    assert scratch[0] < scratch[1]  # other seeds, other initial weights


def test_the_width_control_cannot_start_from_a_checkpoint(fresh_folder: Path) -> None:
    YOLO("yolo11n.yaml").save("mine.pt")
    *_, aa, width = build_arms(study(base="mine.pt", variants="SE@neck", controls="aa,width"))
    assert aa.error is None
    assert width.error == "mine.pt has no weights for it; give a model YAML as base=, and pretrain=EPOCHS"
