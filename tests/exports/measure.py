"""A model with one attention layer, exported with `yolo-attn export` and compared with PyTorch.

The model is a small detector with the layer between backbone and head, so the map sizes are those of a neck (20 x 20
at stride 8 of a 160-pixel image). Exporters convert row by row, so a small model shows the same as a large one, in a
tenth of the time. All weights are random, those that a layer initializes with zeros or ones too, because an export
of the identity cannot be wrong.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.data.augment import LetterBox
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import ASSETS

from tests.parity.record import randomize_statistics
from yolo_attn.cli import main
from yolo_attn.errors import first_line
from yolo_attn.exports import EXACT, Cell
from yolo_attn.registry import LayerSpec, get_layer

SIZE, OTHER_SIZE = (160, 160), (128, 192)
CLASSES, DETECTIONS = 10, 30


@dataclass(frozen=True)
class Format:
    """A format with its arguments.

    Args:
        words: What follows `yolo-attn export model=...`.
        packages: What must be installed, by import name, with the names on PyPI.
        dynamic: Whether the exported model is also compared at another size.
    """

    words: tuple[str, ...]
    packages: dict[str, str]
    dynamic: bool = False

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for module, name in self.packages.items() if importlib.util.find_spec(module) is None]

    def versions(self) -> dict[str, str]:
        """Return the versions of Ultralytics, PyTorch and the packages."""
        found = {}
        for name in ("ultralytics", "torch", *self.packages.values()):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name)
        return found


_ONNX = {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxslim": "onnxslim"}

FORMATS = {
    "torchscript": Format(("format=torchscript",), {}),
    "onnx": Format(("format=onnx",), _ONNX),
    "onnx-dynamic": Format(("format=onnx", "dynamic=True"), _ONNX, dynamic=True),
    "onnx-half": Format(("format=onnx", "quantize=16"), _ONNX),
    "openvino": Format(("format=openvino",), {"openvino": "openvino"}),
    "ncnn": Format(("format=ncnn",), {"ncnn": "ncnn", "pnnx": "pnnx"}),
    "mnn": Format(("format=mnn",), {**_ONNX, "MNN": "MNN"}),
    "litert": Format(("format=litert",), {"litert_torch": "litert-torch", "ai_edge_litert": "ai-edge-litert"}),
    "executorch": Format(("format=executorch",), {"executorch": "executorch"}),
    "paddle": Format(("format=paddle",), {"paddle": "paddlepaddle", "x2paddle": "x2paddle"}),
}


def measure(layer: str, form: str) -> Cell:
    """Export a model with the layer in the working folder, which is empty, and compare its outputs with PyTorch.

    Args:
        layer: Name of the layer.
        form: A key of `FORMATS`.
    """
    model = make_model(get_layer(layer))
    checkpoint = Path("model.pt")
    torch.save({"epoch": -1, "model": model, "ema": None, "train_args": {"task": "detect"}}, checkpoint)
    exported, log = export(checkpoint, FORMATS[form].words)
    if exported is None:
        return Cell(problem=log)
    if operators := unconverted(exported):
        return Cell(problem=f"NCNN has no {', '.join(operators)}")
    return compare(model, exported, dynamic=FORMATS[form].dynamic)


# --- the model ----------------------------------------------------------------------------------------------------


def document(spec: LayerSpec) -> dict[str, Any]:
    """Return the model YAML of a small detector with a layer; a fusion reads two rows of the same size."""
    sources: Any = -1 if spec.inputs == 1 and not spec.more_inputs else [3 + n % 2 for n in range(spec.inputs)]
    return {
        "nc": CLASSES,
        "backbone": [
            [-1, 1, "Conv", [16, 3, 2]],
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "Conv", [32, 3, 2]],
            [-1, 1, "C3k2", [32, False]],
            [-1, 1, "Conv", [32, 3, 1]],
        ],
        "head": [[sources, 1, spec.name, []], [-1, 1, "Conv", [32, 3, 1]], [[6], 1, "Detect", ["nc"]]],
    }


def make_model(spec: LayerSpec) -> DetectionModel:
    """Build the detector with weights from a seed and statistics of the two images."""
    torch.manual_seed(0)
    model = DetectionModel(document(spec), verbose=False)
    with torch.no_grad():
        for parameter in attention_of(model).parameters():
            if parameter.ndim in (1, 3) or not parameter.any():  # initially zeros or ones
                parameter.add_(0.3 * torch.randn_like(parameter))
        randomize_statistics(attention_of(model))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0  # its statistics are then those of the images alone
        model.train()
        model(images(SIZE))
        for branch in (*model.model[-1].cv2, *model.model[-1].cv3):  # spread boxes and scores over their ranges
            branch[-1].weight.mul_(5)
            branch[-1].bias.zero_()
    return model.eval()


def attention_of(model: DetectionModel) -> nn.Module:
    """Return the attention layer of the detector."""
    layer: nn.Module = model.model[5]
    return layer


def images(size: tuple[int, int]) -> Tensor:
    """Return the photographs that Ultralytics ships, in one batch."""
    pictures = [LetterBox(size)(image=cv2.imread(str(ASSETS / name))) for name in ("bus.jpg", "zidane.jpg")]
    return torch.from_numpy(np.stack(pictures)[..., ::-1].transpose(0, 3, 1, 2).copy()).float() / 255


_UNKNOWN = re.compile(r"^=+ aten::(\w+) =+$", re.MULTILINE)
"""How x2paddle, which converts to PaddlePaddle, lists the operators of a model that it does not know."""

# --- export -------------------------------------------------------------------------------------------------------


def export(checkpoint: Path, words: tuple[str, ...]) -> tuple[Path | None, str]:
    """Run `yolo-attn export` and return the exported file or folder, or None with the error."""
    # At its import, this part of MNN's converter runs pip, and then it sends statistics. The converter works without.
    sys.modules.setdefault("MNN.tools.utils.log", None)  # type: ignore[arg-type]
    before, errors, output = set(Path().iterdir()), io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            status = main(["export", f"model={checkpoint}", f"imgsz={SIZE[0]}", "device=cpu", *words])
        except Exception as error:
            missing = _UNKNOWN.findall(output.getvalue())
            known = f"{type(error).__name__}: {first_line(error)}"
            return None, f"x2paddle has no {', '.join(missing)}" if missing else known
    print(output.getvalue())
    if status:
        return None, errors.getvalue().strip().splitlines()[-1]
    made = sorted(set(Path().iterdir()) - before, key=lambda path: path.stat().st_mtime_ns)
    results = [path for path in made if path.stem.startswith(checkpoint.stem) and path.suffix != ".onnx"]
    return (results or made)[-1], ""  # another format may leave the ONNX file that it was made from


def unconverted(exported: Path) -> list[str]:
    """Return the operators that pnnx left in an NCNN model as they are in PyTorch; NCNN cannot load it."""
    lines = [line for file in exported.glob("*.ncnn.param") for line in file.read_text().splitlines()]
    kinds = {line.split()[0] for line in lines if line.strip()}
    return sorted(kind.rpartition(".")[2] for kind in kinds if "." in kind)


# --- comparison ---------------------------------------------------------------------------------------------------


def compare(model: DetectionModel, exported: Path, *, dynamic: bool) -> Cell:
    """Compare an exported model with PyTorch, image by image."""
    reference, run = copy.deepcopy(model).fuse(verbose=False), load(exported)
    pairs = []
    for size in (SIZE, OTHER_SIZE) if dynamic else (SIZE,):
        for image in images(size).split(1):
            with torch.no_grad():
                y, expected = run(image), _first(reference(image))
            if y.shape != expected.shape:
                return Cell(problem=f"the output has the shape {tuple(y.shape)} instead of {tuple(expected.shape)}")
            if not torch.isfinite(y).all():
                return Cell(problem="the output is not finite")
            pairs.append((y.float(), expected))
    boxes, scores = (
        max(((y[:, rows] - e[:, rows]).abs().max() / e[:, rows].abs().max()).item() for y, e in pairs)
        for rows in (slice(None, 4), slice(4, None))
    )
    return Cell(float(f"{boxes:.2g}"), float(f"{scores:.2g}"), all(same_detections(y[0], e[0]) for y, e in pairs))


def load(exported: Path) -> Callable[[Tensor], Tensor]:
    """Return a function that runs an exported model as Ultralytics does, in float32."""
    if exported.name.endswith("_openvino_model"):  # Ultralytics leaves the precision to the processor: often bfloat16
        import openvino

        (file,) = exported.glob("*.xml")
        compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda image: _first(list(compiled(image.numpy()).values()))
    backend = AutoBackend(str(exported), device=torch.device("cpu"), verbose=False)
    return lambda image: _first(backend(image))


def same_detections(y: Tensor, expected: Tensor) -> bool:
    """Return whether two outputs have the same detections, with the same classes.

    These are the candidates for non-maximum suppression, because which of two equal candidates it keeps depends on
    rounding. The confidence threshold is in the largest gap between the scores around the thirtieth, so that a rounding
    error does not move a candidate across it.
    """
    best = expected[4:].amax(0)
    ranked = best.sort(descending=True).values[DETECTIONS // 2 : DETECTIONS * 2]
    gap = int((ranked[:-1] - ranked[1:]).argmax())
    kept = best > (ranked[gap] + ranked[gap + 1]) / 2
    scores, classes = y[4:].max(0)
    chosen = expected[4:].gather(0, classes[None])[0]  # two classes may have equal scores
    return bool(((scores > (ranked[gap] + ranked[gap + 1]) / 2) == kept).all() and (chosen >= best - EXACT)[kept].all())


def _first(output: Any) -> Tensor:
    while isinstance(output, (list, tuple)):
        output = output[0]
    return output if isinstance(output, Tensor) else torch.from_numpy(np.asarray(output))
