"""Checkpoints with custom layers that cannot be imported."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn import tasks

from tests.host.helpers import python
from yolo_attn import UserError
from yolo_attn.cli import main
from yolo_attn.host.checkpoint import (
    check_checkpoint,
    check_layers,
    download_checkpoint,
    read_checkpoint,
    weights_hash,
)

LAYER = """
from yolo_attn import register_layer
from yolo_attn.layers.base import Gate

@register_layer(family="channel", summary="scales each channel by its mean")
class MeanGate(Gate):
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""
TRAINED = """
import sys, torch
sys.path.append("mine")
exec(sys.argv[1])
from ultralytics import YOLO
model = YOLO("yolo11n.yaml+MeanGate@neck", verbose=False).model
model.args = {"task": "detect"}
torch.save({"model": model.half(), "ema": None, "train_args": {"task": "detect"}, "epoch": -1}, "best.pt")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mine/my_own_layers.py and best.pt, a checkpoint of a model with its layer."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine").mkdir()
    (folder / "mine" / "my_own_layers.py").write_text(LAYER)
    python(TRAINED, "import my_own_layers", cwd=folder)
    return folder


def encrypt(archive: bytearray) -> None:
    archive[archive.index(b"PK\x01\x02") + 8] |= 1


def compress_as_nothing_known(archive: bytearray) -> None:
    archive[archive.index(b"PK\x01\x02") + 10] = 99


def damage(archive: bytearray) -> None:
    start = archive.index(b"data.pkl") + len(b"data.pkl")
    archive[start : start + 20] = b"\xff" * 20


def unpack_to_gigabytes(archive: bytearray) -> None:
    start = archive.index(b"PK\x01\x02") + 24
    archive[start : start + 4] = (2**31).to_bytes(4, "little")


@pytest.mark.parametrize("change", [encrypt, compress_as_nothing_known, damage, unpack_to_gigabytes])
def test_an_archive_that_cannot_be_read(change: Callable[[bytearray], None], tmp_path: Path) -> None:
    path = tmp_path / "received.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"ultralytics" + bytes(range(256)))
    check_checkpoint(path)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"received\.pt: the checkpoint is truncated or damaged"):
        check_checkpoint(path)
    check_layers(path)


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the packages that Ultralytics would install."""
    asked: list[str] = []
    monkeypatch.setattr(tasks, "check_requirements", lambda *words, **_: asked.append(*words))
    return asked


@pytest.mark.parametrize(
    "words", [["val", "data=coco8.yaml"], ["predict", "source=."], ["export"], ["maps", "source=."], ["profile"]]
)
def test_every_command_names_the_class_the_module_and_the_fix(
    folder: Path, words: list[str], installs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, f"model={folder / 'best.pt'}"]) == 2
    assert capsys.readouterr().err == (
        f"yolo-attn: {folder / 'best.pt'}: its layer MeanGate is a class of the module my_own_layers, which cannot be "
        "imported; give its file, layers=my_own_layers.py, or install the package that contains it\n"
    )
    assert installs == []


def test_python_raises_the_same_error_and_installs_nothing(folder: Path, installs: list[str]) -> None:
    with pytest.raises(UserError, match="its layer MeanGate is a class of the module my_own_layers"):
        YOLO(folder / "best.pt")
    assert installs == []


@pytest.mark.slow
def test_with_its_file_the_checkpoint_is_read(folder: Path, tmp_path: Path) -> None:
    code = """
import sys
from yolo_attn.cli import main
sys.exit(main(sys.argv[1:]))
"""
    words = ["lint", f"model={folder / 'best.pt'}", f"layers={folder / 'mine' / 'my_own_layers.py'}"]
    assert "no problems found" in python(code, *words, cwd=tmp_path).stdout


@pytest.mark.slow
def test_a_class_of_a_notebook_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python(TRAINED, LAYER, cwd=tmp_path)
    with pytest.raises(UserError, match=r"its layer MeanGate was defined in a script or notebook \(__main__\)"):
        read_checkpoint(tmp_path / "best.pt")
    monkeypatch.setattr(sys.modules["__main__"], "MeanGate", nn.Identity, raising=False)
    check_layers(tmp_path / "best.pt")


def test_importable_classes_are_accepted(tmp_path: Path) -> None:
    torch.save({"model": nn.ReLU(), "names": {1}, "folder": Path(), "rest": torch.zeros(1)}, tmp_path / "plain.pt")
    check_layers(tmp_path / "plain.pt")
    (tmp_path / "text.pt").write_text("no archive")
    check_layers(tmp_path / "text.pt")
    check_layers(tmp_path / "nowhere.pt")


def test_a_failed_download_is_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> str:
        raise ConnectionError(f"Download failure for https://github.com/assets/{name}. Environment may be offline.")

    monkeypatch.setattr("yolo_attn.host.checkpoint.attempt_download_asset", offline)
    with pytest.raises(UserError, match=r"^yolo11n\.pt: not found, and it could not be downloaded .*give its path$"):
        download_checkpoint("yolo11n.pt")


def test_the_hash_of_weights_is_that_of_the_tensors(tmp_path: Path) -> None:
    model = YOLO("yolo11n.yaml", verbose=False).model
    model.args = {"task": "detect"}
    hashes = []
    for epoch, bias in ((1, 0.0), (2, 0.0), (2, 1.0)):
        model.model[0].bn.bias.data[3] = bias
        path = tmp_path / f"{epoch} {bias}.pt"
        torch.save({"model": model, "ema": None, "train_args": {"task": "detect"}, "epoch": epoch}, path)
        hashes.append(weights_hash(path))
    assert hashes[0] == hashes[1] != hashes[2]
