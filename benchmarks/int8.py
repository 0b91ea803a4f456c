"""Quantize a base and five variants trained on digits to INT8, and write the table of docs/export.md.

python benchmarks/int8.py FOLDER   trains in the folder, which also keeps what is done; run again to continue
python benchmarks/int8.py --docs   trains nothing

The base is trained with recipe=digits, and each variant is fine-tuned from it for two epochs, from the identity.
ONNX and OpenVINO are calibrated with the validation images of digits and all evaluated on its test images.
Needs onnx, onnxruntime, onnxslim, openvino and nncf.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

from ultralytics import YOLO  # noqa: E402

from yolo_attn.cli import main as run  # noqa: E402
from yolo_attn.system.files import write_atomically  # noqa: E402

DOCUMENT, QUANTIZED = ROOT / "docs" / "export.md", ROOT / "benchmarks" / "int8.json"
START, END = "<!-- int8 -->\n", "<!-- end of int8 -->"
LAYERS = ("SE", "CBAM", "CA", "EMA", "MHSA")
EPOCHS, FINETUNING = 20, 2
COMMON = ("data=digits", "recipe=digits", "device=cpu", "workers=0", "plots=False", "seed=0")
FORMATS = {"onnx": "model_int8.onnx", "openvino": "model_int8_openvino_model"}


def main() -> None:
    """Train, quantize, evaluate and write."""
    if sys.argv[1:] != ["--docs"]:
        folder = Path(sys.argv[1]).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        base = train(folder / "base", "model=yolo11n.yaml", f"epochs={EPOCHS}")
        evaluate("yolo11n", base)
        for layer in LAYERS:
            words = (
                f"model={base}+{layer}[init=identity]@neck",
                f"epochs={FINETUNING}",
                "lr0=0.001",
                "lr_attention=10",
            )
            evaluate(f"yolo11n+{layer}@neck", train(folder / layer, *words))
    write_atomically(DOCUMENT, with_table(DOCUMENT.read_text(encoding="utf-8")))


def with_table(text: str) -> str:
    """Return a document with the table between its markers."""
    rows = ["| model | PyTorch | ONNX INT8 | OpenVINO INT8 |", "|---|---|---|---|"]
    for name, points in json.loads(QUANTIZED.read_text(encoding="utf-8")).items():
        cells = (f"{points[form]:.1f} ({points[form] - points['pytorch']:+.1f})" for form in FORMATS if form in points)
        rows.append(f"| {' | '.join([name, format(points['pytorch'], '.1f'), *cells])} |")
    table = "\n".join(rows)
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table}\n\n{END}{rest.partition(END)[2]}"


def train(folder: Path, *words: str) -> Path:
    """Train a model, unless it is trained, and return its checkpoint, alone in a folder."""
    checkpoint = folder / "model.pt"
    if not checkpoint.exists():
        status = run(["train", *words, *COMMON, f"project={folder.parent}", f"name={folder.name}", "exist_ok=True"])
        if status:
            sys.exit(status)
        write_atomically(checkpoint, (folder / "weights" / "last.pt").read_bytes())
    return checkpoint


def evaluate(name: str, checkpoint: Path) -> None:
    """Measure a model in PyTorch and in each format, and store the numbers, unless they are stored."""
    record = json.loads(QUANTIZED.read_text(encoding="utf-8")) if QUANTIZED.exists() else {}
    row = record.setdefault(name, {})
    for form in ("pytorch", *FORMATS):
        if form in row:
            continue
        file = checkpoint
        if form in FORMATS:
            with contextlib.chdir(checkpoint.parent):
                status = run(
                    ["export", f"model={checkpoint}", f"format={form}", "quantize=8", "data=digits", "imgsz=128"]
                )
            if status:
                sys.exit(status)
            file = checkpoint.parent / FORMATS[form]
        row[form] = round(100 * average_precision(file), 2)
        write_atomically(QUANTIZED, json.dumps(record, indent=1) + "\n")
        print(name, form, row[form], flush=True)


def average_precision(file: Path) -> float:
    """Return the mAP50-95 on the test images of digits."""
    found = YOLO(file, task="detect").val(
        data="digits", split="test", imgsz=128, batch=1, device="cpu", workers=0, plots=False
    )
    return float(found.box.map)


if __name__ == "__main__":
    main()
