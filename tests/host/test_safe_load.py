"""Checkpoints with attention layers in new processes, with and without restricted loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from ultralytics import YOLO

from tests.host.helpers import python
from tests.host.test_every_layer import SPECS, model_with
from yolo_attn import UserError
from yolo_attn.host.checkpoint import check_checkpoint, read_checkpoint

LAYERS = [spec.name for spec in SPECS]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock checkpoint of a model that contains every layer once."""
    folder = tmp_path_factory.mktemp("checkpoint")
    (folder / "all.yaml").write_text(yaml.safe_dump(model_with(SPECS)))
    model = YOLO(folder / "all.yaml", task="detect", verbose=False)
    model.model.args = {"task": "detect", "model": "all.yaml", "imgsz": 64}
    file = folder / "all.pt"
    torch.save(
        {"model": model.model.half(), "ema": None, "train_args": {"task": "detect", "imgsz": 64}, "epoch": -1}, file
    )
    return file


@pytest.mark.slow
@pytest.mark.parametrize("restricted", ["0", "1"])
def test_a_process_without_the_import_loads_it(checkpoint: Path, restricted: str) -> None:
    code = """
import sys, torch
from ultralytics.nn import tasks
load = getattr(tasks, "load_checkpoint", None) or tasks.attempt_load_one_weight
if sys.argv[2] == "1":
    import yolo_attn  # restricted loading imports nothing by itself
model, _ = load(sys.argv[1])
names = {type(m).__name__ for m in model.model}
print(*sorted(names))
model.eval()(torch.zeros(1, 3, 64, 64))
"""
    out = python(code, str(checkpoint), restricted, ULTRALYTICS_SAFE_LOAD=restricted).stdout
    assert set(LAYERS) <= set(out.split())


def test_plain_torch_loads_the_layers_weights_only(checkpoint: Path) -> None:
    """Restricted loading requires every class on torch's list of safe globals."""
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        pytest.skip("this torch cannot list a checkpoint's classes")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(str(checkpoint))
    assert not [name for name in unsafe if name.startswith("yolo_attn")]


@pytest.mark.slow
def test_half_precision_and_inplace_flips_leave_finite_outputs(checkpoint: Path) -> None:
    model = read_checkpoint(checkpoint)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = True
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = model(x)[0]
        fused = model.fuse(verbose=False)(x)[0]
    assert torch.isfinite(plain).all()
    assert torch.allclose(plain, fused, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"hello, this is no checkpoint", "not a PyTorch checkpoint"),
        (b"PK\x03\x04 cut short", "truncated or damaged"),
    ],
)
def test_a_broken_checkpoint_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "broken.pt"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        check_checkpoint(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_truncated_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    file = tmp_path / "cut.pt"
    file.write_bytes(checkpoint.read_bytes()[:-2000])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_checkpoint(file)


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "tensors.pt"
    torch.save({"weights": torch.zeros(3)}, file)
    with pytest.raises(UserError, match="not a checkpoint of an Ultralytics model"):
        read_checkpoint(file)


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "nowhere.pt")


CELL = """
import yolo_attn, torch
from yolo_attn.layers.base import Gate

class Part(torch.nn.Linear):
    pass

@yolo_attn.register_layer(family="channel", summary="scales by its mean")
class MeanGate(Gate):
    def __init__(self, channels, *, init="paper"):
        super().__init__(channels, init=init)
        self.part = Part(1, 1)
    def gate(self, x):
        return x.mean((2, 3), keepdim=True).sigmoid()
"""


@pytest.mark.slow
def test_restricted_loading_accepts_a_redefined_class(tmp_path: Path) -> None:
    """After a notebook cell is run twice, the list contains the last class and its parts."""
    if not hasattr(torch.serialization, "get_safe_globals"):
        pytest.skip("this torch has no list of allowed classes")
    code = f"""
import torch
cell = {CELL!r}
exec(cell)
exec(cell)
torch.save(yolo_attn.build("MeanGate", 8), "layer.pt")
layer = torch.load("layer.pt", weights_only=True)
assert type(layer) is MeanGate and type(layer.part) is Part
yolo_attn.unregister()
assert not [e for e in torch.serialization.get_safe_globals() if e in (MeanGate, Part)]
"""
    python(code, cwd=tmp_path)
