"""The command line: commands, help pages, and one line with exit status 2 for invalid input."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import yolo_attn
from tests.cli.helpers import refuse, run
from tests.host.helpers import tiny_dataset
from yolo_attn import cards
from yolo_attn.cli import main
from yolo_attn.cli.commands import find_command
from yolo_attn.cli.stock import prepare_words
from yolo_attn.errors import UserError
from yolo_attn.graph.sites import SITE_KINDS
from yolo_attn.host.arguments import read_words
from yolo_attn.study.specification.controls import CONTROLS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "words",
    [
        *((), ("help",), ("--help",), ("help", "layers"), ("help", "compare"), ("help", "train")),
        *(("compare", "--help"), ("profile", "-h"), ("train", "--help")),
    ],
)
def test_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(*words, capsys=capsys)
    assert status == 0
    assert "yolo-attn" in out


def test_help_describes_every_kind_of_site_and_every_control(capsys: pytest.CaptureFixture[str]) -> None:
    _, place, _ = run("help", "place", capsys=capsys)
    _, compare, _ = run("help", "compare", capsys=capsys)
    for kind in SITE_KINDS:
        assert f"{kind.form} ({kind.summary})" in place
        assert kind.form in compare
    for name, control in CONTROLS.items():
        assert f"{name} ({control.summary})" in compare
    assert max(map(len, (place + compare).splitlines())) <= 120


def test_version_prints_yolo_attn_and_ultralytics(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    _, out, _ = run("--version", capsys=capsys)
    assert f"yolo-attn {yolo_attn.__version__}" in out
    assert version("ultralytics") in out


@pytest.mark.slow
def test_a_placed_file_does_not_take_the_name_of_a_config(
    fresh_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, name in (("neck.P4,after:10", "yolo11-cbam-neck-p4-after-10"), ("backbone", "yolo11-cbam-backbone-placed")):
        _, out, _ = run("place", "model=yolo11n.yaml", "layer=CBAM", f"at={at}", capsys=capsys)
        assert f"written: {name}.yaml" in out
        assert Path(f"{name}.yaml").is_file()
        assert not (ROOT / "configs" / f"{name}.yaml").exists()


def test_layers_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("layers", capsys=capsys)
    assert status == 0
    for spec in yolo_attn.list_layers():
        assert spec.name in out
    _, out, _ = run("layers", "family=spatial", capsys=capsys)
    assert "CBAMSpatial" in out
    assert "GAM" not in out


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_layers_fits_the_terminal_and_describes_each_layer(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run("layers", capsys=capsys)
    assert max(map(len, out.splitlines())) <= columns
    flat = " ".join(out.split())
    for spec in yolo_attn.list_layers():
        start = rf"^{spec.name} +{spec.inputs}\+? +{cards.parameters(spec):,}  "
        assert re.search(start, out, re.MULTILINE), spec.name
        assert spec.summary.split()[0] in flat
    assert out.count("\n") > len(yolo_attn.list_layers())
    assert ("cost" in out.splitlines()[0]) is (columns == 200)
    if columns == 200:
        assert all(spec.summary in out for spec in yolo_attn.list_layers())


@pytest.mark.parametrize(
    ("given", "name"), [("cbam", "CBAM"), ("SIMAM", "SimAM"), ("coordatt", "CA"), ("irmb", "iRMB")]
)
def test_layers_accepts_names_in_any_case(given: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("layers", given, capsys=capsys)
    assert status == 0
    assert out.startswith(f"{name}: ")


def test_a_card_names_the_ready_configs_with_the_layer(capsys: pytest.CaptureFixture[str]) -> None:
    named: set[str] = set()
    for spec in yolo_attn.list_layers():
        _, out, _ = run("layers", spec.name, capsys=capsys)
        here = set(re.findall(r"yolo\w+-\S+\.yaml", out))
        assert here == set(cards.ready_configs(spec))
        assert not named & here
        named |= here
    files = {re.sub(r"(yolo(?:11|26|v8))n", r"\1", name) for name in named}
    assert files == {path.name for path in (ROOT / "configs").glob("*.yaml")}


def test_layers_as_json_contains_the_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("layers", "cbam", "format=json", capsys=capsys)
    (entry,) = json.loads(out)
    record = cards.measured()
    assert entry["measured"] == {
        **record["layers"]["CBAM"],
        **{key: record[key] for key in ("date", "machine", "versions", "infer_shape", "train_shape")},
    }
    assert "yolo11n-cbam.yaml" in entry["configs"]


def test_layers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("layers", "format=json", capsys=capsys)
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert entries["SE"]["params_256"] == 8192
    assert "SEAttention" in entries["SE"]["aliases"]
    assert entries["iRMB"]["norms"][0] == {"name": "norm", "kind": "batch norm", "eps": 1e-6, "momentum": 0.1}
    assert entries["GC"]["norms"] == [{"name": "norm", "kind": "layer norm", "eps": 1e-5, "momentum": None}]
    assert entries["SE"]["norms"] == []
    keys = {"name", "aliases", "family", "inputs", "paper", "year", "url", "repository", "params_256", "summary"}
    assert all(keys <= set(entry) for entry in entries.values())


@pytest.mark.parametrize("spec", yolo_attn.list_layers(), ids=lambda s: s.name)
def test_a_card_is_complete(spec: yolo_attn.LayerSpec, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("layers", spec.name, capsys=capsys)
    assert status == 0
    assert f", 1, {spec.name}, []]" in out
    assert spec.url in out
    for option in spec.options:
        assert option in out
    row = yaml.safe_load(next(line for line in out.splitlines() if line.strip().startswith("- [")))
    assert row[0][2] == spec.name


def test_a_card_lists_the_norms(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run("layers", "CoT", capsys=capsys)
    assert "5 batch norms with eps 1e-05, momentum 0.1; 1 group norm with eps 1e-05" in " ".join(out.split())
    _, out, _ = run("layers", "SE", capsys=capsys)
    assert "norms" not in out


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("doctor", "format=json", capsys=capsys)
    report = json.loads(out)
    assert status == 0
    assert report["problems"] == []
    assert all(report["bindings"].values())


def test_doctor_finds_a_binding_that_other_code_replaced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.nn import tasks

    monkeypatch.setattr(tasks, "parse_model", functools.partial(tasks.parse_model))
    status, out, _ = run("doctor", capsys=capsys)
    assert status == 1
    assert "problem: ultralytics.nn.tasks.parse_model" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("trian", "model=x.yaml"), "did you mean train?"),
        (("layers", "Cbm"), "did you mean CBAM?"),
        (("layers", "SE", "CA"), "one layer at a time"),
        (("layers", "familie=channel"), "did you mean family?"),
        (("layers", "family=chanel"), "did you mean channel?"),
        (("layers", "format=xml"), "use text or json"),
        (("layers", "format=json", "format=text"), "given twice"),
        (("help", "layrs"), "did you mean layers?"),
        (("train", "model=nowhere.yaml"), "does not exist"),
        (("train", "model=yolo11n-cbm.yaml"), "did you mean yolo11n-cbam.yaml?"),
        (("train", "model=yolo11n.yaml", "epohs=3"), "did you mean epochs?"),
        (
            ("place", "model=yolo11n.yaml", "layer=SE", "at=neck", "start=identity"),
            "start is neither a key of place nor an option of SE; it is now called 'init'",
        ),
        (("train", "modell"), "is not key=value"),
        (("val", "model=nowhere/best.pt"), "no such checkpoint"),
        (("train", "model=yolo11n.yaml", "data=digitz"), "digits"),
        (("train", "model=yolo11n.yaml", "data=nowhere.yaml"), "nowhere.yaml"),
        (("train", "model=yolo11n-se.yaml", "data=digits", "imgsz=abc"), "imgsz=abc"),
        (("train", "model=yolo11n-se.yaml", "data=digits", "epochs=x"), "epochs=x"),
        (("train", "model=yolo11n.yaml+SE[reduction=8@neck"), "unmatched '[' or ']'"),
        (("train", "model=yolo11n-se.yaml", "pretrained=best.pt+SE@neck"), "write the layers in model="),
        (("train", "model=yolo11n-se.yaml", "pretrained=yolo11n.yaml"), "pretrained= takes a checkpoint"),
        (("train", "model=yolo11n-se.yaml", "freeze=[0,cv2]"), "[0,1,22.cv2]"),
        (("train", "resume=True"), "model=runs/detect/train/weights/last.pt"),
        (("train", "resume"), "model=runs/detect/train/weights/last.pt"),
        (("train", "resume=runs/last.pt"), "runs/last.pt: no such checkpoint"),
        (("lint", "model=odd.png"), "odd.png: not the name of a model YAML"),
        (
            ("place", "model=yolo11n.yaml", "layer=SE", "at=neck", "out=."),
            "out=.: this is a folder; give a file, such as out=mine.yaml",
        ),
        (("place", "model=yolo11n.yaml", "layer=SE", "at=neck", "exist_ok=maybe"), "must be True or False"),
        (("compare", "variant=SE@neck"), "variants"),
        (("compare", "variants"), "not key=value"),
    ],
)
def test_invalid_input_is_one_line(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str], fresh_folder: Path
) -> None:
    assert expected in refuse(*words, capsys=capsys)
    assert list(fresh_folder.iterdir()) == []


@pytest.fixture
def model_file(fresh_folder: Path) -> Path:
    """YOLO11n-CBAM as a user's file."""
    path = fresh_folder / "mine.yaml"
    shutil.copy(ROOT / "configs" / "yolo11-cbam.yaml", path)
    return path


