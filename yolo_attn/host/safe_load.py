"""Restricted loading (`restricted`, `ULTRALYTICS_SAFE_LOAD=1`): the classes of our layers and of users' are known."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from yolo_attn.host.blocks import CLASSES
from yolo_attn.registry import full_name, list_layers, off_change, on_change

__all__ = ["allow", "withdraw"]


def _classes() -> set[type[nn.Module]]:
    """Return the registered layers, the module classes that they may be made of, and blocks.

    Parts are looked for in the packages that layers are from, and among what their modules import: all of it is code
    that the user has imported.
    """
    layers = [spec.cls for spec in list_layers()]
    packages = {cls.__module__.partition(".")[0] for cls in layers} - {"yolo_attn", "torch", "ultralytics"}
    files = [file for name, file in sys.modules.items() if name.startswith("yolo_attn.layers.")]
    files += [file for name, file in sys.modules.items() if file is not None and name.partition(".")[0] in packages]
    parts = [value for file in files for value in list(vars(file).values()) if _is_module_class(value)]
    names = {full_name(cls) for cls in layers}  # while a class is defined again, its module still has the earlier one
    return {*layers, *CLASSES.values(), *(part for part in parts if full_name(part) not in names)}


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def allow() -> None:
    """Add our classes, and those registered from now on, to what restricted loading may rebuild.

    torch has such a list from 2.4 on. It goes by names, so a class that was defined again takes the place of the
    earlier one.
    """
    if not hasattr(torch.serialization, "get_safe_globals"):
        return
    ours = _classes()
    names = {full_name(cls) for cls in ours}
    _drop(lambda entry: isinstance(entry, type) and entry not in ours and full_name(entry) in names)
    torch.serialization.add_safe_globals(list(ours))
    on_change(allow)


def withdraw() -> None:
    """Take our classes off that list again."""
    off_change(allow)
    if hasattr(torch.serialization, "get_safe_globals"):
        ours: set[Any] = set(_classes())
        _drop(ours.__contains__)


def _drop(unwanted: Callable[[Any], bool]) -> None:
    """Take entries off torch's list."""
    entries = torch.serialization.get_safe_globals()
    kept = [entry for entry in entries if not unwanted(entry)]
    if len(kept) < len(entries):
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(kept)
