"""Names with placed layers, `yolo11n.yaml+CBAM@neck`, wherever a model is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import yaml
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.host.helpers import build, marked, python, tiny_dataset
from yolo_attn import UserError, register, unregister
from yolo_attn.cli import main
from yolo_attn.graph import ModelGraph, read_model
from yolo_attn.host import documents
from yolo_attn.host.documents import make_variant, model_yaml
from yolo_attn.host.linting import lint
from yolo_attn.host.transfer import last_transfer


def rows(document: dict[str, Any], *layers: str) -> list[tuple[int, str]]:
    return [(i, row.module) for i, row in enumerate(ModelGraph(document)) if row.module in layers]


@pytest.mark.parametrize(
    ("name", "kind", "task"),
    [
        ("yolo11n.yaml", "YOLO", "detect"),
        ("yolo11n-seg.yaml", "YOLO", "segment"),
        ("yolov8n-pose.yaml", "YOLO", "pose"),
        ("yolo11n-obb.yaml", "YOLO", "obb"),
        ("yolov8n-cls.yaml", "YOLO", "classify"),
        ("yolov8s-world.yaml", "YOLOWorld", "detect"),
        ("yoloe-v8s-seg.yaml", "YOLOE", "segment"),
        ("yolov8n-rtdetr.yaml", "RTDETR", "detect"),
    ],
)
def test_the_class_and_the_task_are_the_bases(name: str, kind: str, task: str) -> None:
    if not hasattr(ultralytics, kind):
        pytest.skip(f"this Ultralytics has no {kind}")
    model = YOLO(f"{name}+SE@neck")
    shown = f"{Path(name).stem}+SE@neck.yaml"
    assert (type(model).__name__, model.task) == (kind, task)
    assert model.overrides["model"] == model.cfg == model.model.yaml["yaml_file"] == shown
    assert rows(model.model.yaml, "SE")
    assert type(model.model) is model.task_map[task]["model"]


def test_its_base_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Path] = []

    def read(path: Path) -> dict[str, Any]:
        files.append(path)
        return read_model(path)

    monkeypatch.setattr(documents, "read_model", read)
    one, other = YOLO("yolo11n.yaml+SE@neck"), YOLO("yolo11n.yaml+SE@backbone.P5")
    assert [path.name for path in files] == ["yolo11.yaml", "yolo11.yaml"]
    assert (len(rows(one.model.yaml, "SE")), len(rows(other.model.yaml, "SE"))) == (3, 1)


def test_several_layers_with_options_at_sites_of_the_base() -> None:
    document = model_yaml("yolo11n.yaml+SE[reduction=8,init=identity]@neck+CBAM@after:4,after:17+CA@after:4")
    assert rows(document, "SE", "CBAM", "CA") == [
        (5, "CBAM"),
        (6, "CA"),
        (19, "SE"),
        (21, "CBAM"),
        (24, "SE"),
        (28, "SE"),
    ]
    graph = ModelGraph(document)
    assert graph.rows[19].args == [{"reduction": 8, "init": "identity"}]
    assert graph.rows[21].sources == [20] and graph.rows[20].module == "Conv"  # row 17 of the base
    assert graph.dead_rows() == []
    assert document["scale"] == "n"


def test_all_forms_name_the_same_model() -> None:
    document = model_yaml("yolo11s.yaml+SE[reduction=8]@neck")
    assert make_variant("yolo11s.yaml", "SE[reduction=8]@neck").yaml == document
    assert make_variant("yolov8n.yaml", "yolo11s.yaml+SE[reduction=8]@neck").yaml == document
    assert model_yaml("yolo11s+SE[reduction=8]@neck.yaml") == document
    assert {**tasks.yaml_model_load("yolo11s+SE[reduction=8]@neck.yaml"), "yaml_file": ""} == {
        **document,
        "yaml_file": "",
    }
    assert lint("yolo11s.yaml+SE[reduction=8]@neck") == []


@pytest.mark.slow
def test_another_process_finds_it_by_its_name(tmp_path: Path) -> None:
    """A worker of multi-GPU training gets a run's arguments and imports yolo_attn."""
    code = """
import sys, yolo_attn
from ultralytics.nn.tasks import DetectionModel
before = "torch._dynamo" in sys.modules
print(DetectionModel("yolov8n+SE@neck.yaml").yaml)
assert before or "torch._dynamo" not in sys.modules, "a second of imports"
"""
    assert python(code, cwd=tmp_path).stdout.count("'SE'") == 3


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base: Any = marked(build("yolov8n.yaml", nc=3))
    base.names = {0: "a", 1: "b", 2: "c"}
    file = tmp_path_factory.mktemp("base") / "best.pt"
    args = {"imgsz": 96, "task": "detect", "data": "digits.yaml", "epochs": 5}
    torch.save({"model": base, "ema": None, "epoch": 3, "optimizer": {}, "train_args": args}, file)
    return file


