"""Feed-forward network and initialization shared by the transformer encoder and decoder."""

from __future__ import annotations

from collections.abc import Sized

from torch import nn

from yolo_attn.layers.projections import TokenLinear

__all__ = ["feed_forward", "init_linear_layers", "layer_names"]


def feed_forward(channels: int, hidden: int) -> nn.Sequential:
    """Return the network applied to each token independently."""
    return nn.Sequential(TokenLinear(channels, hidden), nn.ReLU(), TokenLinear(hidden, channels))


def init_linear_layers(module: nn.Module) -> None:
    """Initialize all linear layers as DETR does.

    `Attention` initializes queries, keys and values itself, as one wide matrix; every other layer is initialized alone.
    """
    for name, linear in module.named_modules():
        if isinstance(linear, nn.Linear) and not name.endswith((".query", ".key", ".value")):
            nn.init.xavier_uniform_(linear.weight)


def layer_names(layers: Sized) -> list[str]:
    """Return the names of layers for viewing: "layer 0", "layer 1", ...; "" for a single one."""
    return [f"layer {n}" for n in range(len(layers))] if len(layers) > 1 else [""]
