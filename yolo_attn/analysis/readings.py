"""What a layer's attention looks like: the gates and weights of one image, read as maps or vectors.

A gate says what the features are multiplied by. It is read whole, as faded in by gamma, because that is what acts: a
layer that still is the identity reads 1 everywhere. Other layers offer what they weigh by in the method `weights`; what
its axes mean is said here, layer by layer. A layer without such weights has no map, and none is made up for it:
self-attention that never holds its weights, and convolutional mixers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn import layers
from yolo_attn.layers.base import Gate
from yolo_attn.layers.large_kernel.gated import LargeKernel

__all__ = ["Reading", "is_readable", "read", "why_unreadable"]

GATE, WEIGHT = "gate", "weight"
_VECTOR_RANK, _PLANE_RANK, _MAP_RANK = 1, 2, 3


@dataclass(frozen=True)
class Reading:
    """One thing to look at in a layer, for one image.

    Args:
        part: Which of several it is, such as "input 1"; "" where there is one.
        unit: "gate": what is multiplied by, as it is; "weight": attention over positions or channels, 1 being even.
        values: All its values, (H, W), (C, H, W) or, where no position differs, (C,).
    """

    part: str
    unit: str
    values: Tensor

    @property
    def is_map(self) -> bool:
        """Whether positions differ."""
        return self.values.ndim >= _PLANE_RANK

    def plane(self) -> Tensor:
        """Return what is shown: the mean over the channels (H, W), or the vector (C,)."""
        return self.values.mean(0) if self.values.ndim == _MAP_RANK else self.values


def is_readable(module: nn.Module) -> bool:
    """Whether a layer has a gate or weights to look at."""
    if isinstance(module, Gate):
        return True
    return callable(getattr(module, "weights", None)) and not isinstance(module, tuple(_REASONS))


def why_unreadable(module: nn.Module) -> str:
    """Return why a layer has nothing to look at, in words."""
    reasons = (text for kind, text in _REASONS.items() if isinstance(module, kind))
    return next(reasons, "it has no gate and offers no weights to look at")


def read(module: nn.Module, inputs: Any) -> list[Reading]:
    """Return what there is to look at in a readable layer.

    Args:
        module: The layer, in evaluation mode.
        inputs: Its input, one image (1, C, H, W), or a list of them for a layer of several inputs.

    Returns:
        The readings; none when the weights of a layer from elsewhere have a shape that says nothing of positions.
    """
    first = inputs if isinstance(inputs, Tensor) else inputs[0]
    with torch.no_grad():
        if isinstance(module, Gate):
            return [Reading("", GATE, _gate(module.scale(first)[0], first))]
        of_module: Any = module
        if isinstance(module, layers.WeightedFusion):
            return [Reading("inputs", GATE, of_module.weights().float())]
        weights = of_module.weights(inputs)[0].float()
        reader = next((reader for kind, reader in _READERS.items() if isinstance(module, kind)), _from_elsewhere)
        return reader(weights, first, module)


def _gate(gate: Tensor, x: Tensor) -> Tensor:
    """Return a gate as a vector over channels where positions do not differ, else at every position."""
    gate = gate.float()
    height, width = x.shape[2:]
    if gate.shape[1:] == (1, 1) and (height, width) != (1, 1):
        return gate[:, 0, 0]
    return gate.expand(gate.shape[0], height, width)


def _even(values: Tensor) -> Tensor:
    """Return weights over all their places as multiples of even ones."""
    return values * values.numel()


def _positions(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights over the positions that sum to one."""
    return [Reading("", WEIGHT, _even(weights.reshape(x.shape[2:])))]


def _separable(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights that sum to one over the patches, for each place in a patch."""
    patches = weights.numel() / weights.sum()
    return [Reading("", WEIGHT, weights * patches)]


def _additive(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights over the positions whose squares sum to one, or they themselves."""
    by_squares = getattr(module, "weighting", "l2") == "l2"
    return [Reading("", WEIGHT, weights * weights.numel() ** (0.5 if by_squares else 1))]


def _received_in_cross(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights (H, W, H + W) of what each position reads in its column and its row: what each position gives."""
    height = x.shape[2]
    by_column = weights[..., :height].sum(0).T  # of the readers in column w, what comes from (h, w)
    by_row = weights[..., height:].sum(1)  # of the readers in row h
    return [Reading("first pass", WEIGHT, by_column + by_row)]


def _received_in_windows(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights (heads, k^2, k^2, H, W) from neighbour (second) to neighbour (first) of each centre: what each gives."""
    heads, square = weights.shape[:2]
    given = weights.sum((0, 1)).reshape(1, square, -1) / heads
    even = torch.ones_like(given)
    kernel = int(square**0.5)
    folded = (F.fold(part, tuple(x.shape[2:]), kernel, padding=kernel // 2)[0, 0] for part in (given, even))
    got, expected = folded
    return [Reading("", WEIGHT, got / expected)]


def _received_by_channels(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights (C, C), of which each line sums to one: what each channel gives to all."""
    return [Reading("", WEIGHT, weights.sum(0))]


def _descriptors(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """Weights (N, H, W) of N descriptors, each over all positions."""
    return [Reading("", WEIGHT, weights * weights[0].numel())]


def _choice(part: str) -> Callable[[Tensor, Tensor, nn.Module], list[Reading]]:
    """Weights (N, ...) that choose among N things: one reading for each."""
    return lambda weights, x, module: [Reading(f"{part} {n}", GATE, each) for n, each in enumerate(weights)]


def _factors(part: str = "") -> Callable[[Tensor, Tensor, nn.Module], list[Reading]]:
    """Factors (C, H, W)."""
    return lambda weights, x, module: [Reading(part, GATE, weights)]


def _from_elsewhere(weights: Tensor, x: Tensor, module: nn.Module) -> list[Reading]:
    """What a user's layer calls its weights: maps (H, W) or (K, H, W), or a vector, as they are."""
    on_map = weights.ndim in {_PLANE_RANK, _MAP_RANK} and weights.shape[-2:] == x.shape[2:]
    return [Reading("", GATE, weights)] if on_map or weights.ndim == _VECTOR_RANK else []


_READERS: dict[type[nn.Module], Callable[[Tensor, Tensor, nn.Module], list[Reading]]] = {
    layers.GC: _positions,
    layers.SeparableSelfAttention: _separable,
    layers.EfficientAdditive: _additive,
    layers.CrissCross: _received_in_cross,
    layers.Outlook: _received_in_windows,
    layers.CAM: _received_by_channels,
    layers.A2: _descriptors,
    layers.SK: _choice("branch"),
    layers.S2: _choice("copy"),
    layers.ASFF: _choice("input"),
    layers.FocalModulation: _choice("level"),
    layers.AFF: _factors("first input"),
    layers.iAFF: _factors("first input"),
    layers.GMU: _factors("first input"),
    LargeKernel: _factors(),
}
_REASONS: dict[type[nn.Module], str] = {layers.External: "its weights choose memory units, not positions"}
