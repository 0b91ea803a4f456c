"""Write configs/: each layer of one input in the neck of each family, popular ones in the backbone too.

python scripts/make_configs.py            writes the files
python scripts/make_configs.py --check    exits with status 1 if a file would change
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from yolo_attn.files import write_atomically
from yolo_attn.graph import dump_model
from yolo_attn.host.placement import place_layer
from yolo_attn.registry import list_layers

OURS = "yolo_attn.layers."
FAMILIES = {"yolo11": "YOLO11", "yolov8": "YOLOv8", "yolo26": "YOLO26"}
NECK = tuple(s.name for s in list_layers() if s.inputs == 1 and not s.more_inputs and s.cls.__module__.startswith(OURS))
BACKBONE = ("SE", "ECA", "CBAM", "CA", "SimAM", "EMA")
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
    for family, title in FAMILIES.items():
        for site, layers in (("neck", NECK), ("backbone", BACKBONE)):
            for layer in layers:
                suffix = "" if site == "neck" else f"-{site}"
                yield FOLDER / f"{family}-{layer.lower()}{suffix}.yaml", make(family, title, layer, site)


def make(family: str, title: str, layer: str, site: str) -> str:
    """Return one model YAML as text."""
    placed = place_layer(f"{family}.yaml", layer, site)
    document = {key: value for key, value in placed.document.items() if key != "scale"}  # the name says it
    spec, levels = placed.layer, ", ".join(s.split(".")[1] for s in placed.sites)
    file = f"{family}n-{layer.lower()}{'' if site == 'neck' else '-' + site}.yaml"
    header = "\n".join(
        [
            f"{title} object detection with {layer} in the {site} ({levels})",
            f"{layer}: {spec.paper}, {spec.url}",
            f"Made by scripts/make_configs.py from {family}.yaml: {layer}@{site}",
            f"Use it at any scale: yolo-attn train model={file} data=digits",
        ]
    )
    return dump_model(document, header, placed.notes)


if __name__ == "__main__":
    sys.exit(main())
