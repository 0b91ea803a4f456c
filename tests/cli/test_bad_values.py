"""All commands with invalid files and values: one line that names the problem, exit status 2, nothing written."""

from __future__ import annotations

import builtins
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics import YOLO

from tests.cli.helpers import refuse
from yolo_attn.cli import main
from yolo_attn.graph import ModelRef

LAYERS = (
    "SE[reduction=8,init=identity]@neck.P3,neck.P4+CBAM[reduction=8,kernel_size=7,init=identity]@backbone.P3,"
    "backbone.P4,backbone.P5+EMA[groups=8,init=identity]@neck.P3,neck.P4,neck.P5+CA[reduction=8,init=identity]@neck"
    "+SimAM@backbone.P3,backbone.P4,backbone.P5+ECA[init=identity]@backbone.P3,backbone.P4,backbone.P5"
)
LONG = f"yolov8n.yaml+{LAYERS}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files whose contents do not match their names, a valid checkpoint and two images."""
    folder = tmp_path_factory.mktemp("bad")
    good = folder / "good.pt"
    YOLO("yolov8n.yaml+SE@neck.P5").save(good)
    for name in ("folder", "folder.pt", "folder.yaml", "folder.jpg", "images"):
        (folder / name).mkdir()
    for name in ("empty.pt", "empty.yaml", "empty.jpg"):
        (folder / name).touch()
    for name in ("binary.pt", "binary.yaml", "binary.jpg"):
        (folder / name).write_bytes(bytes(range(256)) * 4)
    (folder / "list.yaml").write_text("- a\n- b\n")
    (folder / "text.yaml").write_text("hello\n")
    (folder / "text.pt").write_text("hello\n")
    (folder / "cut.pt").write_bytes(good.read_bytes()[:100_000])
    (folder / "pickled.pt").write_bytes(pickle.dumps({"a": 1}))
    torch.save(torch.zeros(3), folder / "tensor.pt")
    for n in range(2):
        noise = np.random.default_rng(n).integers(0, 255, (64, 64, 3))
        cv2.imwrite(str(folder / "images" / f"{n}.png"), noise.astype(np.uint8))
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


COMMANDS = {
    "profile": ("profile", "model={}"),
    "profile against": ("profile", "model=yolov8n.yaml", "against={}"),
    "maps": ("maps", "model={}", "source=images"),
    "lint": ("lint", "model={}"),
    "place": ("place", "model={}", "layer=SE", "at=neck"),
    "compare": ("compare", "base={}", "data=digits"),
    "train": ("train", "model={}", "data=digits"),
    "val": ("val", "model={}", "data=digits"),
    "predict": ("predict", "model={}", "source=images"),
    "track": ("track", "model={}", "source=images"),
    "export": ("export", "model={}"),
    "benchmark": ("benchmark", "model={}", "data=digits"),
    "tune": ("tune", "model={}", "data=digits"),
}
FILES = [
    *("folder.pt", "folder.yaml", "empty.pt", "empty.yaml", "binary.pt", "binary.yaml", "binary.jpg"),
    *("list.yaml", "text.yaml", "text.pt", "cut.pt", "pickled.pt", "tensor.pt"),
    *("nowhere.yaml", "nowhere/best.pt", "nowhere/x.yaml", "nö whére ☃.yaml", "a\nb.yaml", "x" * 300 + ".yaml"),
    *("nowhere/" + "x" * 300 + ".pt", "y" * 5000 + "/x.yaml"),
]


