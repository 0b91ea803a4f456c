"""The end of a convolution in the place of `Conv`: a batch norm and an activation."""

from __future__ import annotations

from torch import nn

from yolo_attn.layers.base import Convolution
from yolo_attn.layers.checks import check_choice
from yolo_attn.layers.norms import BatchNorm

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU}


def norm_and_activation(layer: Convolution, activation: str) -> nn.Module:
    """Return a batch norm of the layer's output and its activation.

    Args:
        layer: The layer, whose message names an invalid activation.
        activation: "relu" or "silu"; "none" for neither norm nor activation.

    Raises:
        ValueError: The activation is none of these.
    """
    check_choice(layer, "activation", activation, (*ACTIVATIONS, "none"))
    if activation == "none":
        return nn.Identity()
    return nn.Sequential(BatchNorm(layer.out_channels), ACTIVATIONS[activation]())