def test_a_variant_of_a_checkpoint_has_its_weights(checkpoint: Path) -> None:
    model = YOLO(f"{checkpoint}+CBAM[init=identity]@neck")
    report = last_transfer(model.model)
    assert report is not None
    assert report.arrived == report.base == len(build("yolov8n.yaml", nc=3).state_dict())
    assert model.names == {0: "a", 1: "b", 2: "c"}
    assert (model.task, model.overrides["imgsz"]) == ("detect", 96)
    assert model.overrides["model"] == f"{checkpoint}+CBAM[init=identity]@neck.yaml"
    assert model.model.yaml["nc"] == 3
    assert model.model.pt_path == str(checkpoint.with_name("best-cbam.pt"))  # exports have their own name
    assert YOLO("yolov8n.yaml+EMA@inside:C2f").model.pt_path == "yolov8n-ema.pt"  # that every system allows
    assert not model.ckpt.get("optimizer") and model.ckpt  # training begins with the weights and resumes nothing


@pytest.mark.parametrize("channels", [1, 6])
def test_a_variant_reads_as_many_channels_as_its_checkpoint(channels: int, tmp_path: Path) -> None:
    base: Any = marked(tasks.DetectionModel("yolov8n.yaml", ch=channels, nc=3, verbose=False))
    torch.save({"model": base, "ema": None, "train_args": {}}, tmp_path / "best.pt")
    model = YOLO(f"{tmp_path / 'best.pt'}+CBAM[init=identity]@neck").model
    assert torch.equal(model.model[0].conv.weight, base.model[0].conv.weight.float())
    report = last_transfer(model)
    assert report is not None and report.arrived == report.base


def test_a_variant_of_an_open_vocabulary_checkpoint_has_its_classes(tmp_path: Path) -> None:
    """They are no tensors of the state, and a new model has random ones."""
    base: Any = tasks.WorldModel("yolov8s-world.yaml", verbose=False)
    base.txt_feats = torch.full((1, 80, 512), 0.5)
    torch.save({"model": base, "ema": None, "train_args": {"task": "detect"}}, tmp_path / "world.pt")
    model = YOLO(f"{tmp_path / 'world.pt'}+SE[init=identity]@neck").model
    assert torch.equal(model.txt_feats.float(), base.txt_feats)


def test_place_takes_a_model_with_placed_layers(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["place", "model=yolo11n.yaml+SE@neck", "layer=CBAM", "at=backbone.P5"]) == 0
    assert "SE, which" not in capsys.readouterr().err
    placed = model_yaml("yolo11n-se-cbam-backbone-p5.yaml")
    assert rows(placed, "SE", "CBAM") == [(11, "CBAM"), (18, "SE"), (22, "SE"), (26, "SE")]