@pytest.mark.parametrize("file", FILES, ids=lambda name: name[:24])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_not_a_model(command: str, file: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = written(here)
    message = refuse(*(word.format(file) for word in COMMANDS[command]), capsys=capsys)
    named = Path(file).name.split()[0] in message or "too long" in message
    assert named or (command == "track" and "pip install lap" in message)
    assert written(here) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # sizes
        *(
            (f"profile model=yolov8n.yaml imgsz={n}", "imgsz=")
            for n in ("0", "-5", "6.5", "x", "999999999", "9" * 5000)
        ),
        *((f"maps model=good.pt source=images imgsz={n}", "imgsz=") for n in ("0", "-5", "1e9", "999999999")),
        *(
            (f"{verb} model=good.pt imgsz={n}", "imgsz=")
            for verb in ("train data=digits", "val data=digits", "predict source=images", "export", "benchmark")
            for n in ("0", "-64", "64.5", "x", "999999999", "99999999999999999999999")
        ),
        *((f"compare imgsz={n}", "imgsz=") for n in ("0", "-4", "64.5", "999999999", "[64,64]")),
        # batches
        *((f"train model=good.pt data=digits batch={n}", "batch=") for n in ("0", "-5", "x", "2.5")),
        *((f"val model=good.pt data=digits batch={n}", "batch=") for n in ("0", "-1", "0.5", "x")),
        *((f"predict model=good.pt source=images batch={n}", "batch=") for n in ("0", "-1", "0.5")),
        *((f"export model=good.pt batch={n}", "batch=") for n in ("0", "-1")),
        *((f"compare batch={n}", "batch=") for n in ("0", "-1", "2.5", "x")),
        # devices, threads, workers
        *((f"profile model=yolov8n.yaml device={d}", "device=") for d in ("99", "x", "0,1", "meta")),
        *(
            (f"{v} model=good.pt device=99", "device=99")
            for v in ("train data=digits", "predict source=images", "export")
        ),
        *((f"compare device={d}", "device=") for d in ("99", "x", "0,0", "-1")),
        *((f"compare threads={n}", "threads=") for n in ("0", "-1", "1.5", "x", "99999")),
        *((f"compare workers={n}", "workers=") for n in ("0", "-1", "1.5", "x")),
        ("train model=good.pt data=digits workers=-1", "workers=-1"),
        # other numbers
        *((f"train model=yolov8n.yaml data=digits epochs={n}", "epochs=") for n in ("0", "-1", "1.5", "x")),
        *((f"compare epochs={n}", "epochs=") for n in ("0", "-1", "1.5", "x")),
        *((f"compare seeds={n}", "seeds=") for n in ("0", "-1", "1.5", "x", "1,1", "9" * 20)),
        *(
            (f"{verb} lr_attention={n}", "lr_attention=")
            for verb in ("compare", "train")
            for n in ("0", "-1", "x", "nan")
        ),
        # the design of a study
        *((f"compare margin={n}", f"margin={n}: must be a number above 0") for n in ("0", "-1", "x")),
        *((f"compare detect={n} plan=True", f"detect={n}: must be a number above 0") for n in ("0", "-1", "x")),
        ("compare detect=0.5", "detect=0.5: belongs to plan=True"),
        *((f"compare max_seeds={n} seeds=auto", f"max_seeds={n}: ") for n in ("2", "0", "-3", "3.5", "101", "x")),
        ("compare max_seeds=5", "max_seeds=5: belongs to seeds=auto"),
        *((f"compare hours={n} seeds=auto", f"hours={n}: ") for n in ("0", "-1", "x")),
        ("compare hours=2", "hours=2: belongs to seeds=auto"),
        *((f"compare pretrain={n}", f"pretrain={n}: ") for n in ("-1", "1.5", "x")),
        ("compare base=good.pt pretrain=5", "pretrain=5 and base=good.pt: the base is trained already"),
        *((f"compare bases={n}", f"bases={n}: ") for n in ("0", "2", "x")),
        ("compare bases=3 seeds=4", "seeds=4: cannot be dealt out evenly to bases=3"),
        ("compare bases=3 seeds=auto", "seeds=auto: looks after every seed, which needs bases=1"),
        ("compare base=yolov8n.yaml bases=3 seeds=3", "add pretrain="),
        ("compare groups=(", "groups=("),
        *((f"compare {key}=maybe", f"{key}=maybe: must be True or False") for key in ("plan", "no_worse")),
        ("compare controls=other", "unknown control 'other'"),
        *((f"compare {key}", key.split("=")[0]) for key in ("lr0=x", "close_mosaic=-1", "classes=x", "freeze=x")),
        *((f"train model=yolov8n.yaml data=digits {key}", key.split("=")[0]) for key in ("lr0=x", "close_mosaic=-1")),
        (
            "train model=yolov8n.yaml data=digits optimizer=Adamm",
            "optimizer=Adamm: unknown to Ultralytics; did you mean Adam",
        ),
        ("train model=yolov8n.yaml data=digits freeze=-1", "freeze=-1"),
        ("train model=yolov8n.yaml data=digits seed=x", "seed=x"),
        ("predict model=good.pt source=images classes=x", "classes=x"),
        ("predict model=good.pt source=images embed=99", "embed=[10]"),
        ("predict model=good.pt source=images conf=x", "conf=x"),
        ("tune model=yolov8n.yaml data=digits iterations=0", "iterations=0"),
        ("tune model=yolov8n.yaml data=digits iterations=x", "iterations=x"),
        ("export model=good.pt format=onnx opset=99 imgsz=32", "opset"),
        ("export model=good.pt format=nonsense", "nonsense"),
        ("profile model=yolov8n.yaml rounds=0", "rounds=0"),
        # models and layers
        ("profile model=,", "no model is given"),
        ("profile model=yolov8n.yaml+", "Layer@site"),
        ("profile model=yolov8n.yaml+SE@neck.P9", "neck.P9"),
        ("place model=yolov8n.yaml layer=SE at=after:99", "after:99"),
        ("place model=yolov8n.yaml layer=SE at=,", "no site ''"),
        ("place model=yolov8n.yaml layer=SE at=neck reduction=x", "reduction="),
        ("place model=yolov8n.yaml layer=SE at=neck reduction=[", "'['"),
        ("place model=yolov8n.yaml layer=SE at=neck start=identity", "it is now called 'init'"),
        ("place model=yolov8n.yaml layer=SE at=neck out=empty.jpg/x.yaml", "empty.jpg"),
        ("layers nowhere", "nowhere"),
        # images and other sources
        *((f"maps model=good.pt source={s}", s) for s in ("nowhere", "folder", "empty.jpg", "binary.jpg", "list.yaml")),
        ("maps model=good.pt source=images project=empty.jpg", "empty.jpg"),
        *(
            (f"maps model=good.pt source=images point={p}", f"point={p}: use x,y")
            for p in ("1", "x,y", "1,2,3", "nan,1")
        ),
        ("maps model=good.pt source=images point=9999,1", "point=9999,1: outside of "),
        ("maps model=good.pt source=images point=-1,1", "point=-1,1: outside of "),
        ("maps model=good.pt source=images save=gif", "save=gif: use png, pdf, svg, html, npz"),
        ("maps model=good.pt source=images figure=row", "figure=row: use image or layer"),
        ("maps model=good.pt source=images split=val", "split=val: a split is for the name of a dataset"),
        ("maps model=good.pt source=digits split=vall", "split=vall: use train, val, test; did you mean val?"),
        *((f"maps model=good.pt source=images dpi={n}", f"dpi={n}") for n in ("0", "x", "99999")),
        *((f"maps model=good.pt source=images conf={n}", f"conf={n}") for n in ("x", "-1", "2", "nan")),
        ("maps model=good.pt source=images vid_stride=0", "vid_stride=0"),
        ("maps model=good.pt source=images heads=maybe", "heads=maybe"),
        *(
            (f"predict model=good.pt source={s}", s)
            for s in ("nowhere", "nowhere.jpg", "folder", "folder.jpg", "list.yaml")
        ),
        ("predict model=good.pt source=99", "cannot be opened"),
        # weights and runs
        *(
            (f"train model=yolov8n.yaml data=digits pretrained={p}", f"{p}: ")
            for p in ("folder", "folder.pt", "nowhere", "nowhere.pt", "binary.jpg", "cut.pt", "tensor.pt", "empty.pt")
        ),
        *((f"train resume model={p}", f"{p}: ") for p in ("cut.pt", "folder.pt", "tensor.pt", "nowhere.pt")),
        *((f"train resume={p}", p) for p in ("tensor.pt", "folder.pt", "nowhere.pt")),
        ("train resume=maybe", "model=runs/detect/train/weights/last.pt"),
        ("train resume=maybe model=good.pt", "resume=maybe"),
        # datasets and studies
        *(
            (f"{command}data={d}", d)
            for command in ("train model=yolov8n.yaml ", "val model=good.pt ", "compare ")
            for d in ("folder", "folder.yaml", "list.yaml", "text.yaml", "empty.yaml", "binary.yaml", "nowhere.yaml")
        ),
        *((f"compare study={s}", s) for s in ("folder", "nowhere.yaml", "list.yaml", "empty.yaml", "binary.yaml")),
        ("compare project=empty.jpg", "empty.jpg"),
        *((f"report from={s}", s) for s in ("folder", "nowhere", "empty.jpg")),
        # keys
        *((f"{v} model= data=digits", "model= is empty") for v in ("train", "val", "export")),
        ("predict model=good.pt source=", "source= is empty"),
        ("train model=good.pt cfg=nowhere.yaml", "nowhere.yaml"),
        ("train val model=good.pt data=digits", "one command"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_value(words: str, expected: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {name for name in written(here) if not name.startswith("runs")}
    assert expected in refuse(*words.split(), capsys=capsys)
    assert {name for name in written(here) if not name.startswith("runs")} == before


def test_a_file_without_read_permission(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """The tests may run as root, so the system's error is simulated."""

    def refused(original: Callable[..., Any]) -> Callable[..., Any]:
        def open_(file: Any, *args: Any, **kwargs: Any) -> Any:
            if str(file).endswith(("good.pt", "mine.yaml")):
                raise PermissionError(13, "Permission denied", str(file))
            return original(file, *args, **kwargs)

        return open_

    (here / "mine.yaml").write_text("nc: 80\n")
    monkeypatch.setattr(io, "open", refused(io.open))
    monkeypatch.setattr(builtins, "open", refused(builtins.open))
    for file in ("good.pt", "mine.yaml"):
        for command in ("profile", "maps", "lint", "place", "train", "val", "export"):
            message = refuse(*(word.format(file) for word in COMMANDS[command]), capsys=capsys)
            assert f"{file}: " in message and "ermission" in message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("Storage size calculation overflowed with sizes=[1, 3, 1000000000, 1000000000]"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 3000 bytes"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize(
    "words",
    [
        "profile model=good.pt",
        pytest.param("maps model=good.pt source=images", marks=pytest.mark.slow),
        pytest.param("export model=good.pt", marks=pytest.mark.slow),
    ],
)
def test_out_of_memory(words: str, error: Exception, here: Path, capsys, monkeypatch) -> None:
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr("ultralytics.nn.tasks.BaseModel.forward", forward)
    message = "not enough memory; give a smaller imgsz=, or batch= if the command has it"
    assert message in refuse(*words.split(), capsys=capsys)


@pytest.mark.parametrize(
    ("form", "needs"),
    [
        ("ncnn", ("ncnn", "ncnn pnnx")),
        ("openvino", ("openvino", "openvino")),
        ("paddle", ("x2paddle", "x2paddle paddlepaddle")),
        ("rknn", ("rknn", "rknn-toolkit2")),
    ],
)
def test_a_missing_package(form: str, needs: tuple[str, str], here: Path, capsys, monkeypatch) -> None:
    module, packages = needs

    def import_(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return original(name, *args, **kwargs)

    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", import_)
    message = refuse("export", f"format={form}", "model=good.pt", "imgsz=32", capsys=capsys)
    assert message.endswith(f"this requires {module}, which is not installed: pip install {packages}")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("format=torchscript quantize=16", "FP16 TorchScript export is only supported on GPU"),
        ("format=ncnn dynamic=True", "argument 'dynamic' is not supported for format='ncnn'"),
        ("format=nothing", "Invalid export format='nothing'"),
    ],
)
def test_an_export_that_ultralytics_rejects(words: str, problem: str, here: Path, capsys) -> None:
    assert problem in refuse("export", *words.split(), "model=good.pt", "imgsz=32", capsys=capsys)


@pytest.mark.slow
def test_a_long_model_reference_works_in_every_command(fresh_folder: Path, folder: Path, capsys) -> None:
    assert len(LONG) > 255
    for words in (
        ("profile", "imgsz=32", "rounds=1"),
        ("maps", f"source={folder / 'images'}", "imgsz=32"),
        ("lint",),
        ("place", "layer=SE", "at=neck"),
        ("predict", f"source={folder / 'images'}", "imgsz=32"),
        ("export", "imgsz=32"),
    ):
        status = main([*words, f"model={LONG}"])
        assert status == 0, capsys.readouterr().err


def test_the_stem_of_many_layers_is_a_valid_file_name() -> None:
    many = "yolo11n.yaml" + "+CBAM@neck" * 60
    names = {ModelRef.parse(f"{many}+{last}").stem for last in ("SE@neck", "CA@neck")}
    assert len(names) == 2
    assert all(len(os.fsencode(name)) <= 100 and name.startswith("yolo11n-cbam") for name in names)
