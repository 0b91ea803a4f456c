"""Paths of the package and of the files that ship with it.

The files are in the package when it is installed, and next to it in a source checkout.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["child_paths", "config_folder", "shipped"]

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Return the path of a file or folder that ships with the package, such as "datasets.yaml"."""
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


def config_folder() -> Path:
    """Return the folder of the ready model YAMLs."""
    return shipped("configs")


def child_paths(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a child process finds this package and searches no working folder.

    The working folder may be a study from someone else, with a random.py in it.

    Args:
        environment: The environment that the child gets otherwise.
    """
    paths = [str(_PACKAGE.parent), environment.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}
