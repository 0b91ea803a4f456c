"""The code of custom layers in a model: its hash for a run's key, and its source for the processes that train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from yolo_attn.errors import UserError
from yolo_attn.study.job import Inputs

if TYPE_CHECKING:
    from yolo_attn.layer_files import Sources

__all__ = ["check_layer_code", "layer_code", "layer_sources"]


def layer_code(model: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """Return hashes of the code of a model's custom layers, which are those that are not part of this package.

    Returns:
        By name of the layer: `source`, the hashes of the files with its class and base classes; `package`, name and
        version of the distribution that contains it, if any. Empty for a model without custom layers.
    """
    from yolo_attn.layer_files import code_of

    return {name: code_of(cls) for name, cls in _custom_classes(model).items()}


def layer_sources(model: Mapping[str, object]) -> Sources:
    """Return the source files that another process needs to import a model's custom layers.

    Raises:
        UserError: A layer is defined in a script or a notebook, which another process cannot import.
    """
    from yolo_attn.layer_files import can_be_found, custom_modules, sources_of

    modules: list[str] = []
    for name, cls in _custom_classes(model).items():
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
    """Check that the custom layers of this process are those that a run was planned with.

    Raises:
        UserError: A layer was edited after planning, or this cluster node has another version of it.
    """
    planned, found = inputs.layers, layer_code(inputs.model)
    for name in sorted(planned.keys() | found.keys()):
        if planned.get(name) != found.get(name):
            raise UserError(f"layer {name}: its code is not the one that the study was planned with; compare again")


def _custom_classes(model: Mapping[str, object]) -> dict[str, type]:
    """Return the classes of a model's custom layers by name of the layer."""
    from yolo_attn.graph import ModelGraph, block_of, layers_in
    from yolo_attn.layer_files import package_of
    from yolo_attn.registry import get_layer, is_layer

    modules = [row.module for row in ModelGraph(dict(model))]
    names = {name for module in modules for name in (block_of(module), *layers_in(module)) if is_layer(name)}
    classes = {spec.name: spec.cls for spec in map(get_layer, sorted(names))}
    return {name: cls for name, cls in classes.items() if package_of(cls.__module__) != "yolo_attn"}