def test_the_name_is_unknown_after_unregister() -> None:
    unregister()
    try:
        with pytest.raises(Exception, match="SE@neck"):
            YOLO("yolov8n.yaml+SE@neck")
    finally:
        register()
    assert rows(YOLO("yolov8n.yaml+SE@neck").model.yaml, "SE")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolo11n.yaml+CBAM", "variant 'CBAM': write Layer@site or Layer[option=value]@site, such as CBAM@neck"),
        ("yolo11n.yaml+Cbam@neck", "unknown layer 'Cbam'; did you mean CBAM?"),
        ("yolo11n.yaml+CBAM[reductoin=8]@neck", "CBAM has no option 'reductoin'; did you mean reduction?"),
        ("yolo11n.yaml+SE[start=identity]@neck", "SE has no option 'start'; it is now called 'init'"),
        (
            "yolo11n.yaml+CoTAttention[share_planes=4]@neck.P5",
            "CoT has no option 'share_planes'; it is now called 'shared_channels'",
        ),
        ("yolo11n.yaml+GE[size=7]@inside:C3k2", "GE has no option 'size'; it is now called 'grid_size'"),
        (
            "yolo11n.yaml+GMU@neck",
            "GMU reads several rows, but a site is one row; "
            "write [[-1, N], 1, GMU, []] into a YAML, where N is the other row",
        ),
        ("yolo11n.yaml+C3k2_SE@neck", "unknown layer 'C3k2_SE'; did you mean SE@inside:C3k2?"),
        (
            "yolo11n.yaml+C2f_SE@neck",
            "unknown layer 'C2f_SE'; yolo-attn layers lists the layers, and layers=FILE adds custom ones",
        ),  # it has no C2f
        ("yolov11n.yaml+CBAM@neck", "'yolov11n.yaml' does not exist; did you mean yolo11n.yaml+CBAM@neck?"),
        ("yolov11n.pt+CBAM@neck", "yolov11n.pt: no such checkpoint; did you mean yolo11n.pt?"),
        ("yolo11n.yaml+SE@after:23", "site 'after:23': this model's rows before the head are 0 to 22"),
        ("yolo11n.yaml+SE@neck+SE@after:24", "site 'after:24': this model's rows before the head are 0 to 22"),
        ("nowhere/best.pt+SE@neck", "nowhere/best.pt: no such checkpoint"),
    ],
)
def test_invalid_names(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        YOLO(name)
    assert str(caught.value) == message
    for verb in ("train", "export", "predict"):
        assert main([verb, f"model={name}"]) == 2
        assert capsys.readouterr().err == f"yolo-attn: {message}\n"


@pytest.mark.slow
def test_repeated_training(tmp_path: Path) -> None:
    """Train a variant, validate its checkpoint with stock `yolo`, place another layer in it and train again."""
    data = tiny_dataset(tmp_path)
    common = [f"data={data}", "imgsz=32", "workers=0", "device=cpu", "plots=False", f"project={tmp_path}", "epochs=1"]
    call = "import sys; from yolo_attn.cli import main; sys.exit(main(sys.argv[1:]))"
    stock = "import sys; from ultralytics.cfg import entrypoint; entrypoint()"
    python(call, "train", "model=yolov8n.yaml+SE@neck", "freeze=2", "name=a", *common, cwd=tmp_path)
    args = yaml.safe_load((tmp_path / "a" / "args.yaml").read_text())
    assert (args["model"], args["freeze"]) == ("yolov8n+SE@neck.yaml", 2)
    last = tmp_path / "a" / "weights" / "last.pt"
    python(stock, "val", f"model={last}", *common[:-1], cwd=tmp_path)
    done = python(call, "train", f"model={last}+CBAM@backbone.P5", "name=b", *common, cwd=tmp_path)
    assert "355/355 base tensors arrived in their own layers, 6/16 attention tensors; new: row 10 CBAM" in done.stdout
    document = YOLO(tmp_path / "b" / "weights" / "last.pt").model.yaml
    assert rows(document, "SE", "CBAM") == [(10, "CBAM"), (17, "SE"), (21, "SE"), (25, "SE")]
