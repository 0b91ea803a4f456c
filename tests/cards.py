"""Measure layers (time, memory, agreement with their references, ONNX export) and write all files derived from them.

python -m tests.cards            measures every layer
python -m tests.cards NAME ...   measures these layers only
python -m tests.cards --docs     measures nothing

Each form then writes docs/layers.md, docs/migrate.md, the number of layers in both READMEs,
yolo_attn/layers/__init__.pyi and configs/.
The measurements are in yolo_attn/measured.json.

Times are ratios to a 3 x 3 convolution of the same width, measured in turn with it in one process (the median of the
pairs), which makes them comparable across machines and under load. Memory is the peak of live tensors beyond the
input, counted without running (tests/layers/memory.py). This is in tests/ because the agreement and the exports are
those that the tests check; benchmarks/layers.py measures time and memory beside other libraries.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scripts.make_configs import make_all
from tests.layers.cases import Case, call, cases
from tests.layers.memory import peak_bytes
from tests.layers.onnx_check import onnx_error
from tests.parity.mappings import MAPPINGS
from tests.parity.test_parity import fresh_layer, relative_errors
from yolo_attn import cards
from yolo_attn.errors import counted
from yolo_attn.names.forks import MODULES, NEAREST, POSITIONAL
from yolo_attn.names.spellings import SPELLINGS
from yolo_attn.registry import get_layer, is_layer, list_layers
from yolo_attn.system.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(cards.__file__).parent
MEASURED = PACKAGE / "measured.json"
TRAIN, INFER = (128, 40, 40), (128, 80, 80)  # channels, height, width
PAIRS = 7
LINE = 120  # characters, as for ruff


def main() -> None:
    """Measure and write."""
    arguments = sys.argv[1:]
    if arguments != ["--docs"]:
        record = measure_all([get_layer(name).name for name in arguments])
        write(MEASURED, json.dumps(record, indent=1) + "\n")
        cards.measured.cache_clear()
    for path, text in chain(derived_files(), make_all()):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write(path, text)


def measure_all(names: list[str]) -> dict[str, Any]:
    """Return the content of measured.json.

    Layers measured later, or on another machine, than all together have their own date, machine and versions.

    Args:
        names: The layers to measure; the others keep their measurements. An empty list measures all.
    """
    here = {
        "machine": f"{processor()}, {counted(torch.get_num_threads(), 'thread')}",
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "date": date.today().isoformat(),
    }
    if not names:
        measured = {case.spec.name: measure(case) for case in cases(options=False)}
        return {**here, "train_shape": list(TRAIN), "infer_shape": list(INFER), "layers": measured}
    record = cards.measured()
    differences = {key: value for key, value in here.items() if value != record[key]}
    measured = {}
    for case in cases(options=False):
        name = case.spec.name
        if name in names:
            measured[name] = {**measure(case), **differences}
        elif name in record["layers"]:
            measured[name] = record["layers"][name]
    return {**record, "layers": measured}


def derived_files() -> Iterator[tuple[Path, str]]:
    """Yield each file derived from the registry and the measurements, except configs/, with its text."""
    yield ROOT / "docs" / "layers.md", cards.as_markdown()
    yield ROOT / "docs" / "migrate.md", spellings_page()
    yield PACKAGE / "layers" / "__init__.pyi", stub()
    for readme in (ROOT / "README.md", ROOT / "README.zh-CN.md"):
        yield readme, with_count(readme.read_text(encoding="utf-8"))


SPELLINGS_INTRODUCTION = """\
# Spellings that lint fix=True reads

`yolo-attn lint model=their.yaml fix=True out=mine.yaml` rewrites the rows of forks and tutorials, as
[From a fork or a tutorial](migration.md) describes. `python -m tests.cards --docs` writes this page.

- *Names.* Case, separators and words such as "module" or "block" are ignored: `SE_Block` is SE. A stock block combined
  with a layer is that block with the layer inside: `C2f_CBAM` and `SEC3` are `C2f+CBAM` and `C3+SE`.
- *Channels* are dropped, because they are inferred: `[1024]`, `[512, 512]`. An argument is a number of channels if it
  is that of the row's input, or a multiple of 16 from 64 on.
- *Other arguments* have the meanings in the table, in this order. One in parentheses has no effect here. A row whose
  arguments have several meanings, or none, is refused.

## Layers
"""
"""The beginning of docs/migrate.md."""


def spellings_page() -> str:
    """Return docs/migrate.md."""
    lines = [SPELLINGS_INTRODUCTION, "| layer | spellings | arguments after the channels |", "|---|---|---|"]
    for spec in list_layers():
        names = ", ".join(f"`{word}`" for word in (*spec.aliases, *SPELLINGS.get(spec.name, ())))
        meanings = " or ".join(", ".join(signature) for signature in POSITIONAL.get(spec.name, ()))
        if spec.built_in and (names or meanings):
            lines.append(f"| {spec.name} | {names} | {meanings} |")
    lines += ["", "## Blocks", "", "In these, the mechanism replaces a part of the block; here it follows that part."]
    lines += ["", "| spelling | here |", "|---|---|"]
    lines += [f"| `{name}` | `{module}` |" for name, module in MODULES.items() if is_layer(module.partition("+")[2])]
    lines += ["", "## Without a counterpart", "", "The message names another mechanism, the nearest one here."]
    lines += ["", "| spelling | nearest |", "|---|---|"]
    lines += [f"| `{name}` | {nearest} |" for name, nearest in NEAREST.items() if not is_layer(name)]
    return "\n".join(lines) + "\n"


def stub() -> str:
    """Return the stub of the package of layers, which is what type checkers and editors read."""
    names = sorted((spec.cls.__module__, spec.cls.__name__) for spec in list_layers() if spec.built_in)
    lines = [_import(module, name) for module, name in names]
    return "\n".join(['"""The attention layers."""', "", *lines, "", "__all__: list[str]", ""])


def _import(module: str, name: str) -> str:
    """Return the import of a name that the stub hands on, as ruff formats it."""
    line = f"from {module} import {name} as {name}"
    return line if len(line) <= LINE else f"from {module} import (\n    {name} as {name},\n)"


def with_count(text: str) -> str:
    """Return a text with the number of layers in its link to docs/layers.md."""
    count = sum(spec.built_in for spec in list_layers())
    return re.sub(r"(\[[^\d\]]*)\d+([^\]]*\]\(docs/layers\.md\))", rf"\g<1>{count}\2", text)


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def write(path: Path, text: str) -> None:
    """Write a file and print its path."""
    write_atomically(path, text)
    print(path.relative_to(ROOT))


def measure(case: Case) -> dict[str, Any]:
    """Return the measurements of one layer with default options."""
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
    """Return the layers that each reference vector tests; some are inside a wrapper, and one vector tests two."""
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