def _edit(path: Path, section: str, index: int, row: list) -> None:
    document = yaml.safe_load(path.read_text())
    document[section][index] = row
    path.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([-1, 1, "Cbam", []], "row 17: unknown layer 'Cbam'; did you mean CBAM?"),
        ([-1, 1, "CBAM", [256, 16]], "row 17: CBAM takes its options by name"),
        ([-1, 1, "CBAM", [{"ratio": 8}]], "row 17: CBAM has no option 'ratio'"),
        ([-1, 1, "CBAM", [{"kernel_size": 4}]], "row 17: CBAM"),
        ([30, 1, "CBAM", []], "row 17: CBAM: from 30 points forward"),
        ([-40, 1, "CBAM", []], "row 17: CBAM: from -40 points to a row before the first"),
    ],
)
def test_a_bad_row_is_one_line_and_nothing_is_written(
    model_file: Path, row: list, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(model_file, "head", 6, row)
    assert expected in refuse("train", f"model={model_file}", "data=coco8.yaml", "epochs=1", capsys=capsys)
    assert [p.name for p in model_file.parent.iterdir()] == ["mine.yaml"]


def test_a_row_without_consumer_is_one_line(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _edit(model_file, "head", -1, [[17, 21, 24], 1, "Detect", ["nc"]])
    assert "row 25: CBAM is not read by any row" in refuse(
        "train", f"model={model_file}", "data=coco8.yaml", capsys=capsys
    )


def test_channels_a_layer_cannot_take(model_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torch import nn

    @yolo_attn.register_layer(family="block", summary="needs many channels")
    class Picky(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            if channels % 1000:
                raise ValueError(f"Picky: channels={channels}; use a multiple of 1000")

    try:
        _edit(model_file, "head", 6, [-1, 1, "Picky", []])
        line = refuse("train", f"model={model_file}", "data=coco8.yaml", capsys=capsys)
        assert "row 17: Picky: channels=64; use a multiple of 1000" in line
    finally:
        yolo_attn.registry.unregister_layer("Picky")


def test_a_broken_checkpoint_is_one_line(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fresh_folder / "cut.pt").write_bytes(b"PK\x03\x04 cut short")
    assert "truncated or damaged" in refuse("val", "model=cut.pt", "data=coco8.yaml", capsys=capsys)
    torch.save({"weights": torch.zeros(3)}, fresh_folder / "other.pt")
    assert "other.pt" in refuse("predict", "model=other.pt", "source=x.jpg", capsys=capsys)


def test_a_full_disk_is_one_line() -> None:

    from yolo_attn.host.error_messages import stock_message

    full = stock_message(OSError(errno.ENOSPC, "No space left on device", "runs/x.pt"))
    assert full is not None
    assert "runs/x.pt: no space left on the disk" in full
    assert "no space left" in (
        stock_message(RuntimeError("[enforce fail] PytorchStreamWriter failed writing file")) or ""
    )
    assert stock_message(KeyError("a bug")) is None


SCRIPTS = ("train", *(pytest.param(name, marks=pytest.mark.slow) for name in ("val", "predict", "export", "compare")))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_run_the_commands(script: str, fresh_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / f"{script}.py", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "nonsense" in done.stderr


@pytest.mark.parametrize("verb", ["train", "predict"])
def test_an_image_is_not_a_model(verb: str, fresh_folder: Path, capsys) -> None:
    Path("odd.png").touch()
    assert "odd.png" in refuse(verb, "model=odd.png", "data=digits", capsys=capsys)


def test_a_failed_download_is_one_line() -> None:
    from yolo_attn.host.error_messages import stock_message

    for reason in ("Environment may be offline.", "Environment is not online.", "Retry limit reached."):
        message = stock_message(ConnectionError(f"❌  Download failure for https://a.b/c/yolo11n.pt. {reason}"))
        assert message is not None
        assert message.startswith("yolo11n.pt: not found, and it could not be downloaded (Download f")
        assert message.endswith("; download it by hand, or give its path")


def test_resume_sets_the_model() -> None:
    from yolo_attn.host.arguments import with_resumed_model

    assert with_resumed_model(["train", "resume=a/last.pt"]) == ["train", "resume=a/last.pt", "model=a/last.pt"]
    for words in (["train", "resume", "model=a.pt"], ["train", "resume=False"], ["val", "resume=True"]):
        assert with_resumed_model(words) == words


def test_a_number_with_an_exponent_as_an_option(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("model=yolov8n.yaml", "layer=SimAM", "at=neck.P5", "e_lambda=1e-4", "out=mine.yaml")
    assert run("place", *words, capsys=capsys)[0] == 0
    assert "e_lambda: 0.0001" in Path("mine.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train model=a.yaml", "train model=a.yaml"),
        ("mode=train model=a.yaml", "train model=a.yaml"),
        ("task=detect mode=train model=a.yaml", "train task=detect model=a.yaml"),
        ("detect train model=a.yaml", "train detect model=a.yaml"),
        ("model=a.yaml, val data=b.yaml,", "val model=a.yaml, data=b.yaml,"),
        ("detect model=a.yaml", "detect model=a.yaml"),
        ("train task=detect mode=train", "train task=detect mode=train"),
        ("settings sync=False", "settings sync=False"),
        ("layers train", "layers train"),
    ],
)
def test_a_command_may_follow_its_keys(words: str, expected: str) -> None:
    command, rest = find_command(words.split())
    assert [command.name, *rest] == expected.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("mode=trian", "model=yolo11n.yaml"), "unknown command 'trian'; did you mean train?"),
        (("model=yolo11n.yaml",), "unknown command 'model=yolo11n.yaml'"),
        (("train", "mode=val", "model=yolo11n.yaml"), "train and val: give one command"),
        (("task=detect", "mode=train", "model=yolo11n-cbm.yaml,"), "did you mean yolo11n-cbam.yaml?"),
        (("model=yolo11n.yaml", "train", "data=digitz,"), "unknown dataset 'digitz'; did you mean digits?"),
    ],
)
def test_a_command_after_its_keys_is_checked(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str], fresh_folder: Path
) -> None:
    assert expected in refuse(*words, capsys=capsys)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--model x.yaml --data=digits --exist-ok --imgsz 64", "model=x.yaml data=digits exist_ok=True imgsz=64"),
        ("detect --half", "detect half=True"),
        ("--resume model=a.pt", "resume=True model=a.pt"),
        ("--model yolo11n.yaml+SE[reduction=8]@neck --seeds 3", "model=yolo11n.yaml+SE[reduction=8]@neck seeds=3"),
        ("--device -1 --seed=-1 -x", "device=-1 seed=-1 -x"),
        ("model=a--b.yaml name=--c", "model=a--b.yaml name=--c"),
    ],
)
def test_words_with_dashes_are_converted(words: str, expected: str) -> None:
    from yolo_attn.cli.words import without_dashes

    assert without_dashes(words.split()) == expected.split()


