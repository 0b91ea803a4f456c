"""The commands as Python functions: arguments and results."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from ultralytics import YOLO

import yolo_attn
from yolo_attn import UserError, api
from yolo_attn.analysis.maps import AttentionMap
from yolo_attn.cli import main


@pytest.fixture
def image(fresh_folder: Path) -> Path:
    path = fresh_folder / "street.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return path


# --- place --------------------------------------------------------------------------------------------------------


def test_place_returns_the_model_and_the_changes(fresh_folder: Path) -> None:
    placed = yolo_attn.place("yolo11n.yaml", "SE", "neck", reduction=8, init="identity")
    assert list(fresh_folder.iterdir()) == []
    assert [(row["row"], row["module"], row["consumers"]) for row in placed.rows()] == [
        (17, "SE", 2), (21, "SE", 2), (25, "SE", 1),
    ]  # fmt: skip
    found = placed.to_dict()
    assert found["params"] - found["params_before"] == placed.after.params - placed.before.params > 0
    assert found["base_tensors_kept"] == found["base_tensors"] == 499
    assert found["options"] == {"reduction": 8, "init": "identity"}
    assert str(placed) == placed.summary()
    assert placed._repr_html_().count("<tr>") == 4
    assert repr(placed) == "<SE at neck of yolo11n.yaml>"
    file = placed.save("mine.yaml")
    assert file.read_text() == placed.text()
    assert type(YOLO(file).model.model[17]).__name__ == "SE"
    with pytest.raises(UserError, match=r"mine\.yaml exists and was kept"):
        placed.save(file)


def test_a_number_of_layers_is_an_option(fresh_folder: Path) -> None:
    """Other values of `layers` are files with custom layers."""
    yolo_attn.place("yolo11n.yaml", "TransformerEncoder", "neck.P5", layers=2, out="python.yaml")
    words = ["place", "model=yolo11n.yaml", "layer=TransformerEncoder", "at=neck.P5"]
    assert main([*words, "layers=2", "out=command.yaml"]) == 0
    assert "TransformerEncoder, [{layers: 2}]]" in Path("python.yaml").read_text()
    assert Path("python.yaml").read_text() == Path("command.yaml").read_text()
    assert main([*words, "layers=nowhere.py"]) == main(["lint", "model=yolo11n.yaml", "layers=2"]) == 2


def test_place_and_the_command_write_the_same(fresh_folder: Path) -> None:
    yolo_attn.place("yolo11n.yaml", "CBAM", "inside:C3k2", out="python.yaml")
    assert main(["place", "model=yolo11n.yaml", "layer=CBAM", "at=inside:C3k2", "out=command.yaml"]) == 0
    assert Path("python.yaml").read_text() == Path("command.yaml").read_text()


def test_a_placement_that_cannot_be_built_writes_nothing(fresh_folder: Path) -> None:
    with pytest.raises(UserError):
        yolo_attn.place("yolo11n.yaml", "SE", out="mine.yaml", reduction=-1)
    with pytest.raises(UserError, match="no option 'reducton'"):
        yolo_attn.place("yolo11n.yaml", "SE", reducton=1)
    assert list(fresh_folder.iterdir()) == []


# --- profile ------------------------------------------------------------------------------------------------------


def test_profile_takes_names_files_models_and_modules() -> None:
    model = YOLO("yolo11n-se.yaml")
    found = yolo_attn.profile([model, model.model, nn.Conv2d(3, 4, 1)], against="yolo11n.yaml", imgsz=32, rounds=1)
    assert [p.name for p in found] == ["yolo11n", "yolo11n-se", "model", "model (2)"]
    assert found[1].params == found[2].params > found[0].params
    rows = found.rows()
    assert rows[0]["params_ratio"] == rows[0]["latency_ratio"] == 1
    assert rows[3]["params"] == 16
    assert rows[1]["params_ratio"] == found[1].params / found[0].params
    assert found.to_dict()["yolo11n-se"]["rows"][17]["module"] == "SE"
    assert "parameters, as trained" in str(found)
    assert ">yolo11n-se</th>" in found._repr_html_()
    assert repr(found) == "<Profiles of yolo11n, yolo11n-se, model, model (2)>"
    assert ">*17</td>" in found[1]._repr_html_()
    assert len(repr(found[1])) < 500  # without its rows
    assert [p.name for p in found[1:]] == ["yolo11n-se", "model", "model (2)"]


def test_profile_of_one_model_shows_its_rows_under_the_given_name() -> None:
    found = yolo_attn.profile({"mine & yours": "yolo11n-se.yaml"}, imgsz=32, rounds=1, device="cpu")
    page = found._repr_html_()
    assert ">*17</td>" in page
    assert "mine &amp; yours" in page
    assert str(found).splitlines()[0].split()[:2] == ["row", "module"]


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (3, {}, "model=3: give a name"),
        ([3], {}, "model=3: give a name"),
        ([], {}, "no model is given"),
        ("yolo11n.yaml", {"imgsz": 0}, "imgsz=0: use a positive integer"),
        ("yolo11n.yaml", {"rounds": 1.5}, "rounds=1.5: use a positive integer"),
        ("yolo11n.yaml", {"device": 99}, "device=99: PyTorch finds"),
        ("nowhere.yaml", {}, "nowhere.yaml"),
    ],
)
def test_invalid_input_of_profile_is_a_user_error(model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        yolo_attn.profile(model, **options)


def test_the_default_rounds_are_those_of_the_measurement() -> None:
    from yolo_attn.analysis.latency import ROUNDS

    assert yolo_attn.profile.__kwdefaults__["rounds"] == ROUNDS


# --- attention maps -----------------------------------------------------------------------------------------------


def test_attention_maps_are_kept_in_memory_or_written(image: Path) -> None:
    torch.manual_seed(0)
    model = YOLO("yolo11n-cbam.yaml")
    found = yolo_attn.attention_maps(model, image, imgsz=64)
    assert found.folder is None
    assert list(image.parent.iterdir()) == [image]
    assert all(isinstance(one, AttentionMap) for one in found.maps)
    assert [one.name for one in found.maps if one.kind == "map"] == ["CBAM.spatial"] * 3
    assert found.maps[1].on_image(48, 64).shape == (48, 64)
    assert [row["name"] for row in found.rows()] == [one.name for one in found.maps]
    assert found.to_dict()["images"] == 1
    assert str(found).splitlines()[0].split()[:2] == ["row", "layer"]
    assert "data:image/png;base64," in found._repr_html_()
    assert repr(found) == f"<Maps of {len(found.layers)} gates on 1 image>"

    array = yolo_attn.attention_maps(model, cv2.imread(str(image)), imgsz=64)
    assert [np.array_equal(a.array, b.array) for a, b in zip(found.maps, array.maps, strict=True)] == [True] * 6

    written = yolo_attn.attention_maps(model, image.parent, imgsz=64, folder="maps")
    assert (written.folder, written.files, written.maps) == (Path("maps"), ("street.png",), [])
    assert written.rows() == found.rows()
    assert yolo_attn.attention_maps(model, image, imgsz=64, folder="maps").folder != Path("maps")


@pytest.mark.parametrize(
    ("model", "source", "words"),
    [
        ("yolo11n.yaml", "street.png", "no attention layers"),
        ("yolo11n-se.yaml", "nowhere.png", "nowhere.png"),
        (None, "street.png", "model=None: give a name"),
    ],
)
def test_invalid_input_of_attention_maps_is_a_user_error(image: Path, model: Any, source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        yolo_attn.attention_maps(model, source)


# --- all of them --------------------------------------------------------------------------------------------------


def test_the_functions_are_public_and_documented() -> None:
    for name in api.__all__:
        function = getattr(yolo_attn, name)
        assert name in yolo_attn.__all__
        assert all(f"{section}:" in function.__doc__ for section in ("Args", "Returns", "Raises"))


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"seeds": np.int64(2), "epochs": np.int32(1)}, {"seeds": 2, "epochs": 1}),
        ({"margin": np.float64(0.25), "no_worse": np.True_}, {"margin": 0.25, "no_worse": True}),
        ({"seeds": np.arange(2), "imgsz": torch.tensor(64)}, {"seeds": [0, 1], "imgsz": 64}),
        ({"seeds": range(2), "classes": range(3)}, {"seeds": [0, 1], "classes": [0, 1, 2]}),
        ({"device": torch.device("cuda", 1)}, {"device": "cuda:1"}),
    ],
)
def test_numbers_of_numpy_and_devices_of_torch_are_arguments(
    given: dict[str, Any], plain: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    received: dict[str, Any] = {}
    monkeypatch.setattr("yolo_attn.study.engine.compare", lambda arguments, command: received.update(arguments))
    yolo_attn.compare(**given)
    assert received == plain
    assert all(type(received[key]) is type(plain[key]) for key in plain)


def test_the_import_is_lazy() -> None:
    """`import yolo_attn` does not import the modules that only the functions require."""
    code = "import sys, yolo_attn; print(*sorted(m for m in sys.modules if m.startswith('yolo_attn.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "yolo_attn.api" in loaded
    heavy = ("yolo_attn.study", "yolo_attn.analysis", "yolo_attn.stats", "yolo_attn.data", "yolo_attn.layer_files")
    assert [name for name in loaded if name.startswith(heavy)] == []
    assert importlib.import_module("yolo_attn.api").compare is yolo_attn.compare


def test_the_import_adds_no_other_package() -> None:
    """Torchvision and Triton would double the time of `from ultralytics import YOLO`."""
    code = """
import sys
from ultralytics import YOLO
before = {*sys.modules}
import yolo_attn
print(*{name.partition(".")[0] for name in {*sys.modules} - before} - sys.stdlib_module_names)
"""
    added = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {*added} <= {"yolo_attn", "ultralytics"}


OWN = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="scales each channel by its mean")
class MeanGate(Gate):
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""


@pytest.mark.slow
def test_functions_accept_custom_layers(image: Path) -> None:
    Path("own_gates.py").write_text(OWN)
    code = """
import yolo_attn
assert yolo_attn.place("yolo11n.yaml", "MeanGate", layers="own_gates.py").rows()[0]["module"] == "MeanGate"
maps = yolo_attn.attention_maps("yolo11n.yaml+MeanGate@neck", "street.png", imgsz=64, layers=["own_gates.py"])
assert [one.layer for one in maps.maps] == ["MeanGate"] * 3
cost = yolo_attn.profile("yolo11n.yaml+MeanGate@neck", imgsz=32, rounds=1, layers="own_gates.py")
assert cost[0].rows[17].attention
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
