"""The code of the layers in a model: its hash for a run's key, and its source for the processes that train."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from yolo_attn.errors import UserError
from yolo_attn.study.job import Inputs
from yolo_attn.system.files import file_hash

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["check_layer_code", "layer_code", "layer_sources"]

_LAYERS = "yolo_attn.layers."


def layer_code(model: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return hashes of the code of a model's layers.

    Those of this package belong to it because a checkout can change while the version stays the same.

    Returns:
        By name of the layer: `source`, the hashes of the files that it is made from; `package`, name and version of the
        distribution that contains it, if it is not this one. Empty for a model without layers.
    """
    from yolo_attn.layer_files import code_of

    return {
        name: {"source": _built_in_code(cls.__module__)} if _is_built_in(cls) else code_of(cls)
        for name, cls in _classes(model).items()
    }


@functools.cache
def _built_in_code(module: str) -> str:
    """Return the hash of a module of `yolo_attn.layers` and of those that it imports from there, as they are loaded."""
    modules = [module]
    for name in modules:  # grows in the loop
        owners = {str(getattr(value, "__module__", "")) for value in vars(sys.modules[name]).values()}
        modules += sorted(owner for owner in owners - {*modules} if owner.startswith(_LAYERS))
    files = [Path(str(sys.modules[name].__file__)) for name in sorted(modules)]
    return hashlib.sha256(" ".join(map(file_hash, files)).encode()).hexdigest()


def layer_sources(model: Mapping[str, object]) -> Sources:
    """Return the source files that another process needs to import a model's custom layers.

    Raises:
        UserError: A layer is defined in a script or a notebook, which another process cannot import.
    """
    from yolo_attn.layer_files import can_be_found, custom_modules, sources_of

    modules: list[str] = []
    for name, cls in _classes(model).items():
        if _is_built_in(cls):
            continue
        custom = custom_modules(cls)
        for module in custom:
            if not can_be_found(module):
                where = "a script or notebook (__main__)" if module == "__main__" else module
                raise UserError(
                    f"layer {name} is defined in {where}, which the processes that train cannot import; put its class "
                    "into a file and give layers=FILE, or into a package with an entry point in yolo_attn.layers"
                )
        modules += custom
    return sources_of(modules)


def check_layer_code(inputs: Inputs) -> None:
    """Check that the layers of this process are those that a run was planned with.

    Raises:
        UserError: A layer was edited after planning, or this cluster node has another version of it.
    """
    planned, found = inputs.layers, layer_code(inputs.model)
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name) != found.get(name):
            raise UserError(f"layer {name}: its code is not the one that the study was planned with; compare again")


def _is_built_in(cls: type) -> bool:
    return cls.__module__.startswith(_LAYERS)


def _classes(model: Mapping[str, object]) -> dict[str, type]:
    """Return the classes of a model's layers by name of the layer."""
    from yolo_attn.graph import ModelGraph, block_of, layers_in
    from yolo_attn.registry import get_layer, is_layer

    modules = [row.module for row in ModelGraph(dict(model))]
    names = {name for module in modules for name in (block_of(module), *layers_in(module)) if is_layer(name)}
    return {spec.name: spec.cls for spec in map(get_layer, sorted(names))}
