from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from yolo_attn.errors import UserError
from yolo_attn.study import inputs
from yolo_attn.study.plan import Study
from yolo_attn.study.training import _seed_loader, count_flops


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


def test_two_arms_that_are_the_same_are_refused(fresh_folder: Path) -> None:
    with pytest.raises(UserError, match="yolo11n"):
        inputs.build_arms(study(variants="yolo11n.yaml"))
    base = inputs.build_arms(study(variants="SE@neck"))[1].model
    Path("mine.yaml").write_text(yaml.safe_dump(dict(base)))
    with pytest.raises(UserError, match="same model"):
        inputs.build_arms(study(variants="SE@neck,mine.yaml"))


@pytest.mark.parametrize(("device", "kind"), [("cpu", "cpu"), ("mps", "mps"), ("0", "cuda"), ("0,1", "cuda")])
def test_device_kinds(device: str, kind: str) -> None:
    assert inputs.device_kind(device) == kind


def test_a_dataset_that_is_not_there_is_downloaded_first(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [False]
    monkeypatch.setattr(
        "yolo_attn.data.check_data",
        lambda *_: SimpleNamespace(present=present[0], digest="of the images" if present[0] else ""),
    )
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", lambda data: present.__setitem__(0, True))
    assert inputs.data_fingerprint("coco8.yaml", "detect") == "of the images"

    def offline(data: str) -> None:
        raise ConnectionError("no\nnetwork")

    present[0] = False
    monkeypatch.setattr("ultralytics.data.utils.check_det_dataset", offline)
    with pytest.raises(UserError, match="no network"):
        inputs.data_fingerprint("coco8.yaml", "detect")


def test_flops_count_a_multiply_accumulate_as_two() -> None:
    convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert count_flops(convolution, torch.zeros(1, 3, 10, 12)) == 2 * 3 * 8 * 9 * 10 * 12


class Loader:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator()
        self.generator.manual_seed(seed)
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


def test_a_loader_that_ignores_the_seed_gets_it() -> None:
    constant = 6148914691236517205 - 1  # what Ultralytics up to 8.4.100 seeds with, whatever the seed

    def after(seed: int) -> Any:
        loader = Loader(constant)
        _seed_loader(loader, seed)
        return loader

    assert after(1).generator.initial_seed() != after(2).generator.initial_seed()
    assert after(1).resets == 1
    assert after(0).resets == 0  # what newer versions do with seed 0: left alone
