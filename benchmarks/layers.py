"""Measure every layer: time and memory, agreement with its references, ONNX export.

python benchmarks/layers.py            writes yolo_attn/measured.json and docs/layers.md
python benchmarks/layers.py --docs     writes docs/layers.md from the measurements that are there

Times are ratios to a 3 x 3 convolution of the same width, measured in turn with it in one process (the median of the
pairs), so that they mean something on another machine and under load. Memory is the peak of live tensors beyond the
input, counted without running (tests/layers/memory.py).
"""

from __future__ import annotations

import functools
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.layers.cases import Case, call, cases  # noqa: E402
from tests.layers.memory import peak_bytes  # noqa: E402
from tests.layers.onnx_check import onnx_error  # noqa: E402
from tests.parity.mappings import MAPPINGS  # noqa: E402
from tests.parity.test_parity import fresh_layer, relative_errors  # noqa: E402
from yolo_attn import cards  # noqa: E402
from yolo_attn.system.files import write_atomically  # noqa: E402

MEASURED = ROOT / "yolo_attn" / "measured.json"
DOCS = ROOT / "docs" / "layers.md"
TRAIN, INFER = (128, 40, 40), (128, 80, 80)  # channels, height, width
PAIRS = 7


def main() -> None:
    """Measure and write."""
    if "--docs" not in sys.argv[1:]:
        measured = {
            "machine": f"{processor()}, {torch.get_num_threads()} threads",
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
            "date": date.today().isoformat(),
            "train_shape": list(TRAIN),
            "infer_shape": list(INFER),
            "layers": {case.spec.name: measure(case) for case in cases(options=False)},
        }
        write(MEASURED, json.dumps(measured, indent=1) + "\n")
    write(DOCS, cards.as_markdown())


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def write(path: Path, text: str) -> None:
    """Write a file and say so."""
    write_atomically(path, text)
    print(path.relative_to(ROOT))


def measure(case: Case) -> dict[str, Any]:
    """Return what is measured of one layer, with its default options."""
    name = case.spec.name
    print(name, flush=True)
    vectors = [vector for vector, layers in _references().items() if name in layers]
    errors = [error for v in vectors for error in relative_errors(v)]
    return {
        "vectors": vectors,
        "parity": max(errors, default=None),
        "onnx": {kind: _export(case, kind == "dynamic") for kind in ("fixed", "dynamic")},
        "infer_ratio": ratio(case, INFER, train=False),
        "train_ratio": ratio(case, TRAIN, train=True),
        "infer_mb": round(peak_bytes(lambda: case.build(64), *[(1, 64, 160, 160)] * case.spec.inputs) / 1e6, 1),
    }


@functools.cache
def _references() -> dict[str, set[str]]:
    """Return the layers that each reference vector is for; some take one in a wrapper, one takes two."""
    known = [case.spec for case in cases(options=False)]
    return {
        vector: {
            spec.name for spec in known for module in fresh_layer(vector).modules() if isinstance(module, spec.cls)
        }
        for vector in MAPPINGS
    }


def _export(case: Case, dynamic: bool) -> float | None:
    """Return the largest relative difference of an ONNX export, or None where it cannot be exported."""
    try:
        return onnx_error(case, dynamic)
    except (RuntimeError, torch.onnx.errors.OnnxExporterError):
        return None


def ratio(case: Case, shape: tuple[int, int, int], *, train: bool) -> float:
    """Return the time of the layer over that of a 3 x 3 convolution at the same map and width."""
    channels, height, width = shape
    layer = case.build(channels).train(train)
    reference = nn.Conv2d(channels, channels, 3, padding=1).train(train)
    xs = case.inputs(height, width, batch=1, channels=channels)
    for x in xs:
        x.requires_grad_(train)
    run = _step if train else _infer
    pairs = [(timed(run, layer, xs), timed(run, reference, xs[:1])) for _ in range(PAIRS + 1)][1:]
    return round(statistics.median(a / b for a, b in pairs), 2)


def _step(module: nn.Module, xs: list[Tensor]) -> None:
    call(module, xs).sum().backward()


def _infer(module: nn.Module, xs: list[Tensor]) -> None:
    with torch.no_grad():
        call(module, xs)


def timed(run: Callable[[nn.Module, list[Tensor]], None], module: nn.Module, xs: list[Tensor]) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    run(module, xs)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
