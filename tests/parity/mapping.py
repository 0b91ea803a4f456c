"""How a layer of ours is set up like a reference implementation and given its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Mapping:
    """One reference and the layer of ours that equals it.

    Args:
        build: Makes the layer for a channel count (a list for several inputs), set up like the reference, in eval mode.
        convert: Takes the reference's weights under its own names and gives the layer's complete state dict.
        wrong_output: Why the reference's output is not to be matched; "" where it is.
        wrong_gradient: Why its input gradient is not to be matched; "" where it is.
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
        names: Prefix of ours -> prefix of the reference's, both with "__" for "."; the longest match wins.
    """
    return lambda weights: rename(weights, **names)


def rename(weights: Weights, **names: str) -> Weights:
    """Return weights under our names, with the step counter that each batch norm of ours has."""
    ours = {theirs.replace("__", "."): mine.replace("__", ".") for mine, theirs in names.items()}
    result: Weights = {}
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            continue
        prefix = max((p for p in ours if name == p or name.startswith(p + ".")), key=len)
        result[ours[prefix] + name[len(prefix) :]] = value
        if name.endswith("running_var"):
            norm = (ours[prefix] + name[len(prefix) :]).removesuffix("running_var")
            result[norm + "num_batches_tracked"] = torch.tensor(0)
    return result


def as_linear(weights: Weights, *names: str) -> Weights:
    """Return weights in which those of these 1 x 1 convolutions have the shape of a linear map's."""
    return weights | {name: weights[name].flatten(1) for name in names}


def as_conv(weights: Weights, *names: str) -> Weights:
    """Return weights in which those of these linear maps have the shape of a 1 x 1 convolution's."""
    return weights | {name: weights[name][:, :, None, None] for name in names}


def vectors(weights: Weights) -> Weights:
    """Return weights with every one flattened to one dimension."""
    return {name: value.flatten() for name, value in weights.items()}


def without_conv_bias(weights: Weights, conv: str, norm: str) -> Weights:
    """Return weights without the bias of a convolution that a batch norm follows.

    The norm subtracts its running mean, so the bias moves there: BN(z + b) with mean m is BN(z) with mean m - b.
    """
    result = dict(weights)
    result[f"{norm}.running_mean"] = weights[f"{norm}.running_mean"] - result.pop(f"{conv}.bias")
    return result
