"""Multi-GPU training: the worker processes must know our layers too.

Ultralytics starts its DDP workers from a generated script. That script gets one more line on top, which imports this
package (and the modules of layers registered by the user) before anything is built.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.utils import dist

from yolo_attn.host.binding import Binding
from yolo_attn.registry import list_layers

__all__ = ["DDP_FILE"]


def _wrap(original: Callable[..., str]) -> Callable[..., str]:
    def generate_ddp_file(trainer: Any) -> str:
        """Write the worker script, with our import on top."""
        path = original(trainer)
        script = Path(path)
        script.write_text(_preamble() + script.read_text(encoding="utf-8"), encoding="utf-8")
        return path

    return generate_ddp_file


DDP_FILE = Binding(dist, "generate_ddp_file", _wrap)


def _preamble() -> str:
    """Return the lines that make every registered layer known in a fresh process."""
    modules = sorted({spec.cls.__module__ for spec in list_layers()} - {"__main__"})
    foreign = [m for m in modules if m.partition(".")[0] != "yolo_attn"]
    lines = ["import sys", f"sys.path[:] = {sys.path!r}", "import yolo_attn", *(f"import {m}" for m in foreign)]
    return "\n".join(lines) + "\n"
