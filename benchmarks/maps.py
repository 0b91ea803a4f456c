"""Make the figures of docs/maps.md.

python benchmarks/maps.py [BASE]

BASE is a checkpoint of YOLO11n with COCO's classes (yolo11n.pt, which Ultralytics downloads). Two models with the same
ten layers are trained, in five minutes on two CPU cores:

- on the built-in digits, from scratch, and
- on the two photographs that Ultralytics contains, from BASE. All layers of BASE are frozen, and its own detections are
  the labels. This shows what maps of a photograph look like, not what the layers are good for.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import ultralytics

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yolo_attn  # noqa: E402
from yolo_attn.analysis.letterbox import read_image  # noqa: E402
from yolo_attn.analysis.maps import ImageMaps  # noqa: E402
from yolo_attn.analysis.models import open_model  # noqa: E402
from yolo_attn.analysis.overlay import Style, draw  # noqa: E402
from yolo_attn.cli import main as run_command  # noqa: E402
from yolo_attn.data import list_images, resolve_data  # noqa: E402
from yolo_attn.host.detector import Detector  # noqa: E402
from yolo_attn.system.files import write_atomically  # noqa: E402

FIGURES = ROOT / "docs" / "maps"
GATES = ("CBAM[{}]@backbone.P3", "EMA[{}]@neck.P3", "SimAM[{}]@neck.P3", "CA[{}]@backbone.P4")
OTHERS = (
    *("LSKA[init=identity]@neck.P4", "MHSA[heads=4,init=identity]@neck.P4", "NonLocal@neck.P3", "CrissCross@neck.P3"),
    *("BRA[init=identity]@backbone.P3", "DAttention[stride=4,init=identity]@neck.P3"),
)
COPIES = 16  # of each photograph in an epoch
QUALITIES = (90, 80, 70, 60)
MOST_BYTES = 150_000
Points = Sequence[tuple[float, float]]


def main() -> None:
    """Train, and write the figures."""
    base = sys.argv[1] if len(sys.argv) > 1 else "yolo11n.pt"
    FIGURES.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        digits = train_on_digits(Path(folder))
        photos, photographs = train_on_photographs(Path(folder), base)
        image = Path(list_images(resolve_data("digits"), "val")[3])
        write("digits", digits, image, [(64, 89), (58, 27)])
        points = [(590, 240), (960, 150)]
        write("photo", photos, photographs[1], points, imgsz=640)
        models = {"yolo11n": base, "with ten layers": photos}
        found = yolo_attn.attention_maps(models, photographs[1], point=points, imgsz=640, cam=True).image_maps
        kept = [tuple(query for query in each.queries if query.layer in {"NonLocal", "MHSA"}) for each in found]
        save("models", [replace(each, maps=(), queries=few) for each, few in zip(found, kept, strict=True)])


def layers(init: str) -> str:
    """Return the layers; `init` is that of the gates, which as published would halve the features of a trained base."""
    return "+".join([*(gate.format(f"init={init}") for gate in GATES), *OTHERS])


def train_on_digits(folder: Path) -> Path:
    """Return a checkpoint that was trained on the digits."""
    words = ["data=digits", "recipe=digits", "epochs=12", f"project={folder}", "name=digits", "plots=False", "seed=0"]
    return trained([f"model=yolo11n.yaml+{layers('paper')}", *words], folder / "digits")


def train_on_photographs(folder: Path, base: str) -> tuple[Path, list[Path]]:
    """Return a checkpoint that was trained on the two photographs, and these."""
    assets = Path(ultralytics.__file__).parent / "assets"
    photographs = sorted(assets.glob("*.jpg"))
    network = open_model(base)
    detector = Detector(network, imgsz=640, conf=0.4)
    names = {n: str(name) for n, name in network.names.items()}  # type: ignore[union-attr, operator]
    (folder / "photos" / "images").mkdir(parents=True)
    (folder / "photos" / "labels").mkdir()
    for photograph in photographs:
        image = read_image(photograph)
        size = np.array([image.shape[1], image.shape[0]] * 2)
        lines = []
        for found in detector(image).detections:
            left, top, right, bottom = found.box / size
            number = next(n for n, name in names.items() if name == found.label)
            lines.append(f"{number} {(left + right) / 2} {(top + bottom) / 2} {right - left} {bottom - top}")
        for copy in range(COPIES):
            shutil.copy(photograph, folder / "photos" / "images" / f"{photograph.stem}{copy}.jpg")
            (folder / "photos" / "labels" / f"{photograph.stem}{copy}.txt").write_text("\n".join(lines))
    data = folder / "photos.yaml"
    data.write_text(f"path: {folder / 'photos'}\ntrain: images\nval: images\nnames: {names}\n")
    words = [f"data={data}", "epochs=10", "imgsz=320", "batch=4", "nbs=4", "optimizer=AdamW", "lr0=0.004", "freeze=24"]
    words += ["warmup_epochs=0", "val=False", f"project={folder}", "name=photos-run", "plots=False", "seed=0"]
    return trained([f"model={base}+{layers('identity')}", *words], folder / "photos-run"), photographs


def trained(words: list[str], run: Path) -> Path:
    """Train with the words of a command and return the checkpoint.

    Raises:
        SystemExit: The training failed.
    """
    if status := run_command(["train", *words, "device=cpu"]):
        raise SystemExit(status)
    return run / "weights" / "last.pt"


def write(name: str, model: Path, image: Path, points: Points, *, imgsz: int | None = None) -> None:
    """Write the figures of a model: gates, weights for queries, and the heads of one layer."""
    (maps,) = yolo_attn.attention_maps(model, image, point=points, imgsz=imgsz).image_maps
    save(f"{name}-gates", [replace(maps, queries=(), maps=tuple(m for m in maps.maps if m.kind == "map"))])
    save(f"{name}-queries", [replace(maps, maps=())])
    heads = tuple(found for found in maps.queries if found.number == 0 and found.layer == "MHSA")
    save(f"{name}-heads", [replace(maps, maps=(), queries=heads)], Style(heads=True))


def save(name: str, maps: list[ImageMaps], style: Style | None = None) -> None:
    """Write a figure as a JPEG of at most 150 kB."""
    figure = cv2.imdecode(np.frombuffer(draw(maps, style), np.uint8), cv2.IMREAD_COLOR)
    encoded = (cv2.imencode(".jpg", figure, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for quality in QUALITIES)
    content = next((each for each in encoded if len(each) <= MOST_BYTES), None)
    if content is None:
        raise SystemExit(f"{name}: more than {MOST_BYTES} bytes; choose a smaller figure")
    write_atomically(FIGURES / f"{name}.jpg", content)


if __name__ == "__main__":
    main()
