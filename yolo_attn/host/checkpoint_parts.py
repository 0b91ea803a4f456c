"""What checkpoints of Ultralytics consist of, as restricted loading knows it: layers, models, losses, plain values.

Ultralytics has such a list from 8.4.67 on (`ULTRALYTICS_SAFE_LOAD`), which at first lacked what its trainings write,
and lacks the layers of torchvision, which rows may name. With this one all releases open the same.
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

# Modules whose layers and models it may hold, and those below them.
_LAYERS = (
    *("torch.nn.modules.", "torchvision.models.", "torchvision.ops."),
    *("ultralytics.nn.modules.", "ultralytics.nn.tasks.", "ultralytics.nn.distill_model."),
)
# Other classes that it may hold: losses and what they match boxes with (all of a module), a classifier's transforms.
_LOSSES = ("ultralytics.utils.loss", "ultralytics.utils.tal", "ultralytics.nn.distill_model")
_TRANSFORMS = {
    *(f"torchvision.transforms.transforms.{name}" for name in ("CenterCrop", "Compose", "Normalize", "Resize")),
    *("torchvision.transforms.transforms.ToTensor", "torchvision.transforms.functional.InterpolationMode"),
}


def allow_parts(names: Iterable[str]) -> None:
    """Make known to restricted loading what a checkpoint may consist of, as far as one names it.

    Args:
        names: What a checkpoint names and is not known yet, such as "ultralytics.nn.modules.conv.Conv".
    """
    torch.serialization.add_safe_globals([entry for name in names for entry in _entries(name)])


def _entries(name: str) -> list[Any]:
    """Return torch's entries for something that a checkpoint names; [] when it may not hold that."""
    if name in _VALUES:
        # A number is made with the class of its type as well, which numpy makes at run time and no checkpoint names.
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
    """Stand for `getattr`, by which a checkpoint names members of enumerations and methods of layers."""
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
    # Paths of either system become those of this one; Python 3.13 names another module.
    **{f"pathlib{sub}.{kind}": pathlib.Path for sub in ("", "._local") for kind in ("PosixPath", "WindowsPath")},
}
