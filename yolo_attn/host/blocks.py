"""Attention layers inside stock blocks, `C3k2+EMA`: on the residual branch of each bottleneck, before the addition.

The stock parser builds the block. The last module of each branch then gets the layer, or several layers in a chain
(`C3k2+SE+CBAM`), as a child named `attention`, which processes its output. An `nn.Sequential` runs the child by itself.
Any other module's class is replaced by a subclass that does. The names of the block's tensors do not change, and the
block's own `forward` still runs, so changes of the block in new releases apply here too.

A transformer block has two residual branches, self-attention and a convolutional feed-forward network. The layer is on
the second, which corresponds to a bottleneck's convolutions.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from ultralytics.nn import modules, tasks
from ultralytics.nn.modules import block as blocks

from yolo_attn.graph import Row, block_of, layers_in
from yolo_attn.host.binding import UnsupportedHostError
from yolo_attn.names.suggestions import suggest_block, suggest_module, suggest_word
from yolo_attn.registry import LIST_HINT, case_hint, get_layer, is_layer, layer_hint, layer_names

__all__ = [
    "CHILD",
    "CLASSES",
    "block_problem",
    "branch_ends",
    "count_inside",
    "host_layers",
    "hosting_blocks",
    "is_inside",
    "meant_module",
    "module_hint",
    "names_inside",
    "put_layers",
    "spelt_block",
]

# Ultralytics' layers that no layer can go inside: they read or return several maps, or no row can name them.
_NO_BLOCKS = frozenset(
    "C2fAttn CBFuse CBLinear Concat ImagePoolingAttn Index TorchVision Conv2 RepConv RepVGGDW".split()  # noqa: SIM905
)

CHILD = "attention"
"""Name of the child that contains the layers by name, which keeps other layers' tensors from matching."""

# The child of each residual block whose output is added to the shortcut, also where the shortcut is disabled. Recent
# releases have more of these blocks than early ones.
_BRANCHES = {
    "Bottleneck": "cv2",
    "CIB": "cv1",
    "GhostBottleneck": "conv",
    "ResNetBlock": "cv3",
    "PSA": "ffn",
    "PSABlock": "ffn",
    "ABlock": "mlp",
    "HGBlock": "ec",
    "SPPF": "cv2",
    "C1": "m",
    "RepC3": "m",
}
BRANCHES: dict[type[nn.Module], str] = {
    getattr(blocks, name): child for name, child in _BRANCHES.items() if hasattr(blocks, name)
}


class _WithLayer(nn.Module):
    """Mixin that passes the module's output through its child `attention`.

    It extends `__call__`, because Ultralytics replaces `forward` by other methods when it fuses a model
    (`forward_fuse`) or exports one (`forward_split`).
    """

    attention: nn.Module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module, then the layer."""
        return self.attention(super().__call__(*args, **kwargs))


def _with_layer(cls: type[nn.Module]) -> type[nn.Module]:
    doc = f"Ultralytics' {cls.__name__} with an attention layer at its output."
    return type(f"{cls.__name__}WithLayer", (_WithLayer, cls), {"__module__": __name__, "__doc__": doc})


CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    value: _with_layer(value)
    for value in {**vars(modules), **vars(blocks), **vars(tasks)}.values()
    if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__.startswith(modules.__name__)
}
"""For each module class of Ultralytics, the subclass with a layer at its output."""

# Checkpoints name these classes by module and name.
globals().update({cls.__name__: cls for cls in CLASSES.values()})


def host_layers() -> list[str]:
    """Return the names of Ultralytics' layers."""
    return [n for n, v in vars(tasks).items() if isinstance(v, type) and issubclass(v, nn.Module)]


def hosting_blocks() -> list[str]:
    """Return the names of the stock blocks that a layer can go inside: those with one input and one output map."""
    return [
        name
        for name in host_layers()
        if (cls := getattr(tasks, name)) in CLASSES and not cls.__module__.endswith(".head") and name not in _NO_BLOCKS
    ]


def module_hint(name: str) -> str:
    """Return the hint for an unknown module's name: the module that it means, or how to list the layers."""
    meant = meant_module(name)
    return case_hint(name) or (f"; did you mean {meant}?" if meant else LIST_HINT)


