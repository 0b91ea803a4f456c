"""Cost of models, row by row and side by side, and the command `profile`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.cli.helpers import refuse, run
from yolo_attn.analysis.models import open_model, open_models, short_name
from yolo_attn.analysis.profile import Profile, count_flops, profile, profile_all
from yolo_attn.errors import UserError


@pytest.fixture(scope="module")
def cbam() -> nn.Module:
    return open_model("yolo11n-cbam.yaml")


@pytest.fixture(scope="module")
def found(cbam: nn.Module) -> Profile:
    return profile(cbam, 64, device="cpu", rounds=2)


def test_rows(found: Profile) -> None:
    first, last = found.rows[0], found.rows[-1]
    assert (first.module, first.shape, first.stride, first.attention) == ("Conv", (1, 16, 32, 32), 2, False)
    assert first.params == 3 * 16 * 9 + 2 * 16  # a convolution without biases, and a batch norm
    assert first.gflops == 2 * 16 * 3 * 9 * 32 * 32 / 1e9
    assert (last.module, last.shape, last.stride) == ("Detect", (1, 84, 84), None)
    assert [(row.row, row.module, row.stride) for row in found.rows if row.attention] == [
        (17, "CBAM", 8),
        (21, "CBAM", 16),
        (25, "CBAM", 32),
    ]
    positions, channels = 8 * 8, 64
    gates = 2 * 2 * (2 * channels * channels // 16) + 2 * 2 * 49 * positions  # of mean and of maximum; of 7 x 7
    assert found.rows[17].gflops == gates / 1e9


def test_rows_add_up(found: Profile, cbam: nn.Module) -> None:
    assert sum(row.params for row in found.rows) == found.params == sum(p.numel() for p in cbam.parameters())
    assert sum(row.gflops for row in found.rows) == pytest.approx(found.gflops)
    assert sum(row.time_share for row in found.rows) == pytest.approx(1)
    assert found.params_fused < found.params
    assert found.memory["mib"] * 2**20 > 4 * found.params_fused


def test_the_model_is_not_modified(cbam: nn.Module) -> None:
    before = {key: value.clone() for key, value in cbam.state_dict().items()}
    cbam.train()
    profile(cbam, 64, device="cpu", rounds=1)
    assert cbam.training
    cbam.eval()
    assert before.keys() == cbam.state_dict().keys()
    assert all(torch.equal(before[key], value) for key, value in cbam.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in cbam.modules())


def test_operations_are_those_of_the_deployed_model() -> None:
    """YOLOv9 trains with pairs of convolutions that are fused into one."""
    found = profile("yolov9t.yaml", 64, device="cpu", rounds=1)
    assert found.gflops < 0.995 * count_flops(open_model("yolov9t.yaml"), torch.zeros(1, 3, 64, 64)) / 1e9


def test_layers_inside_blocks_are_marked() -> None:
    found = profile("yolo11n.yaml+SE@inside:C3k2", 64, device="cpu", rounds=1)
    assert {row.module for row in found.rows if row.attention} == {"C3k2+SE"}


def test_a_network_that_is_not_a_yolo_is_one_row() -> None:
    found = profile(nn.Sequential(nn.Conv2d(3, 4, 1)), 64, device="cpu", rounds=1)
    assert [(row.params, row.gflops) for row in found.rows] == [(16, 2 * 12 * 64 * 64 / 1e9)]


def test_models_of_different_channels_are_not_compared() -> None:
    gray = nn.Conv2d(1, 4, 1)
    gray.yaml = {"channels": 1}
    with pytest.raises(UserError, match="different numbers of channels: 1, 3"):
        profile_all({"gray": gray, "colors": nn.Conv2d(3, 4, 1)}, 64, device="cpu", rounds=1)


def test_short_names() -> None:
    assert short_name("configs/yolo11-cbam.yaml") == "yolo11-cbam"
    assert short_name("my+models/yolo11n.yaml+CBAM@neck") == "yolo11n+CBAM@neck"
    assert short_name("runs/detect/train2/weights/best.pt") == "train2/best"
    assert short_name("yolo11n.yaml+SE@neck.P3,neck.P4") == "yolo11n+SE@neck.P3,neck.P4"


def test_names_with_commas(fresh_folder: Path) -> None:
    """Commas inside a model name do not split it, and files with the same name keep their folders."""
    for folder in ("a", "b"):
        (fresh_folder / folder).mkdir()
        shutil.copy(Path(__file__).parents[2] / "configs" / "yolo11-se.yaml", fresh_folder / folder / "m.yaml")
    given = "yolo11n.yaml+SE[reduction=8,init=identity]@neck.P3,neck.P4,a/m.yaml"
    assert list(open_models(given, against="yolo11n.yaml")) == [
        "yolo11n",
        "yolo11n+SE[reduction=8,init=identity]@neck.P3,neck.P4",
        "m",
    ]
    assert list(open_models("a/m.yaml,b/m.yaml")) == ["a/m.yaml", "b/m.yaml"]
    (fresh_folder / "a").rename(fresh_folder / "x,y")
    assert list(open_models("x,y/m.yaml")) == ["m"]


# --- the verb ---------------------------------------------------------------------------------------------------


def test_one_model_is_shown_row_by_row(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("profile", "model=yolo11n-cbam.yaml", "imgsz=64", "device=cpu", "rounds=1", capsys=capsys)
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines if line.lstrip().startswith("*") and "CBAM" in line] == [
        ["*17", "CBAM"],
        ["*21", "CBAM"],
        ["*25", "CBAM"],
    ]
    assert "parameters, as trained  " in out
    assert "on cpu (" in out


def test_several_models_are_shown_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolo11n-cbam.yaml", "against=yolo11n.yaml", "imgsz=64", "device=cpu", "rounds=1")
    _, out, _ = run("profile", *words, capsys=capsys)
    assert out.splitlines()[0].split() == ["64", "x", "64", "yolo11n", "yolo11n-cbam", "ratio"]
    assert out.splitlines()[1].split()[-3:] == ["2,624,080", "2,635,608", "1.004"]


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolo11n-cbam.yaml,yolo11n.yaml", "imgsz=64", "device=cpu", "rounds=2", "format=json")
    _, out, _ = run("profile", *words, capsys=capsys)
    first, second = json.loads(out)
    assert (first["name"], second["name"]) == ("yolo11n-cbam", "yolo11n")
    assert first["params"] == 2635608
    assert {"median", "p10", "p90", "device", "threads", "rounds"} <= set(first["latency_ms"])
    assert first["memory"].keys() == {"mib", "measure"}
    assert first["rows"][17]["attention"] is True
    assert first["rows"][17]["module"] == "CBAM"


def test_sizes_are_rounded_up_as_ultralytics_does(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolo11n.yaml", "imgsz=33", "device=cpu", "rounds=1", "format=json")
    _, out, _ = run("profile", *words, capsys=capsys)
    assert json.loads(out)[0]["imgsz"] == 64


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "profile requires model="),
        (("model=nowhere.yaml",), "does not exist"),
        (("model=nowhere/best.pt",), "no such checkpoint"),
        (("model=yolo11n-cbm.yaml",), "did you mean yolo11n-cbam.yaml?"),
        (("model=yolo11n.txt",), "give a model YAML"),
        (("modell=yolo11n.yaml",), "did you mean model?"),
        (("model=yolo11n.yaml,yolo11n.yaml",), "given twice"),
        (("model=yolo11n.yaml", "against=yolo11n.yaml"), "given twice"),
        (("model=yolo11n.yaml", "imgsz=big"), "use an integer"),
        (("model=yolo11n.yaml", "rounds=0"), "use an integer from 1 to"),
        (("model=yolo11n.yaml", "device=77"), "device=77"),
        (("model=yolo11n.yaml", "device=tpu"), "device=tpu"),
        (("model=yolo11n.yaml", "format=xml"), "use text or json"),
        (("model=yolo11n.yaml+Cbam@neck",), "did you mean CBAM?"),
    ],
)
def test_errors(words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refuse("profile", *words, capsys=capsys)
