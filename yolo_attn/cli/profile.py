"""`yolo-attn profile`: the cost of models."""

from __future__ import annotations

import inspect
import json

from yolo_attn import api
from yolo_attn.cli.command import Command
from yolo_attn.cli.progress import progress_counter
from yolo_attn.cli.words import parse_format, parse_integer, parse_keys, require_keys

__all__ = ["COMMAND"]

_DEFAULTS = {name: parameter.default for name, parameter in inspect.signature(api.profile).parameters.items()}


def _help() -> str:
    return f"""\
yolo-attn profile model=MODEL[,MODEL ...] [against=MODEL] [imgsz={_DEFAULTS["imgsz"]}] [device=DEVICE] \
[rounds={_DEFAULTS["rounds"]}] [format=json]

Shows the cost of a model: parameters, operations counted during a forward pass, latency of one image, peak memory. One
model is shown row by row, several are shown side by side with their ratios to the first.

  model      model YAMLs (yolo11n-cbam.yaml), checkpoints (best.pt), or layers on a base (yolo11n.yaml+CBAM@neck)
  against    the model to compare with
  device     cpu, or the number of a GPU (default: the first GPU, if any)
  rounds     timed passes of each model; the models take turns

  yolo-attn profile model=yolo11n-cbam.yaml,yolo11n-gam.yaml against=yolo11n.yaml
"""


def _run(words: list[str]) -> int:
    from yolo_attn.analysis.profile import as_dicts

    keys = parse_keys(words, ("model", "against", "imgsz", "device", "rounds", "format"))
    require_keys("profile", keys, ("model",), "profile model=yolo11n-cbam.yaml")
    output_format = parse_format(keys)
    profiles = api.profile(
        keys["model"],
        against=keys.get("against"),
        imgsz=parse_integer(keys, "imgsz", _DEFAULTS["imgsz"]),
        device=keys.get("device"),
        rounds=parse_integer(keys, "rounds", _DEFAULTS["rounds"]),
        progress=progress_counter("round"),
    )
    print(json.dumps(as_dicts(profiles), indent=2) if output_format == "json" else profiles)
    return 0


COMMAND = Command(
    name="profile",
    run=_run,
    summary="parameters, GFLOPs, latency and memory, by row or by model",
    keys="[format=json]",
    help=_help,
)