def meant_module(name: str) -> str:
    """Return the module that an unknown name means; "" if none is certain."""
    stock = [layer for layer in host_layers() if not re.search("(Model|Loss|Ensemble)$", layer)]  # these are not rows
    meant = suggest_module(name, hosting_blocks(), stock, layer_names())
    return "" if layers_in(meant) and block_problem(meant) else meant


def spelt_block(name: str) -> str:
    """Return `C3k2+SE` for another spelling of a stock block and a layer, such as C3k2_SE; "" for any other name."""
    meant = suggest_block(name, hosting_blocks(), layer_names())
    return "" if not meant or block_problem(meant) else meant


def block_problem(name: str) -> str:
    """Return the problem with a module name `Block+Layer`; "" if the block can be built."""
    block = block_of(name)
    if is_layer(block):
        return f"{name!r}: {block} is not a block of Ultralytics; write a separate row for each layer"
    if "." not in block and not hasattr(tasks, block):
        meant = suggest_word(block, hosting_blocks())
        return f"unknown block {block!r} in {name!r}" + (f"; did you mean {meant}?" if meant else "")
    cls = getattr(tasks, block, None)
    if not isinstance(cls, type) or cls not in CLASSES:
        return f"{name!r}: a layer cannot go inside {block}; write a separate row for it"
    for layer in layers_in(name):
        if not is_layer(layer):
            return f"unknown layer {layer!r} in {name!r}{layer_hint(layer)}"
        spec = get_layer(layer)
        if spec.inputs > 1 or spec.more_inputs:
            return f"{name!r}: {spec.name} reads several rows, but a block has one map"
    return ""


def count_inside(module: nn.Module, layer: str) -> int:
    """Count the layers of a name inside a built row."""
    return sum(f".{path}".endswith(f".{CHILD}.{layer}") for path, _ in module.named_modules())


def names_inside(module: str) -> list[str]:
    """Return the name of each layer inside a block among the children of `attention`.

    It is the layer's name (not an alias), with "_" at the end for a layer that the chain contains again.
    """
    names: list[str] = []
    for written in layers_in(module):
        name = get_layer(written).name if is_layer(written) else written
        while name in names:
            name += "_"
        names.append(name)
    return names


def is_inside(key: str, row: Row) -> bool:
    """Return whether a tensor of a row, by its key, belongs to a layer inside the row's block."""
    return any(f".{CHILD}.{name}." in key for name in names_inside(row.module))


def branch_ends(module: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a built row whose outputs a layer inside it processes, by their paths.

    These are the ends of its residual branches, or the block itself if it has none.
    """
    if type(module) is nn.Sequential:  # a repeated row
        return {
            f"{name}.{path}".rstrip("."): end
            for name, block in module.named_children()
            for path, end in branch_ends(block).items()
        }
    found = {
        f"{path}.{child}".lstrip("."): part.get_submodule(child)
        for path, part in module.named_modules()
        for cls, child in BRANCHES.items()
        if isinstance(part, cls)
    }
    return found or {"": module}


def put_layers(module: nn.Module, channels: int, build: Callable[[str, int], Mapping[str, nn.Module]]) -> None:
    """Put layers on each branch of a built row; the row is changed in place.

    Args:
        module: The row's module as the stock parser built it.
        channels: Channels of the row's output.
        build: Returns the layers by their names inside the block, for a branch's path and channels.
    """
    for path, end in branch_ends(module).items():
        _attach(end, build(path, _width(end, channels)))


def _width(end: nn.Module, otherwise: int) -> int:
    """Return the output channels of a module: those of its last convolution, or the row's for a whole block."""
    if type(end) is nn.Sequential:
        return _width(end[-1], otherwise)
    if isinstance(end, modules.GhostConv):
        return 2 * _width(end.cv2, otherwise)
    if isinstance(end, modules.RepConv):
        return int(end.c2)
    return int(end.conv.out_channels) if isinstance(end, modules.Conv) else otherwise


def _attach(end: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    if hasattr(end, CHILD):
        raise UnsupportedHostError(f"{type(end).__name__} already has an attribute {CHILD!r}")
    if type(end) is not nn.Sequential:
        cls = CLASSES.get(type(end))
        if cls is None:
            raise UnsupportedHostError(f"a branch ends in a {type(end).__name__}")
        end.__class__ = cls
    end.add_module(CHILD, nn.Sequential(OrderedDict(layers)))
