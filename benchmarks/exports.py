"""Export a model with every layer to every format, compare it with PyTorch, and write the table of docs/export.md.

python benchmarks/exports.py                    measures what is not in yolo_attn/exports.json
python benchmarks/exports.py --only CBAM,SE     measures these layers again
python benchmarks/exports.py --format ncnn,mnn  only these formats
python benchmarks/exports.py --docs             measures nothing

Formats whose packages are not installed keep their measurements, because some need environments of their own. Each
cell is measured in a process of its own, which a converter may crash, and is stored at once, so the command can be
interrupted and run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # Ultralytics would install packages with pip

from tests.exports.measure import FORMATS, measure  # noqa: E402
from tests.exports.table import DOCUMENT, LAYERS, measured_formats, with_table  # noqa: E402
from yolo_attn.errors import first_line  # noqa: E402
from yolo_attn.exports import RECORD, Cell, read_cells, read_record  # noqa: E402
from yolo_attn.registry import get_layer  # noqa: E402
from yolo_attn.system.files import write_atomically  # noqa: E402

SECONDS = 900  # of one cell
LOG = Path(tempfile.gettempdir()) / "exports.log"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="layers to measure again, separated by commas")
    parser.add_argument("--format", default=",".join(FORMATS), help=f"formats: {', '.join(FORMATS)}")
    parser.add_argument("--docs", action="store_true", help="only write the table again")
    arguments = parser.parse_args()
    if not arguments.docs:
        again = [get_layer(name).name for name in arguments.only.split(",") if name]
        for form, layer in cells_due(again, arguments.format.split(",")):
            store(form, layer, in_own_process(layer, form))
    write_atomically(DOCUMENT, with_table(DOCUMENT.read_text(encoding="utf-8")))
    print(f"{DOCUMENT}: {', '.join(measured_formats())}")


def cells_due(again: list[str], formats: list[str]) -> Iterator[tuple[str, str]]:
    """Yield format and layer of the cells to measure.

    Args:
        again: The layers to measure, also where they have a cell; without any, all layers that have none.
        formats: Keys of `FORMATS`.
    """
    cells = read_cells()
    for form in formats:
        if missing := FORMATS[form].missing:
            print(f"{form}: {', '.join(missing)} not installed: pip install {' '.join(missing)}")
            continue
        for layer in LAYERS:
            if layer in again or (not again and (form, layer) not in cells):
                yield form, layer


def store(form: str, layer: str, cell: Cell) -> None:
    """Store a cell, with the versions of its packages."""
    record = read_record()
    record["versions"][form] = FORMATS[form].versions()
    record["cells"].setdefault(form, {})[layer] = cell.to_dict()
    write_atomically(RECORD, in_lines(record))
    print(form, layer, cell.verdict, cell.to_dict(), flush=True)


def in_lines(record: dict[str, Any]) -> str:
    """Return a record as JSON with one cell a line, in the order of the table."""
    parts = []
    for form in (form for form in FORMATS if form in record["cells"]):
        cells = record["cells"][form]
        lines = ",\n".join(f"   {json.dumps(name)}: {json.dumps(cells[name])}" for name in LAYERS if name in cells)
        parts.append(f"  {json.dumps(form)}: {{\n{lines}\n  }}")
    versions = ",\n".join(f"  {json.dumps(form)}: {json.dumps(found)}" for form, found in record["versions"].items())
    cells_text = ",\n".join(parts)
    return f'{{\n "versions": {{\n{versions}\n }},\n "cells": {{\n{cells_text}\n }}\n}}\n'


def in_own_process(layer: str, form: str) -> Cell:
    """Measure a cell in a process that starts with everything imported; its output is in a log."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.exports.measure"])
    with tempfile.TemporaryDirectory() as folder:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_measure, args=(layer, form, folder, sender))
        process.start()
        sender.close()
        try:
            if not receiver.poll(SECONDS):
                return Cell(problem=f"no result after {SECONDS // 60} minutes")
            return Cell(**receiver.recv())
        except EOFError:
            process.join()
            return Cell(problem=f"the process crashed (exit status {process.exitcode})")
        finally:
            process.kill()
            process.join()


def _measure(layer: str, form: str, folder: str, sender: Connection) -> None:
    os.chdir(folder)
    with LOG.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        print(f"\n===== {layer} {form}", flush=True)
        try:
            cell = measure(layer, form)
        except Exception as error:  # of running the exported model
            cell = Cell(problem=f"{type(error).__name__}: {first_line(error)}")
        sender.send(cell.to_dict())


if __name__ == "__main__":
    main()
