"""Paths of the files that ship with the package.

They are in the package when it is installed, and next to it in a source checkout.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["config_folder", "shipped"]

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Return the path of a file or folder that ships with the package, such as "datasets.yaml"."""
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


def config_folder() -> Path:
    """Return the folder of the ready model YAMLs."""
    return shipped("configs")
