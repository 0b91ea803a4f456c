"""Construction and weights of a layer that equals a reference implementation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Mapping:
    """The layer that equals one reference.

    Args:
        build: Builds the layer for a channel count (a list for several inputs), set up like the reference, in eval.
        convert: Converts the reference's weights, under its own names, to the layer's complete state dict.
        wrong_output: Reason why the reference's output need not be matched; "" if it has to be.
        wrong_gradient: Reason why its input gradient need not be matched; "" if it has to be.
    """

    build: Callable[[int | list[int]], nn.Module]
    convert: Callable[[Weights], Weights]
    wrong_output: str = ""
    wrong_gradient: str = ""


def layer(cls: type[nn.Module], **options: object) -> Callable[[int | list[int]], nn.Module]:
    """Return a `build` for a layer class and its options."""
    return lambda channels: cls(channels, **options).eval()


def renamed(**names: str) -> Callable[[Weights], Weights]:
    """Return a `convert` that only renames.

    Args:
        names: Prefix in the layer -> prefix in the reference, both with "__" for "."; the longest match is used.
    """
    return lambda weights: rename(weights, **names)


def rename(weights: Weights, **names: str) -> Weights:
    """Return weights under the layer's names, with the step counter of each batch norm."""
    prefixes = {source.replace("__", "."): target.replace("__", ".") for target, source in names.items()}
    result: Weights = {}
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            continue
        prefix = max((p for p in prefixes if name == p or name.startswith(p + ".")), key=len)
        result[prefixes[prefix] + name[len(prefix) :]] = value
        if name.endswith("running_var"):
            norm = (prefixes[prefix] + name[len(prefix) :]).removesuffix("running_var")
            result[norm + "num_batches_tracked"] = torch.tensor(0)
    return result


def as_linear(weights: Weights, *names: str) -> Weights:
    """Return weights with those of these 1 x 1 convolutions in the shape of a linear layer's."""
    return weights | {name: weights[name].flatten(1) for name in names}


def as_conv(weights: Weights, *names: str) -> Weights:
    """Return weights with those of these linear layers in the shape of a 1 x 1 convolution's."""
    return weights | {name: weights[name][:, :, None, None] for name in names}


def vectors(weights: Weights) -> Weights:
    """Return weights flattened to one dimension each."""
    return {name: value.flatten() for name, value in weights.items()}


def without_conv_bias(weights: Weights, conv: str, norm: str) -> Weights:
    """Return weights without the bias of a convolution that a batch norm follows.

    The norm subtracts its running mean, so the bias is moved there: BN(z + b) with mean m equals BN(z) with mean m - b.
    """
    result = dict(weights)
    result[f"{norm}.running_mean"] = weights[f"{norm}.running_mean"] - result.pop(f"{conv}.bias")
    return result
