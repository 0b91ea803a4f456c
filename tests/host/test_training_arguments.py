"""Arguments of the newest Ultralytics that change how a model is trained, with attention layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics import YOLO, cfg

from yolo_attn.cli import main
from yolo_attn.data.digits import make_digits

pytestmark = pytest.mark.slow

WORDS = (
    *("imgsz=32", "batch=4", "epochs=1", "workers=0", "device=cpu", "plots=False", "val=False"),
    *("optimizer=SGD", "lr0=0.01", "nbs=4"),
)
MODEL = "yolo11n.yaml+CBAM@neck.P3"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_digits(tmp_path_factory.mktemp("data"), counts={"train": 8, "val": 4, "test": 4})


def _train(data: Path, *words: str, model: str = MODEL, name: str = "a") -> Path:
    """Train with `yolo-attn train` in the working folder and return the checkpoint."""
    for key in (word.partition("=")[0] for word in words):
        if key not in cfg.DEFAULT_CFG_DICT:
            pytest.skip(f"this Ultralytics has no {key}=")
    folder = Path.cwd()
    assert main(["train", f"model={model}", f"data={data}", *WORDS, *words, f"project={folder}", f"name={name}"]) == 0
    return folder / name / "weights" / "last.pt"


def _attention(checkpoint: str | Path) -> nn.Module:
    (layer,) = (module for module in YOLO(checkpoint).model.modules() if type(module).__name__ == "CBAM")
    return layer


@pytest.mark.parametrize("word", ["channels_last=True", "fraction=0.5"])
def test_attention_layers_learn(word: str, data: Path, fresh_folder: Path) -> None:
    first = _train(data, "lr0=0.0", word, name="unchanged")  # the seed makes the initial weights the same
    before, after = (_attention(file).state_dict() for file in (first, _train(data, word)))
    changed = [key for key, value in after.items() if not torch.equal(value, before[key])]
    assert all(torch.isfinite(value).all() for value in after.values())
    assert changed


@pytest.mark.parametrize("teacher", ["yolo11n.yaml", "yolo11n.yaml+SE@neck"])
def test_distillation(teacher: str, data: Path, fresh_folder: Path) -> None:
    """The teacher may have attention layers or not; the checkpoint is that of the student alone."""
    first = _train(data, model=teacher, name="teacher")
    student = _train(data, f"distill_model={first}", name="student")
    assert type(YOLO(student).model).__name__ == "DetectionModel"
    assert _attention(student)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU trains in bfloat16")
@pytest.mark.skipif("quantize" not in cfg.DEFAULT_CFG_DICT, reason="this Ultralytics has no amp=bf16")
def test_bfloat16_without_a_gpu(data: Path, fresh_folder: Path, capsys) -> None:
    words = ["train", f"model={MODEL}", f"data={data}", *WORDS, "amp=bf16", f"project={fresh_folder}"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("yolo-attn: bfloat16 autocast requires CUDA")


def test_quantization_aware_training(data: Path, fresh_folder: Path) -> None:
    """The attention layer is quantized with the base, and exported with its ranges."""
    pytest.importorskip("modelopt", reason="pip install nvidia-modelopt huggingface_hub")
    onnx = pytest.importorskip("onnx")
    checkpoint = _train(data, "quantize=8")
    assert main(["export", f"model={checkpoint}", "format=onnx", "imgsz=32"]) == 0
    nodes = [node for node in onnx.load(checkpoint.with_suffix(".onnx")).graph.node if node.op_type == "QuantizeLinear"]
    assert any("/model.17/" in node.name for node in nodes)
