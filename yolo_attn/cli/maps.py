"""`yolo-attn maps`: attention maps on images."""

from __future__ import annotations

import json
from pathlib import Path

from yolo_attn import api
from yolo_attn.cli.command import Command
from yolo_attn.cli.progress import progress_counter
from yolo_attn.cli.words import parse_flag, parse_format, parse_integer, parse_keys, require_keys

__all__ = ["COMMAND"]

_PROJECT, _NAME = "runs", "maps"


def _help() -> str:
    return f"""\
yolo-attn maps model=MODEL source=IMAGES [imgsz=PIXELS] [project={_PROJECT}] [name={_NAME}] [exist_ok=True] \
[format=json]

Writes a PNG for each image with the maps of every attention layer over it, in one color scale from P3 to P5, and prints
statistics of the gates: mean, spread, the share that is closed or passes everything. A gate that is the same everywhere
is reported as dead. Layers without attention weights are listed and get no map.

  model      a checkpoint (best.pt); a model YAML gives the maps of an untrained model
  source     an image, a folder of images, or the name of a dataset (digits), for its validation images
  imgsz      pixels of the longer side (default: as in training)

  yolo-attn maps model=runs/detect/train/weights/best.pt source=digits
"""


def _run(words: list[str]) -> int:
    keys = parse_keys(words, ("model", "source", "imgsz", "project", "name", "exist_ok", "format"))
    require_keys("maps", keys, ("model", "source"), "maps model=best.pt source=path/to/images")
    output_format = parse_format(keys)
    gallery = api.attention_maps(
        keys["model"],
        keys["source"],
        imgsz=parse_integer(keys, "imgsz", 0) or None,
        folder=Path(keys.get("project") or _PROJECT).expanduser() / (keys.get("name") or _NAME),
        exist_ok=parse_flag(keys, "exist_ok"),
        progress=progress_counter("image"),
    )
    print(json.dumps(gallery.to_dict(), indent=2, ensure_ascii=False) if output_format == "json" else gallery)
    return 0


COMMAND = Command(
    name="maps",
    run=_run,
    summary="show the attention of a model's layers on images",
    keys="[format=json]",
    help=_help,
)
