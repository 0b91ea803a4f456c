"""Third-party checkpoints, label caches and data YAMLs run no code in the commands of yolo-attn."""

from __future__ import annotations

import copy
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from ultralytics.data import dataset
from ultralytics.data import utils as data_utils
from ultralytics.nn import tasks

from tests.host.helpers import build, python, tiny_dataset, with_row
from tests.host.test_hostile_models import HERE, Payload
from yolo_attn import UserError, register_layer
from yolo_attn.cli import main
from yolo_attn.host.checkpoint import check_checkpoint, read_checkpoint
from yolo_attn.host.documents import model_yaml
from yolo_attn.host.installation import stock_data_yamls
from yolo_attn.host.label_cache import CacheError, read_cache
from yolo_attn.host.restricted import is_restricted, restricted, restricts_checkpoints
from yolo_attn.layers.base import Gate
from yolo_attn.registry import unregister_layer
from yolo_attn.security.trust import TRUST, is_script, refuse_script, trusting

needs_restriction = pytest.mark.skipif(not restricts_checkpoints(), reason="this Ultralytics opens everything")
SCRIPT = f"open({HERE!r}, 'w').close()"


def write_checkpoint(file: Path, model: nn.Module, **extra: Any) -> Path:
    model.args = {"task": "detect", "model": "mine.yaml", "imgsz": 32}
    content = {"epoch": 0, "model": model.half(), "ema": None, "optimizer": {"state": {}}, "train_args": model.args}
    torch.save({**content, **extra}, file)
    return file


