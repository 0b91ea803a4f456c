from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from yolo_attn.errors import UserError
from yolo_attn.host.geometry import model_cost
from yolo_attn.study import inputs
from yolo_attn.study.plan import Study


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


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("mps", "mps"), ("0", "cuda"), ("0,1", "cuda")])
def test_device_kinds(device: str, kind: str) -> None:
    assert inputs.device_kind(device) == kind


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
