"""`yolo-attn maps`: attention maps on images."""

from __future__ import annotations

import json

from yolo_attn import api
from yolo_attn.cli.command import Command
from yolo_attn.cli.progress import progress_counter
from yolo_attn.cli.words import parse_flag, parse_format, parse_integer, parse_keys, parse_share, require_keys
from yolo_attn.system.files import expand_home

__all__ = ["COMMAND"]

_PROJECT, _NAME = "runs", "maps"
_KEYS = (
    *("model", "source", "split", "point", "heads", "cam", "conf", "imgsz", "vid_stride"),
    *("save", "figure", "dpi", "project", "name", "exist_ok", "format"),
)
_MOST_DPI = 1200


def _help() -> str:
    return f"""\
yolo-attn maps model=MODEL[,MODEL...] source=IMAGES [point=X,Y[,X,Y...]|detections] [heads=True] [cam=True] \
[save=png,pdf,svg,npz,html,video] [figure=image|layer] [dpi=N] [split=SPLIT] [vid_stride=N] [conf=C] [imgsz=PIXELS] \
[project={_PROJECT}] [name={_NAME}] [exist_ok=True] [format=json]

Writes a figure for each image with the maps of every attention layer over it, in one color scale from P3 to P5, and
prints statistics of the gates over all images: mean, spread, the share that is closed or passes everything. A gate that
is the same everywhere is reported as dead, and so are channels. With point=, the figure also shows which positions the
query's position attends to in self-attention (MHSA, NonLocal, BRA, DAttention, ...). Layers without attention weights
are listed and get no map.

  model        a checkpoint (best.pt); a model YAML gives the maps of an untrained model; several for one figure with
               the detections and maps of all
  source       an image, a video, a folder, or the name of a dataset (digits), for its validation images
  split        train, val or test, of a dataset
  point        queries of self-attention: x,y in pixels of the image, or detections: the centers of the first model's
               eight most confident ones
  heads        True: each head for the points, not only their mean
  cam          True: Ultralytics' class activation map (LayerCAM) beside the maps, for orientation
  conf         least confidence of a detection (default 0.25)
  imgsz        pixels of the longer side (default: as in training)
  vid_stride   every N-th frame of a video (default: 1; one frame a second with save= without video)
  save         kinds of files: png, pdf, svg, npz (the arrays), html (one page with all figures), video (the figures of
               a video's frames; default: video for videos, png for images)
  figure       image: one figure for each image (default); layer: one for each layer of each image
  dpi          pixels per inch (default 100; 300 for print)

  yolo-attn maps model=runs/detect/train/weights/best.pt source=digits
  yolo-attn maps model=yolo11n-mhsa.yaml source=street.jpg point=120,80,300,200 heads=True save=pdf,npz
"""


def _run(words: list[str]) -> int:
    keys = parse_keys(words, _KEYS)
    require_keys("maps", keys, ("model", "source"), "maps model=best.pt source=path/to/images")
    output_format = parse_format(keys)
    gallery = api.attention_maps(
        keys["model"],
        keys["source"],
        split=keys.get("split"),
        point=keys.get("point"),
        heads=parse_flag(keys, "heads"),
        cam=parse_flag(keys, "cam"),
        conf=parse_share(keys, "conf", 0.25),
        imgsz=parse_integer(keys, "imgsz", 0) or None,
        vid_stride=parse_integer(keys, "vid_stride", 0) or None,
        folder=expand_home(keys.get("project") or _PROJECT) / (keys.get("name") or _NAME),
        exist_ok=parse_flag(keys, "exist_ok"),
        save=keys.get("save") or None,
        figure=keys.get("figure") or "image",
        dpi=parse_integer(keys, "dpi", 100, _MOST_DPI),
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