@pytest.fixture
def folder(fresh_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(TRUST, raising=False)
    monkeypatch.delenv("ULTRALYTICS_SAFE_LOAD", raising=False)
    return fresh_folder


@pytest.fixture
def hostile(folder: Path) -> Path:
    """A working checkpoint of a stock model that writes a file when it is unpickled."""
    return write_checkpoint(folder / "received.pt", build(model_yaml("yolo11n.yaml")), git=Payload())


def one_line(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 2) -> str:
    """Run a command that must refuse in one line, and return the line."""
    capsys.readouterr()
    assert main(words) == status, capsys.readouterr()
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    (line,) = (line for line in captured.err.splitlines() if line.startswith("yolo-attn: "))
    return line


# --- checkpoints ------------------------------------------------------------------------------------------------


@needs_restriction
@pytest.mark.parametrize(
    "words",
    [
        ["predict", "model=received.pt", "source=image.png"],
        ["val", "model=received.pt", "data=data.yaml"],
        ["train", "model=received.pt", "data=data.yaml", "epochs=1", "imgsz=32"],
        ["train", "model=yolo11n.yaml", "pretrained=received.pt", "data=data.yaml", "epochs=1", "imgsz=32"],
        ["train", "model=received.pt+SE@neck", "data=data.yaml", "epochs=1", "imgsz=32"],
        ["train", "resume", "model=received.pt"],
        ["tune", "model=received.pt", "data=data.yaml", "epochs=1", "iterations=1"],
        ["export", "model=received.pt", "imgsz=32"],
        ["benchmark", "model=received.pt", "data=data.yaml", "imgsz=32"],
        ["place", "model=received.pt", "layer=SE", "at=neck"],
        ["lint", "model=received.pt"],
        ["profile", "model=received.pt", "imgsz=32"],
        ["maps", "model=received.pt", "source=image.png"],
        ["compare", "base=received.pt", "variants=SE@neck", "data=data.yaml", "project=runs"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_no_command_runs_the_code_of_a_checkpoint(words: list[str], hostile: Path, capsys) -> None:
    tiny_dataset(hostile.parent)
    line = one_line([*words, *(["project=runs"] if words[0] in ("train", "val", "tune") else [])], capsys)
    assert "received.pt: not opened" in line and "builtins.exec" in line
    assert "layers=FILE" in line and f"trust=True (or {TRUST}=1)" in line
    assert not Path(HERE).exists()


@needs_restriction
def test_a_checkpoint_in_the_format_of_old_pytorch(folder: Path, capsys) -> None:
    torch.save({"model": Payload(), "owner": "ultralytics"}, "old.pt", _use_new_zipfile_serialization=False)
    assert "old.pt: not opened" in one_line(["val", "model=old.pt"], capsys)
    assert not Path(HERE).exists()


@pytest.mark.parametrize("how", ["option", "environment", "an option against the environment"])
def test_trust_opens_what_is_refused(how: str, hostile: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    option = {"option": ["trust=True"], "environment": []}.get(how, ["trust=False"])
    if how != "option":
        monkeypatch.setenv(TRUST, "1")
    status = main(["place", "model=received.pt", "layer=SE", "at=neck", *option])
    if restricts_checkpoints():
        assert Path(HERE).exists() == (option != ["trust=False"])
        assert status == (2 if option == ["trust=False"] else 0)
    assert not is_restricted()


def test_trust_is_true_or_false(folder: Path, capsys) -> None:
    assert "trust=maybe: must be True or False" in one_line(["lint", "model=yolo11n.yaml", "trust=maybe"], capsys)


@needs_restriction
def test_reading_a_checkpoint_in_python_runs_nothing_either(hostile: Path) -> None:
    with pytest.raises(UserError, match="not opened"):
        read_checkpoint(hostile)
    assert not Path(HERE).exists()
    with trusting(True):
        read_checkpoint(hostile)
    assert Path(HERE).exists()


class Part(nn.Module):
    """Part of a custom layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Whole(Gate):
    """A custom layer that is registered after the import."""

    def __init__(self, channels: int, *, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        self.part = Part()

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        return self.part(x).sigmoid()


@pytest.fixture
def own_layer() -> Iterator[None]:
    register_layer(family="channel", summary="has a part")(Whole)
    yield
    if "Whole" in {spec.name for spec in __import__("yolo_attn").list_layers()}:
        unregister_layer("Whole")


@pytest.mark.usefixtures("own_layer")
def test_a_layer_that_was_registered_later_is_known_with_its_parts(folder: Path) -> None:
    document, row = with_row("yolo11n.yaml", 4, "Whole")
    file = write_checkpoint(folder / "own.pt", build(document))
    assert isinstance(read_checkpoint(file).model[row].part, Part)


def layer_of(module: str) -> str:
    """Code that writes best.pt with a layer of a missing module."""
    return f"""
import sys, types, torch
from ultralytics.nn import tasks
parts = {module!r}.split(".")
for n in range(len(parts)):
    name = ".".join(parts[:n + 1])
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = []
class Mine(torch.nn.Module):
    pass
Mine.__module__ = {module!r}
sys.modules[{module!r}].Mine = Mine
torch.save({{"model": Mine(), "kind": tasks.DetectionModel, "ema": None}}, "best.pt")
"""


@pytest.mark.slow
@needs_restriction
@pytest.mark.parametrize("module", ["received", "received.sub", "received.sub.more"])
def test_no_module_is_imported_because_a_checkpoint_names_it(module: str, folder: Path) -> None:
    """The working folder, which may be third-party, is on the path of `python -m yolo_attn`."""
    python(layer_of(module), cwd=folder)
    (folder / "received").mkdir()
    (folder / "received" / "__init__.py").write_text(SCRIPT)
    done = python("import sys; from yolo_attn.cli import main; sys.exit(main(['val', 'model=best.pt']))", check=False)
    assert done.returncode == 2
    assert f"best.pt: not opened, because that could run code: it names {module}.Mine; for a custom " in done.stderr
    assert not Path(HERE).exists()


@pytest.mark.parametrize("module", ["torchvision.ops.SqueezeExcitation", "TorchVision"])
def test_rows_of_torchvision_are_opened(module: str, folder: Path) -> None:
    document = copy.deepcopy(model_yaml("yolo11n.yaml"))
    if not hasattr(tasks, "TorchVision"):
        pytest.skip("this Ultralytics has no such rows")
    if module == "TorchVision":
        document = copy.deepcopy(model_yaml("yolo11-cls-resnet18.yaml"))
        document["backbone"][0][3][2] = None
        model = tasks.ClassificationModel(document, verbose=False)
    else:
        document["backbone"].insert(1, [-1, 1, module, [16, 4]])
        for row in document["head"]:
            row[0] = [s + (s > 0) for s in row[0]] if isinstance(row[0], list) else row[0]
        model = build(document)
    assert read_checkpoint(write_checkpoint(folder / "tv.pt", model))


@needs_restriction
def test_a_module_that_torchvision_does_not_have(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module := "torchvision.models.nope.deeper", types.ModuleType(module))
    cls = type("Mine", (nn.Module,), {"__module__": module})
    monkeypatch.setattr(sys.modules[module], "Mine", cls, raising=False)
    write_checkpoint(folder / "received.pt", nn.Sequential(cls(), build(model_yaml("yolo11n.yaml"))))
    monkeypatch.delitem(sys.modules, module)
    for words in (["lint"], ["predict", "source=image.png"]):
        assert f"it names {module}.Mine; for a custom " in one_line([*words, "model=received.pt"], capsys)


@needs_restriction
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_out_of_an_open_file(zipped: bool, folder: Path) -> None:
    """Ultralytics opens the weights of SAM like this."""
    torch.save({"weight": torch.ones(2)}, "sam_b.pt", _use_new_zipfile_serialization=zipped)
    with restricted(), Path("sam_b.pt").open("rb") as stream:
        assert torch.equal(torch.load(stream)["weight"], torch.ones(2))
    check_checkpoint("sam_b.pt")


def test_everything_is_restored_afterwards(folder: Path) -> None:
    def state() -> list[Any]:
        reader = getattr(data_utils, "YAML", None) or data_utils.yaml_load
        return [torch.load, dataset.load_dataset_cache_file, reader, getattr(tasks, "SAFE_LOAD", None)]

    before = state()
    with restricted():
        within = state()
        with restricted():
            assert state() == within
        assert state() == within
        assert is_restricted()
    assert state() == before
    changed = [one is not other for one, other in zip(before, within, strict=True)]
    assert changed == [restricts_checkpoints(), True, True, restricts_checkpoints() and hasattr(tasks, "SAFE_LOAD")]
    with trusting(True), restricted():
        assert state() == before


# --- label caches -----------------------------------------------------------------------------------------------


def as_ultralytics_writes(path: Path, content: Any) -> Path:
    with path.open("wb") as stream:
        np.save(stream, content)
    return path


LABELS = {
    "labels": [
        {
            "im_file": "a.png",
            "shape": (480, 640),
            "cls": np.array([[0.0], [2.0]], np.float32),
            "bboxes": np.asfortranarray(np.arange(8, dtype=np.float32).reshape(2, 4)),
            "segments": [np.arange(6, dtype=">f4").reshape(3, 2), np.zeros((0, 2), np.float32)],
            "keypoints": None,
            "normalized": True,
        }
    ],
    "results": (1, 0, 0, np.int64(1), np.float32(0.5)),
    "msgs": ["ä"],
    "samples": [["a.png", 0, Path("a.npy"), None]],
    "mixed": np.array(["x", 3, np.ones(2)], dtype=object),
    "words": np.array(["one", "three"]),
    "flags": np.array([True, False]),
}


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert (found.dtype, found.shape, found.flags.writeable) == (expected.dtype, expected.shape, True)
        found, expected = found.tolist(), expected.tolist()
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(found, (list, tuple)):
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


def test_a_cache_is_read_as_ultralytics_reads_it(tmp_path: Path) -> None:
    path = as_ultralytics_writes(tmp_path / "labels.cache", LABELS)
    assert_same(read_cache(path), np.load(path, allow_pickle=True).item())
    boxes = read_cache(path)["labels"][0]["bboxes"]
    boxes += 1  # the array is writable


class Crafted:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "content",
    [
        {"labels": Payload(), "version": "1", "hash": "1"},
        {"labels": Crafted(np.load, "evil.npy")},
        {"labels": Crafted(np.dtype, "O")},
        [1, 2],
        {"labels": np.array([1 + 2j])},
        {"labels": np.zeros(2, dtype=[("a", "O"), ("b", "f4")])},
        {"labels": np.datetime64("2020-01-01")},
    ],
)
def test_other_contents_are_not_a_cache(content: Any, tmp_path: Path, fresh_folder: Path) -> None:
    path = as_ultralytics_writes(tmp_path / "labels.cache", content)
    if isinstance(content, dict) and isinstance(content["labels"], Crafted) and content["labels"].call[1] == ("O",):
        assert not isinstance(read_cache(path)["labels"], np.dtype)  # a wrapped name instead of numpy's class
        return
    with pytest.raises(CacheError, match=r"labels\.cache"):
        read_cache(path)
    assert not Path(HERE).exists()


def test_a_cache_cannot_modify_classes(tmp_path: Path) -> None:
    """A pickle can set attributes of a class: Path.is_relative_to decides whose data YAML may run its script."""
    path = as_ultralytics_writes(tmp_path / "labels.cache", {})
    content = path.read_bytes()
    change = b"\x80\x02cpathlib\nPosixPath\n(N}X\x0e\x00\x00\x00is_relative_tocnumpy\nndarray\nstb."
    path.write_bytes(content[: content.index(b"\n") + 1] + change)
    before = Path.is_relative_to
    try:
        with pytest.raises(CacheError, match="it modifies a global"):
            read_cache(path)
        assert Path.is_relative_to is before
    finally:
        if Path.is_relative_to is not before:
            del Path.is_relative_to


@pytest.mark.parametrize("cut", [0, 5, 60, 200, -10])
def test_a_truncated_cache(cut: int, tmp_path: Path) -> None:
    path = as_ultralytics_writes(tmp_path / "labels.cache", LABELS)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CacheError):
        read_cache(path)
    with pytest.raises(FileNotFoundError):
        read_cache(tmp_path / "nowhere.cache")


def test_a_malicious_cache_is_rebuilt_and_a_valid_one_is_used(folder: Path, capsys) -> None:
    data, cache = tiny_dataset(folder), folder / "labels.cache"
    as_ultralytics_writes(cache, {"labels": Payload(), "version": "0", "hash": ""})
    words = ["val", f"model={write_checkpoint(folder / 'best.pt', build(model_yaml('yolo11n.yaml'), nc=1))}"]
    words += [f"data={data}", "imgsz=32", "workers=0", "plots=False", "project=runs", "batch=1"]
    assert main(words) == 0
    assert not Path(HERE).exists()
    assert read_cache(cache)["results"][0] == 2
    written = cache.stat().st_mtime_ns
    assert main(words) == 0
    assert cache.stat().st_mtime_ns == written
    if restricts_checkpoints():
        as_ultralytics_writes(cache, {"labels": Payload(), "version": "0", "hash": ""})
        assert main([*words, "trust=True"]) == 0
        assert Path(HERE).exists()


# --- data YAMLs -------------------------------------------------------------------------------------------------

SCRIPTS = {
    "python": SCRIPT,
    "bash": f"bash -c touch${{IFS}}{HERE}",
    "python that begins like an address": f"https: 1\n{SCRIPT}\n#.zip",
    "python that ends like one": f"{SCRIPT} #https://x.org/a.zip",
}


def without_images(folder: Path, download: str) -> Path:
    entries = {"path": str(folder / "away"), "train": "images", "val": "images", "names": ["thing"]}
    path = folder / "data.yaml"
    path.write_text(__import__("yaml").safe_dump({**entries, "download": download}))
    return path


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_data_yaml_runs_no_script(script: str, folder: Path, capsys) -> None:
    data = without_images(folder, SCRIPTS[script])
    model = write_checkpoint(folder / "best.pt", build(model_yaml("yolo11n.yaml"), nc=1))
    common = [f"data={data}", "imgsz=32", "project=runs"]
    for words in (
        ["train", "model=yolo11n.yaml", "epochs=1", *common],
        ["val", f"model={model}", *common],
        ["compare", "base=yolo11n.yaml", "variants=SE@neck", "seeds=1", "epochs=1", *common],
    ):
        line = one_line(words, capsys)
        assert "data.yaml: its images are not here, and its download: is a script, which was not run" in line
        assert f"trust=True (or {TRUST}=1)" in line
    assert not Path(HERE).exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_data_yaml_named_by_a_checkpoint_runs_no_script(script: str, folder: Path) -> None:
    with restricted(), pytest.raises((UserError, FileNotFoundError)) as caught:
        data_utils.check_det_dataset(str(without_images(folder, SCRIPTS[script])))
    assert "download: is a script" in str(caught.value)
    assert not Path(HERE).exists()


def test_with_trust_it_is_run(folder: Path) -> None:
    data = without_images(folder, SCRIPT)
    with trusting(True), restricted():
        data_utils.check_det_dataset(str(data))
    assert Path(HERE).exists()


def test_a_script_is_ignored_if_the_images_exist(folder: Path) -> None:
    data = tiny_dataset(folder)
    data.write_text(data.read_text() + f"download: {SCRIPT!r}\n")
    with restricted():
        assert data_utils.check_det_dataset(str(data))["nc"] == 1
    assert not Path(HERE).exists()


def test_archives_and_stock_scripts_are_accepted(folder: Path) -> None:
    assert not is_script("https://github.com/ultralytics/assets/releases/download/v0.0.0/coco8.zip")
    assert not is_script("https://x.org/a.tar.gz?token=1")
    assert not is_script(None)
    assert is_script("http://x.org/a.zip")  # a network attacker could change it
    with pytest.raises(UserError, match=r"http://x.org/a.zip was not downloaded, because .*; download .* by hand"):
        refuse_script("data.yaml", "http://x.org/a.zip")
    own = stock_data_yamls()["voc"]
    with restricted():
        reader = getattr(getattr(data_utils, "YAML", None), "load", None) or data_utils.yaml_load
        assert "refuse_script" not in reader(own, append_filename=True)["download"]
        Path("VOC.yaml").write_bytes(own.read_bytes())
        assert "refuse_script" in reader("VOC.yaml", append_filename=True)["download"]


# --- child processes --------------------------------------------------------------------------------------------

LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="scales each channel by its mean")
class TunedGate(Gate):
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""


@pytest.mark.slow
def test_tuning_restricted(folder: Path) -> None:
    """The candidates' processes register custom layers and do not unpickle caches."""
    data = tiny_dataset(folder)
    Path("mine").mkdir()
    Path("mine/tuned_layers.py").write_text(LAYER)
    as_ultralytics_writes(folder / "labels.cache", {"labels": Payload()})
    words = ["model=yolo11n.yaml+TunedGate@neck", "layers=mine/tuned_layers.py", f"data={data}", "epochs=1"]
    words += ["iterations=1", "imgsz=32", "workers=0", "plots=False", "project=runs", "device=cpu"]
    done = python(f"import sys; from yolo_attn.cli import main; sys.exit(main({['tune', *words]}))", cwd=folder)
    assert "1/1 iterations complete" in done.stdout + done.stderr
    assert "all failed" not in done.stdout + done.stderr
    assert not Path(HERE).exists()
