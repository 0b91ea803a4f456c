"""Classes that restricted loading accepts in checkpoints: layers, models, losses and plain values.

Ultralytics has such a list since 8.4.67 (`ULTRALYTICS_SAFE_LOAD`). It was incomplete at first, and does not include
torchvision's layers, which rows may name. This list makes all releases accept the same checkpoints.
"""

from __future__ import annotations

import enum
import importlib
import pathlib
import pickle
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from ultralytics.utils import IterableSimpleNamespace

__all__ = ["allow_parts"]

# Modules, with their submodules, whose layers and models a checkpoint may contain.
_LAYERS = (
    *("torch.nn.modules.", "torchvision.models.", "torchvision.ops."),
    *("ultralytics.nn.modules.", "ultralytics.nn.tasks.", "ultralytics.nn.distill_model."),
)
# Other classes: losses and box assigners (all of a module), and a classifier's transforms.
_LOSSES = ("ultralytics.utils.loss", "ultralytics.utils.tal", "ultralytics.nn.distill_model")
_TRANSFORMS = {
    *(f"torchvision.transforms.transforms.{name}" for name in ("CenterCrop", "Compose", "Normalize", "Resize")),
    *("torchvision.transforms.transforms.ToTensor", "torchvision.transforms.functional.InterpolationMode"),
}


def allow_parts(names: Iterable[str]) -> None:
    """Add the acceptable classes among some names to torch's list of safe globals.

    Args:
        names: Names in a checkpoint that torch does not accept yet, such as "ultralytics.nn.modules.conv.Conv".
    """
    torch.serialization.add_safe_globals([entry for name in names for entry in _entries(name)])


def _entries(name: str) -> list[Any]:
    """Return torch's entries for a name in a checkpoint; [] if it is not acceptable."""
    if name in _VALUES:
        # Numbers also need the class of their dtype, which numpy creates at run time and no checkpoint names.
        return [(_VALUES[name], name), *(_NUMBER_TYPES if name == "numpy.dtype" else ())]
    file, _, word = name.rpartition(".")
    if not f"{file}.".startswith(_LAYERS) and file not in _LOSSES and name not in _TRANSFORMS:
        return []
    try:
        found = vars(importlib.import_module(file)).get(word)
    except ImportError:  # a module of another release
        return []
    if not isinstance(found, type):
        return []
    own = found.__module__ == file and (file in _LOSSES or name in _TRANSFORMS)
    return [(found, name)] if own or issubclass(found, nn.Module) else []


def _getattr(owner: Any, name: str) -> Any:
    """Replace `getattr`, which checkpoints use for members of enumerations and methods of layers."""
    if isinstance(owner, type) and issubclass(owner, (nn.Module, enum.Enum)) and not name.startswith("__"):
        return getattr(owner, name)
    if isinstance(owner, nn.Module) and name in ("forward", "forward_fuse"):
        return getattr(type(owner), name).__get__(owner)
    raise pickle.UnpicklingError(f"unsafe getattr({type(owner).__name__}, {name!r})")


_NUMBER_TYPES = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")]
_SCALAR = np.float64(0).__reduce__()[0]
_VALUES: dict[str, Any] = {
    "builtins.getattr": _getattr,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy._core.multiarray.scalar": _SCALAR,
    "ultralytics.utils.IterableSimpleNamespace": IterableSimpleNamespace,
    "ultralytics.yolo.utils.IterableSimpleNamespace": IterableSimpleNamespace,  # before 8.0.44
    # Paths of both systems become paths of this one. Python 3.13 names another module.
    **{f"pathlib{sub}.{kind}": pathlib.Path for sub in ("", "._local") for kind in ("PosixPath", "WindowsPath")},
}
