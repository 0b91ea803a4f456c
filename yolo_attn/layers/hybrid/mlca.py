"""MLCA: mixed local channel attention, channel gates for the cells of a coarse grid and for the whole map.

    l = x averaged on a grid of n x n cells     (B, C, n, n)
    L = sigmoid(conv_k(l flattened to one sequence, channels fastest))
    G = sigmoid(conv_k(mean over the cells of l))                           (B, C, 1, 1), along the channels
    y = x * (w L + (1 - w) G)                   resized to the map by adaptive averaging

Each conv_k has a single kernel of k weights, with zero padding.

Paper: Wan et al., "Mixed local channel attention for object detection", Engineering Applications of Artificial
Intelligence 123, 2023.
Code: https://github.com/wandahangFY/MLCA
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), constant within a cell.
Deviations: none from the authors' current code. As in their code, the last channels of a cell are adjacent to the first
channels of the next cell in the sequence. Many copies have an earlier version that averages G over the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.channel._kernel_size import adaptive_kernel_size
from yolo_attn.layers.checks import check, check_integer, check_odd
from yolo_attn.layers.pooling import adaptive_mean
from yolo_attn.registry import register_layer

__all__ = ["MLCA"]


@register_layer(
    family="hybrid",
    summary="reweights channels by short convolutions over the channel means of coarse cells and of the map",
    paper="Mixed local channel attention for object detection, "
    "Engineering Applications of Artificial Intelligence 2023",
    year=2023,
    url="https://doi.org/10.1016/j.engappai.2023.106442",
    repository="https://github.com/wandahangFY/MLCA",
    cost="O(C HW)",
    renamed={"local_size": "grid_size"},
)
class MLCA(Gate):
    """Mixed local channel attention.

    Args:
        channels: Channels of the input.
        grid_size: n, height and width of the grid in cells.
        local_weight: w, weight of the local gate, from 0 to 1.
        kernel_size: k, odd; None selects the paper's k(C): 3 for 8 to 127 channels, 5 up to 2047.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        grid_size: int = 5,
        local_weight: float = 0.5,
        kernel_size: int | None = None,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        number = isinstance(local_weight, (int, float)) and not isinstance(local_weight, bool)
        check(self, number and 0 <= local_weight <= 1, "local_weight", local_weight, "a number from 0 to 1")
        check_integer(self, grid_size=grid_size)
        kernel_size = adaptive_kernel_size(channels) if kernel_size is None else kernel_size
        check_odd(self, kernel_size=kernel_size)
        self.grid_size = grid_size
        self.local_weight = local_weight
        self.conv_local = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.conv_global = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W)."""
        side = self.grid_size
        cells = adaptive_mean(x, side, side)
        sequence = cells.permute(0, 2, 3, 1)  # channels last, to be adjacent in the sequence
        local: Tensor = self.conv_local(sequence.reshape(x.shape[0], 1, -1))
        local = local.reshape(x.shape[0], side, side, self.channels).permute(0, 3, 1, 2)
        overall = self.conv_global(cells.mean((2, 3))[:, None]).transpose(1, 2)[..., None]
        gate = self.local_weight * torch.sigmoid(local) + (1 - self.local_weight) * torch.sigmoid(overall)
        return adaptive_mean(gate, x.shape[2], x.shape[3])
