"""Registration of attention layers for restricted loading (`restricted`, `ULTRALYTICS_SAFE_LOAD=1`)."""

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
    """Return the registered layers, the module classes that they may contain, and blocks.

    The classes come from the packages of the layers and the imports of their modules, which is all code that the user
    has imported.
    """
    layers = [spec.cls for spec in list_layers()]
    packages = {cls.__module__.partition(".")[0] for cls in layers} - {"yolo_attn", "torch", "ultralytics"}
    files = [file for name, file in sys.modules.items() if name.startswith("yolo_attn.layers.")]
    files += [file for name, file in sys.modules.items() if file is not None and name.partition(".")[0] in packages]
    parts = [value for file in files for value in list(vars(file).values()) if _is_module_class(value)]
    names = {full_name(cls) for cls in layers}  # while a class is redefined, its module still has the earlier one
    return {*layers, *CLASSES.values(), *(part for part in parts if full_name(part) not in names)}


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def allow() -> None:
    """Add the layers' classes, including those registered later, to torch's safe globals.

    torch has this list since 2.4. It is indexed by name, so a redefined class replaces the earlier one.
    """
    if not hasattr(torch.serialization, "get_safe_globals"):
        return
    classes = _classes()
    names = {full_name(cls) for cls in classes}
    _drop(lambda entry: isinstance(entry, type) and entry not in classes and full_name(entry) in names)
    torch.serialization.add_safe_globals(list(classes))
    on_change(allow)


def withdraw() -> None:
    """Remove the layers' classes from torch's safe globals."""
    off_change(allow)
    if hasattr(torch.serialization, "get_safe_globals"):
        classes: set[Any] = set(_classes())
        _drop(classes.__contains__)


def _drop(unwanted: Callable[[Any], bool]) -> None:
    """Remove entries from torch's safe globals."""
    entries = torch.serialization.get_safe_globals()
    kept = [entry for entry in entries if not unwanted(entry)]
    if len(kept) < len(entries):
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(kept)
