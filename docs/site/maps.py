"""Make the pictures on the layers' pages: maps of each layer in a YOLO11n that was trained on digits.

python docs/site/maps.py            all layers (half an hour on two CPU cores)
python docs/site/maps.py NAME ...   these layers

It writes build/maps/NAME.png, which the site includes. Existing pictures are kept. A layer without maps has no picture.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from yolo_attn.cli import main as run  # noqa: E402
from yolo_attn.data import list_images, resolve_data  # noqa: E402
from yolo_attn.registry import LayerSpec, get_layer, list_layers  # noqa: E402

PICTURES, RUNS = ROOT / "build" / "maps", ROOT / "build" / "runs"
BASE = RUNS / "base" / "weights" / "last.pt"
IMAGE = 3  # of the test images: several digits of different sizes
QUERY = "64,64"  # of self-attention: the middle of the image


def main(names: list[str]) -> None:
    """Make the pictures of some layers, or of all."""
    specs = [get_layer(name) for name in names] or [s for s in list_layers() if s.inputs == 1 and not s.more_inputs]
    if not BASE.exists():
        train("yolo11n.yaml", "base", "epochs=15")
    image = list_images(resolve_data("digits"), "test")[IMAGE]
    PICTURES.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        if not (PICTURES / f"{spec.name}.png").exists():
            draw(spec, image)


def draw(spec: LayerSpec, image: str) -> None:
    """Fine-tune the base with a layer at P3 and P4, and write the layer's maps over an image, if it has any."""
    train(f"{BASE}+{spec.name}@neck.P3,neck.P4", spec.name, "epochs=2", "lr0=0.001", "lr_attention=10")
    model = RUNS / spec.name / "weights" / "last.pt"
    folder = [f"project={RUNS}", f"name={spec.name}-maps", "exist_ok=True"]
    run(["maps", f"model={model}", f"source={image}", f"point={QUERY}", *folder])
    picture = RUNS / f"{spec.name}-maps" / f"{Path(image).stem}.png"
    if picture.exists():
        shutil.copy(picture, PICTURES / f"{spec.name}.png")
    shutil.rmtree(RUNS / spec.name)


def train(model: str, name: str, *words: str) -> None:
    """Train a model on digits, with its recipe."""
    folder = [f"project={RUNS}", f"name={name}", "exist_ok=True", "plots=False"]
    if run(["train", f"model={model}", "data=digits", "recipe=digits", *folder, *words]):
        raise SystemExit(f"{name} was not trained")


if __name__ == "__main__":
    main(sys.argv[1:])
