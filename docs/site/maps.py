"""Make the figures on the layers' pages: maps of each layer in a YOLO11n that was trained on digits.

python docs/site/maps.py            all layers (a quarter of an hour on two CPU cores)
python docs/site/maps.py NAME ...   these layers

It writes build/maps/NAME.png, which the site includes. Existing figures are kept. A layer without maps has no figure.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from yolo_attn.cli import main as run  # noqa: E402
from yolo_attn.data import list_images, resolve_data  # noqa: E402
from yolo_attn.graph.document import dump_model  # noqa: E402
from yolo_attn.graph.rows import ModelGraph  # noqa: E402
from yolo_attn.host.documents import model_yaml  # noqa: E402
from yolo_attn.registry import LayerSpec, get_layer, list_layers  # noqa: E402

FIGURES, RUNS = ROOT / "build" / "maps", ROOT / "build" / "runs"
BASE = RUNS / "base" / "weights" / "last.pt"
IMAGE = 3  # of the test images: several digits of different sizes
QUERY = "68,68"  # of self-attention: the center of a position in the middle of the image
PAIRS = ((19, 6), (16, 3))  # rows of a YOLO11n with maps of one size and width, at P4 and P3, for layers of two inputs


def main(names: list[str]) -> None:
    """Make the figures of some layers, or of all."""
    specs = [get_layer(name) for name in names] or list_layers()
    if not BASE.exists():
        train("yolo11n.yaml", "base", "epochs=15")
    image = list_images(resolve_data("digits"), "test")[IMAGE]
    FIGURES.mkdir(parents=True, exist_ok=True)
    for spec in specs:
        if not (FIGURES / f"{spec.name}.png").exists():
            draw(spec, image)


def draw(spec: LayerSpec, image: str) -> None:
    """Fine-tune the base with a layer at P3 and P4, and write the layer's maps over an image, if it has any."""
    model = f"{BASE}+{spec.name}@neck.P3,neck.P4" if spec.inputs == 1 and not spec.more_inputs else with_pairs(spec)
    words = ("epochs=1", "fraction=0.5", "val=False", "lr0=0.001", "lr_attention=10")
    train(model, spec.name, f"pretrained={BASE}", *words)
    weights = RUNS / spec.name / "weights" / "last.pt"
    folder = [f"project={RUNS}", f"name={spec.name}-maps", "exist_ok=True"]
    run(["maps", f"model={weights}", f"source={image}", f"point={QUERY}", *folder])
    figure = RUNS / f"{spec.name}-maps" / f"{Path(image).stem}.png"
    if figure.exists():
        shutil.copy(figure, FIGURES / f"{spec.name}.png")
    shutil.rmtree(RUNS / spec.name)


def with_pairs(spec: LayerSpec) -> str:
    """Write a YOLO11n with a layer of two inputs, each at P3 and P4, and return the file's name."""
    graph = ModelGraph(model_yaml("yolo11n.yaml"))
    for first, second in PAIRS:
        row = graph.rows[graph.insert_after(first, spec.name, [])]
        row.sources, row.relative, row.several = [first, second], [True, False], True
    path = RUNS / f"yolo11n-{spec.name}.yaml"
    path.write_text(dump_model(graph.to_document()), encoding="utf-8")
    return str(path)


def train(model: str, name: str, *words: str) -> None:
    """Train a model on digits, with its recipe."""
    folder = [f"project={RUNS}", f"name={name}", "exist_ok=True", "plots=False"]
    if run(["train", f"model={model}", "data=digits", "recipe=digits", *folder, *words]):
        raise SystemExit(f"{name} was not trained")


if __name__ == "__main__":
    main(sys.argv[1:])
