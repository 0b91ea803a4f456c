"""Registration of layers in the worker processes of multi-GPU training.

Ultralytics starts its DDP workers from a generated script. Lines at its beginning import this package and the modules
of custom layers before a model is built. In a run of a study, they also end each worker with the run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.utils import dist

from yolo_attn.host.binding import Binding
from yolo_attn.host.child_training import refuse_script_layers
from yolo_attn.host.restricted import is_restricted
from yolo_attn.host.transfer import INHERITED, last_transfer
from yolo_attn.registry import list_layers

__all__ = ["DDP_FILE"]


def _wrap(original: Callable[..., str]) -> Callable[..., str]:
    def generate_ddp_file(trainer: Any) -> str:
        """Write the worker script with the imports at its beginning."""
        refuse_script_layers(trainer.model, "multi-GPU training")
        if is_restricted():  # the launcher, which Ultralytics starts next, does not search the working folder
            os.environ["PYTHONSAFEPATH"] = "1"
        path = original(trainer)
        script = Path(path)
        lines = _preamble(getattr(trainer, "run_folder", None), _transfer_into(trainer.model))
        script.write_text(lines + script.read_text(encoding="utf-8"), encoding="utf-8")
        return path

    return generate_ddp_file


DDP_FILE = Binding(dist, "generate_ddp_file", _wrap)


def _transfer_into(model: Any) -> str:
    """Return the report on a model that is already loaded, which a worker receives without it; "" if there is none."""
    return str((last_transfer(model) if isinstance(model, nn.Module) else None) or "")


def _preamble(run: Path | None = None, transfer: str = "") -> str:
    """Return the lines that register every layer in a new process and bind the process to a study's run."""
    modules = sorted({spec.cls.__module__ for spec in list_layers()} - {"__main__"})
    custom = [m for m in modules if m.partition(".")[0] != "yolo_attn"]
    lines = ["import sys", f"sys.path[:] = {sys.path!r}", "import yolo_attn", *(f"import {m}" for m in custom)]
    if is_restricted():
        lines += ["from yolo_attn.host.restricted import restrict", "restrict()"]
    if transfer:
        lines += ["import os", f"os.environ.setdefault({INHERITED!r}, {transfer!r})"]
    if run is not None:
        # Where processes are not forked, data loaders import the script again; they are not ranks.
        lines += ["if __name__ == '__main__':", "    from yolo_attn.system.processes import join_run"]
        lines += [f"    join_run({str(run)!r}, {os.getpid()})"]
    return "\n".join(lines) + "\n"