def test_every_command_accepts_dashes(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def same(plain: str, dashed: str) -> str:
        first, second = (run(*words.split(), capsys=capsys) for words in (plain, dashed))
        assert first == second
        return first[1] + first[2]

    assert "CBAM" in same("layers family=hybrid format=json", "layers --family hybrid --format=json")
    same("doctor format=json", "doctor --format json")
    words = "place model=yolov8n.yaml layer=SE at=neck init=identity exist_ok=True out=a.yaml"
    assert "written: a.yaml" in same(words, re.sub(r"(\w+)=(\S+)", r"--\1 \2", words))
    assert "no problems found" in same("lint model=a.yaml", "lint --model a.yaml")
    for verb, key in (
        ("train", "epohs"),
        ("compare", "seedz"),
        ("maps", "modell"),
        ("report", "form"),
        ("profile", "devise"),
    ):
        assert f"unknown key {key!r}" in same(f"{verb} {key}=3", f"{verb} --{key} 3")
    assert "nowhere.pt" in same("val model=nowhere.pt", "val --model=nowhere.pt")
    for words in ("train --model x -h", "compare -h --seeds 3", "place --help"):
        status, out, _ = run(*words.split(), capsys=capsys)
        assert status == 0 and "yolo-attn" in out


def test_a_placed_file_can_be_given_as_a_model(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("place", "model=yolov8n.yaml", "layer=SE", "at=neck")
    for given, name in (("foo", "foo.yaml"), ("sub/foo", "sub/foo.yaml"), ("bar.yml", "bar.yml")):
        _, out, _ = run(*words, f"out={given}", capsys=capsys)
        assert f"written: {name}" in out
        assert run("lint", f"model={name}", capsys=capsys)[0] == 0
    assert "foo.yaml exists and was kept" in refuse(*words, "out=foo", capsys=capsys)
    for given, right in (("foo.txt", "foo.yaml"), ("yolo-x0.5", "yolo-x0.5.yaml"), ("new/", "new/mine.yaml")):
        assert refuse(*words, f"out={given}", capsys=capsys).endswith(f"out={right}")
    assert sorted(str(p) for p in Path().rglob("*")) == ["bar.yml", "foo.yaml", "sub", "sub/foo.yaml"]


def test_a_file_that_cannot_be_written_is_reported_with_its_key(fresh_folder: Path, capsys) -> None:
    Path("file").touch()
    line = refuse("place", "model=yolov8n.yaml", "layer=SE", "at=neck", "out=file/mine.yaml", capsys=capsys)
    assert line.endswith("with out=FILE")


def test_disk_errors_without_a_file_name_are_reported() -> None:

    from yolo_attn.host.error_messages import stock_message

    assert (stock_message(OSError(errno.ENOSPC, "No space left on device")) or "").startswith(
        "the output: no space left"
    )


def test_several_datasets_are_resolved_one_by_one(fresh_folder: Path) -> None:
    from yolo_attn.cli.stock import prepare_words

    for name in ("one", "two"):
        (fresh_folder / name).mkdir()
        tiny_dataset(fresh_folder / name).rename(fresh_folder / f"{name}.yaml")
    words = prepare_words(["train", "model=yolo11n-se.yaml", "data=['one.yaml', 'two.yaml']"])
    assert words[2] == f"data={[str(fresh_folder / 'one.yaml'), str(fresh_folder / 'two.yaml')]}"
    with pytest.raises(UserError, match="there"):
        prepare_words(["train", "model=yolo11n-se.yaml", "data=['one.yaml', 'missing/three.yaml']"])


def test_a_recipe_becomes_training_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    from yolo_attn.cli.stock import prepare_words

    words = prepare_words(["train", "model=yolo11n-se.yaml", "recipe=digits", "epochs=3"])
    assert words[:3] == ["train", "model=yolo11n-se.yaml", "epochs=3"]
    assert "optimizer=AdamW" in words and "epochs=12" not in words and "recipe=digits" not in words
    twice = prepare_words(["train", "model=yolo11n-se.yaml", "recipe=coco8", "recipe=digits"])
    assert "epochs=12" in twice and not any(word.startswith("recipe=") for word in twice)
    line = refuse("train", "model=yolo11n-se.yaml", "recipe=coco8", capsys=capsys)
    assert line == "yolo-attn: recipe=coco8: datasets.yaml has a recipe for digits"
    assert "unknown key 'recipe'" in refuse("val", "model=yolo11n-se.yaml", "recipe=digits", capsys=capsys)


def test_a_source_may_be_a_dataset(fresh_folder: Path) -> None:
    from yolo_attn.cli.stock import prepare_words
    from yolo_attn.host.installation import datasets_folder

    images = datasets_folder() / "digits" / "images" / "val"
    assert prepare_words(["predict", "model=yolo11n-se.yaml", "source=digits"])[2] == f"source={images}"
    Path("digits").mkdir()  # a user's folder
    assert prepare_words(["predict", "model=yolo11n-se.yaml", "source=digits"])[2] == "source=digits"


def damaged_dataset(folder: Path, *, usable: bool) -> Path:
    """Write a dataset of four images, of which one (usable) or three cannot be read."""
    for split in ("train", "val"):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(4):
            readable = number >= (1 if usable or split == "val" else 3)
            image = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
            (folder / "images" / split / f"{number}.png").write_bytes(image if readable else image[:40])
            (folder / "labels" / split / f"{number}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    path = folder / "data.yaml"
    path.write_text(f"path: {folder}\ntrain: images/train\nval: images/val\nnames: [a]\n")
    return path


@pytest.mark.parametrize("verb", ["train", "val"])
def test_problems_of_the_data_are_printed_before_anything_runs(
    verb: str, fresh_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolo_attn.host.command.run_stock", lambda words: print("runs now"))
    data = damaged_dataset(fresh_folder / "set", usable=True)
    assert main([verb, "model=yolo11n.yaml", f"data={data}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    train = "train 3 images, 3 objects; " if verb == "train" else ""  # val reads only its own images
    assert lines[0].startswith(f"yolo-attn: data: {train}val 3 images, 3 objects; skipped in {verb}: ")
    assert "1 unreadable image (images/val/0.png: " in lines[0]
    assert lines[1] == "runs now"


def test_mostly_unusable_data_stops_every_command(fresh_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = damaged_dataset(fresh_folder / "set", usable=False)
    for words in (["train", "model=yolo11n.yaml"], ["compare", "base=yolo11n.yaml", "variants=SE@neck"]):
        assert "3 of 4 images of train cannot be used" in refuse(*words, f"data={data}", capsys=capsys)


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("val model=yolo11n-se.yaml data=mine/data.yaml", None),
        ("val model=yolo11n-se.yaml data=mine/data.yaml split=test", "has no test split"),
        ("predict model=yolo11n-se.yaml data=mine/data.yaml source=mine", None),
        ("train model=yolo11n-se.yaml data=mine/data.yaml", "the images of train are not at"),
    ],
)
def test_only_images_that_a_command_reads_must_be_there(words: str, refused: str | None, fresh_folder: Path) -> None:
    Path("mine").mkdir()
    data = tiny_dataset(Path("mine").absolute())
    data.write_text(data.read_text().replace("train: images", "train: images/lost"))
    if refused is None:
        assert [word for word in prepare_words(words.split()) if word.startswith("data=")]
    else:
        with pytest.raises(UserError, match=refused):
            prepare_words(words.split())


def test_classes_that_count_as_one_are_not_checked(fresh_folder: Path) -> None:
    data = tiny_dataset(fresh_folder)
    for label in fresh_folder.rglob("*.txt"):
        label.write_text(label.read_text().replace("0 ", "7 ", 1))
    words = ["train", "model=yolo11n-se.yaml", f"data={data}"]
    with pytest.raises(UserError, match="class 7 is not one of the classes 0 to 0"):
        prepare_words(words)
    assert prepare_words([*words, "single_cls=True"])[-1] == "single_cls=True"


def test_names_that_are_not_utf8_are_printed(fresh_folder: Path) -> None:
    """Archives made with a Chinese Windows leave such names on Linux."""
    bad = os.fsdecode("\u8857\u9053.png".encode("gbk"))
    code = f"from yolo_attn.cli import main; import sys; sys.exit(main(['maps', 'model=yolo11n.yaml', {bad!r}]))"
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert b"\\udcbd" in done.stderr


def test_what_cannot_be_read_is_not_called_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolo_attn.host.error_messages import environment_message

    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path))
    assert "cannot be written (no permission)" in (environment_message(error) or "")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert environment_message(error) == f"{tmp_path}: cannot be read (no permission); change its permissions"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("maps", "model=yolo11n-se.yaml", "source=~nobody_here.png"), "no such image, video or folder"),
        (("train", "model=yolo11n-se.yaml", "data=~nobody_here/data.yaml"), "there is no data YAML"),
        (("report", "from=~nobody_here"), "~nobody_here"),
    ],
)
def test_a_name_that_begins_with_a_tilde_is_not_a_home(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str], fresh_folder: Path
) -> None:
    assert expected in refuse(*words, capsys=capsys)


def test_a_command_that_is_given_twice_is_one() -> None:
    """Ultralytics' tune() starts trainings as train mode=train."""
    assert "train" in read_words(["train", "task=detect", "mode=train"])


@pytest.mark.parametrize("words", [("detect", "model=yolo11n-cbam.yaml", "source=digits"), ("pose",)])
def test_a_task_without_a_command_trains_nothing(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Ultralytics trains then, on its default dataset."""
    message = refuse(*words, capsys=capsys)
    assert message.endswith(f"{words[0]}: a task needs a command; for example: yolo-attn {words[0]} train model=...")
