"""The attention of one layer for one image, as returned by the layers' `attention_maps`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["GATE", "WEIGHT", "AttentionValues", "gate_values", "split_choices"]

GATE, WEIGHT = "gate", "weight"
_PLANE_RANK, _MAP_RANK = 2, 3


@dataclass(frozen=True)
class AttentionValues:
    """One map or vector of a layer's attention for one image.

    Args:
        part: Name of the part of a layer with several, such as "input 1"; "" for a layer with one.
        unit: "gate": factors of the features; "weight": attention over positions or channels as multiples of uniform
            attention, so that 1 is uniform.
        values: (H, W), (C, H, W), or (C,) where all positions have the same value.
    """

    part: str
    unit: str
    values: Tensor

    @property
    def is_map(self) -> bool:
        """Whether positions differ."""
        return self.values.ndim >= _PLANE_RANK

    def plane(self) -> Tensor:
        """Return the mean over the channels (H, W), or the vector (C,)."""
        return self.values.mean(0) if self.values.ndim == _MAP_RANK else self.values


def gate_values(gate: Tensor, x: Tensor) -> AttentionValues:
    """Return the values of a gate: a vector if all positions share it, else a map.

    Args:
        gate: Broadcastable to x.
        x: The layer's input, (1, C, H, W).
    """
    values = gate[0].float()
    height, width = x.shape[2:]
    if values.shape[1:] == (1, 1) and (height, width) != (1, 1):
        return AttentionValues("", GATE, values[:, 0, 0])
    return AttentionValues("", GATE, values.expand(values.shape[0], height, width))


def split_choices(part: str, weights: Tensor) -> list[AttentionValues]:
    """Return weights (1, N, ...) that choose among N things as one item each, named "part 0", "part 1", ..."""
    return [AttentionValues(f"{part} {n}", GATE, values) for n, values in enumerate(weights[0].float())]
