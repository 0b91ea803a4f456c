"""The attention layers of a model, and what they offer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from yolo_attn.analysis.models import row_name, rows
from yolo_attn.layers.base import Chain, Layer
from yolo_attn.registry import list_layers

__all__ = ["FoundLayer", "find_layers", "offers_maps", "offers_readings"]


@dataclass(frozen=True)
class FoundLayer:
    """An attention layer in a model.

    Args:
        row: Index of its row.
        name: The row's module and the path to the layer in it.
        module: The layer.
    """

    row: int
    name: str
    module: nn.Module

    @property
    def layer(self) -> str:
        """The name of its class."""
        return type(self.module).__name__


def find_layers(model: nn.Module, offers: Callable[[nn.Module], bool] | None = None) -> Iterator[FoundLayer]:
    """Yield the attention layers of a model by row; of nested layers, the outermost that offers something.

    Args:
        model: The network.
        offers: What a layer must offer; by default maps.
    """
    registered = tuple(spec.cls for spec in list_layers())
    for i, row in enumerate(rows(model)):
        for path, module in _layers_in(row, registered, offers or offers_maps):
            yield FoundLayer(i, ".".join([row_name(row), *path]), module)


def _layers_in(
    module: nn.Module,
    registered: tuple[type[nn.Module], ...],
    offers: Callable[[nn.Module], bool],
    path: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], nn.Module]]:
    """Yield the attention layers in a module with their paths; of nested ones, the outermost that offers something."""
    is_attention = isinstance(module, (Layer, *registered))
    if is_attention and offers(module):
        yield path, module
        return
    inner = [
        found
        for name, child in module.named_children()
        for found in _layers_in(child, registered, offers, (*path, name))
        if not is_attention or isinstance(module, Chain) or offers(found[1])
    ]
    yield from inner
    if is_attention and not inner:
        yield path, module


def offers_maps(module: nn.Module) -> bool:
    """Return whether a layer, of this package or third-party, implements `attention_maps`."""
    method = getattr(type(module), "attention_maps", None)
    return method is not None and method is not Layer.attention_maps


def offers_readings(module: nn.Module) -> bool:
    """Return whether a layer, of this package or third-party, implements `readings`."""
    method = getattr(type(module), "readings", None)
    return method is not None and method is not Layer.readings
