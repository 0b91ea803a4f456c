"""The command line of benchmarks/layers.py."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import yolo_attn.layers  # noqa: F401 - registers the layers
from yolo_attn.analysis.models import processor_name
from yolo_attn.cli.words import parse_flag, parse_integer, parse_keys, without_dashes
from yolo_attn.errors import UserError
from yolo_attn.system.files import write_atomically

from .earlier import Earlier, extract
from .floor import Machine
from .measurement import MODES, Pair, Settings, measure, pairs
from .shapes import LEVELS
from .summary import summary, table
from .timing import keep_heap

__all__ = ["main", "parse_device"]

KEYS = (
    "only",
    "peers",
    "against",
    "levels",
    "batch",
    "modes",
    "device",
    "dtype",
    "compile",
    "products",
    "seconds",
    "threads",
    "pages",
    "out",
)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PACKAGES = ("torch", "timm", "fightingcv-attention", "ultralytics")
COMPARED_CHANNELS = 64
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Plan:
    """What is measured, where and how.

    Attributes:
        pairs: Layers, with their peers.
        levels: Names of levels.
        batches: Sizes of the batch.
        modes: Forward, with backward, or both.
        settings: How.
        against: Another commit whose layers are measured instead of those of other libraries, or "".
        new_pages: Whether memory returns to the system as by default, so that tensors may need new pages in each call.
        out: A JSON file, or None.
    """

    pairs: list[Pair]
    levels: list[str]
    batches: list[int]
    modes: list[str]
    settings: Settings
    against: str = ""
    new_pages: bool = False
    out: Path | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)


def main(words: Sequence[str]) -> int:
    """Measure, print a table and write JSON; return the exit status."""
    try:
        plan = parse(words)
        if not plan.new_pages:
            keep_heap()
        with TemporaryDirectory() as folder:
            execute(beside(plan, Path(folder)) if plan.against else plan)
    except UserError as error:
        print(f"layers.py: {error}", file=sys.stderr)
        return 2
    return 0


def parse(words: Sequence[str]) -> Plan:
    """Return the plan that the words of the command line ask for."""
    keys = parse_keys(without_dashes(words), KEYS)
    seconds = keys.get("seconds", "1")
    if not seconds.replace(".", "", 1).isdecimal():
        raise UserError(f"seconds={seconds}: use a number, such as 0.5")
    if threads := keys.get("threads"):
        torch.set_num_threads(parse_integer({"threads": threads}, "threads", 1))
    if keys.get("against") and parse_flag(keys, "peers"):
        raise UserError("against= and peers=True: layers are measured beside either; use one of them")
    chosen = pairs(_list(keys, "only", None, []), peers_only=parse_flag(keys, "peers"))
    if not chosen:
        raise UserError("peers=True: no peer of these layers is installed; pip install timm fightingcv-attention")
    return Plan(
        chosen,
        _list(keys, "levels", LEVELS, list(LEVELS)),
        [parse_integer({"batch": text}, "batch", 1) for text in _list(keys, "batch", None, ["1"])],
        _list(keys, "modes", MODES, list(MODES)),
        _settings(keys, float(seconds)),
        keys.get("against", ""),
        parse_flag(keys, "pages"),
        Path(keys["out"]) if keys.get("out") else None,
    )


def _settings(keys: dict[str, str], seconds: float) -> Settings:
    compiled, products = parse_flag(keys, "compile"), parse_flag(keys, "products")
    if compiled and products:
        raise UserError("compile=True and products=True: the operators of compiled code are not seen; use one of them")
    return Settings(parse_device(keys.get("device", "cpu")), _dtype(keys), compiled, seconds, products)


def beside(plan: Plan, folder: Path) -> Plan:
    """Return a plan with the layers of another commit as peers.

    Args:
        plan: The plan.
        folder: Where the files of the commit are written.
    """
    specs = {pair.spec.name: pair.spec for pair in plan.pairs if pair.spec.inputs == 1}
    if not specs:
        raise UserError(f"against={plan.against}: layers with several inputs have no peer; name others with only=")
    extract(plan.against, folder)
    return replace(
        plan, pairs=[Pair(spec, Earlier(name, plan.against, "", folder=folder)) for name, spec in specs.items()]
    )


def _list(
    keys: dict[str, str], key: str, known: Sequence[str] | dict[str, Any] | None, default: list[str]
) -> list[str]:
    found = [item for item in keys.get(key, "").split(",") if item] or default
    for item in found:
        if known is not None and item not in known:
            raise UserError(f"{key}={item}: use {', '.join(known)}")
    return found


def _dtype(keys: dict[str, str]) -> torch.dtype:
    (name,) = _list(keys, "dtype", DTYPES, ["float32"])
    return DTYPES[name]


def parse_device(name: str) -> torch.device:
    """Return the CPU or a GPU of this machine."""
    if name == "cpu":
        return torch.device("cpu")
    if not name.isdecimal():
        raise UserError(f"device={name}: use cpu, or the number of a GPU")
    if int(name) >= torch.cuda.device_count():
        raise UserError(f"device={name}: this machine has {torch.cuda.device_count()} GPUs; use device=cpu")
    torch.backends.cudnn.allow_tf32 = False  # convolutions of float32 are as exact as matrix products
    return torch.device("cuda", int(name))


def execute(plan: Plan) -> None:
    """Measure everything in a plan; print it, and write what is measured so far after each pair."""
    machine = Machine(plan.settings.device, plan.settings.dtype)
    about = describe(plan.settings, machine) | {"pages": plan.new_pages}
    print(json.dumps(about))
    for pair in plan.pairs:
        difference = pair.difference(COMPARED_CHANNELS)
        if difference is not None and difference > TOLERANCE:
            raise UserError(f"{pair.spec.name} and {pair.peer and pair.peer.name} differ by {difference:.1e}")
        found = [
            measure(pair, LEVELS[level], machine, plan.settings, batch=batch, mode=mode)
            for level in plan.levels
            for batch in plan.batches
            for mode in plan.modes
        ]
        print(table(found), flush=True)
        plan.rows.extend(found)
        if plan.out is not None:
            write_atomically(plan.out, json.dumps({**about, "rows": plan.rows}, indent=1) + "\n")
    print(summary(plan.rows))


def describe(settings: Settings, machine: Machine) -> dict[str, Any]:
    """Return the hardware, its measured speed, the versions and the settings."""
    large = 2**28
    return {
        "hardware": processor_name(settings.device),
        "threads": torch.get_num_threads(),
        "copy_gb_per_s": round(machine.bandwidth(large) / 1e9, 1),
        "matrix_gflops": round(machine.matrix_rate / 1e9, 1),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "date": date.today().isoformat(),
        "device": str(settings.device),
        "dtype": str(settings.dtype).removeprefix("torch."),
        "compile": settings.compiled,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
