"""Restricted loading (`ULTRALYTICS_SAFE_LOAD=1`, `torch.load(weights_only=True)`): our classes are known ones."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from yolo_attn.registry import list_layers

__all__ = ["allow", "withdraw"]


def _classes() -> set[type[nn.Module]]:
    """Return every module class that a registered layer's file defines: the layers and their parts."""
    files = {spec.cls.__module__ for spec in list_layers()}
    files |= {base.__module__ for spec in list_layers() for base in spec.cls.__mro__ if _is_ours(base.__module__)}
    found = {spec.cls for spec in list_layers()}
    for name in files:
        for value in vars(sys.modules[name]).values():
            if isinstance(value, type) and issubclass(value, nn.Module) and _is_ours(value.__module__):
                found.add(value)
    return found


def _is_ours(module: str) -> bool:
    return module.startswith("yolo_attn.layers.")


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
