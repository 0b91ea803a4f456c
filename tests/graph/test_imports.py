"""Imports of `graph` and of a run's parent process, which start fast because they do not import torch."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import PACKAGE

SCRIPT = """
import importlib, pkgutil, sys, types
package = types.ModuleType("yolo_attn")
package.__path__ = [sys.argv[1]]
sys.modules["yolo_attn"] = package  # without its __init__, which registers the layers
import yolo_attn.graph, yolo_attn.study.running.worker
for module in pkgutil.iter_modules(yolo_attn.graph.__path__):
    importlib.import_module(f"yolo_attn.graph.{module.name}")
sys.exit("torch is imported" if "torch" in sys.modules or "ultralytics" in sys.modules else 0)
"""


def test_graph_and_worker_do_not_import_torch() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, PACKAGE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
