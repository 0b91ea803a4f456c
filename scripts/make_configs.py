"""Write configs/: each layer of one input in the neck of each model family, popular ones also in backbone and blocks.

python scripts/make_configs.py            writes the files
python scripts/make_configs.py --check    exits with status 1 if a file would change
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from yolo_attn.graph import dump_model
from yolo_attn.host.placement import place_layer
from yolo_attn.registry import list_layers
from yolo_attn.system.files import write_atomically

FAMILIES = {"yolo11": "YOLO11", "yolov8": "YOLOv8", "yolo26": "YOLO26"}
BLOCKS = {"yolo11": "C3k2", "yolov8": "C2f", "yolo26": "C3k2"}
NECK = tuple(spec.name for spec in list_layers() if spec.inputs == 1 and not spec.more_inputs and spec.built_in)
POPULAR = ("SE", "ECA", "CBAM", "CA", "SimAM", "EMA")
FOLDER = Path(__file__).resolve().parent.parent / "configs"


def main() -> int:
    """Write or check every file."""
    made = dict(make_all())
    stale = [path for path, text in made.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.name} is out of date: python scripts/make_configs.py")
        return 1 if stale else 0
    for path in stale:
        write_atomically(path, made[path])
    print(f"{len(stale)} files written to {FOLDER}")
    return 0


def make_all() -> Iterator[tuple[Path, str]]:
    """Yield each file with its text."""
    for family in FAMILIES:
        block = BLOCKS[family]
        yield from make_files(family, NECK, "neck", "")
        yield from make_files(family, POPULAR, "backbone", "-backbone")
        yield from make_files(family, POPULAR, f"inside:{block}", f"-{block.lower()}")


def make_files(family: str, layers: tuple[str, ...], site: str, suffix: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of one family with layers at a site."""
    for layer in layers:
        name = f"-{layer.lower()}{suffix}.yaml"
        yield FOLDER / f"{family}{name}", make(family, layer, site, f"{family}n{name}")


def make(family: str, layer: str, site: str, file: str) -> str:
    """Return one model YAML as text."""
    placed = place_layer(f"{family}.yaml", layer, site)
    document = {key: value for key, value in placed.document.items() if key != "scale"}  # the file name contains it
    spec, block = placed.layer, placed.insertions[0].block
    levels = ", ".join(s.split(".")[1] for s in placed.sites if not block)
    header = "\n".join(
        [
            f"{FAMILIES[family]} object detection with {layer} "
            + (f"inside each bottleneck of its {block} blocks" if block else f"in the {site} ({levels})"),
            f"{layer}: {spec.paper}, {spec.url}",
            f"Made by scripts/make_configs.py from {family}.yaml: {layer}@{site}",
            f"Use it at any scale: yolo-attn train model={file} data=digits",
        ]
    )
    return dump_model(document, header, placed.notes)


if __name__ == "__main__":
    sys.exit(main())
