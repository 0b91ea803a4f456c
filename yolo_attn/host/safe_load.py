"""Restricted loading (`ULTRALYTICS_SAFE_LOAD=1`, `torch.load(weights_only=True)`): our classes are known ones."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from yolo_attn.host.blocks import CLASSES
from yolo_attn.registry import list_layers

__all__ = ["allow", "withdraw"]


def _classes() -> set[type[nn.Module]]:
    """Return the registered layers, every module class of ours or of a user's that they may be made of, and blocks."""
    layers = [spec.cls for spec in list_layers()]
    foreign = {cls.__module__ for cls in layers}
    files = [file for name, file in sys.modules.items() if name.startswith("yolo_attn.layers.") or name in foreign]
    parts = [value for file in files for value in vars(file).values() if _is_module_class(value)]
    return {*layers, *CLASSES.values(), *(part for part in parts if sys.modules.get(part.__module__) in files)}


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def allow() -> None:
    """Add our classes to what restricted loading may rebuild (torch 2.4 and newer have such a list)."""
    if hasattr(torch.serialization, "add_safe_globals"):
        torch.serialization.add_safe_globals(list(_classes()))


def withdraw() -> None:
    """Take our classes off that list again."""
    if not hasattr(torch.serialization, "get_safe_globals"):
        return
    ours: set[Any] = set(_classes())
    kept = [entry for entry in torch.serialization.get_safe_globals() if entry not in ours]
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(kept)
