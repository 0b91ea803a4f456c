"""The least time of a layer on a machine: its bytes at the copy bandwidth, its operations at the matrix rate.

Forward, the input is read, the output written and the weights read, each once. Backward, the input and the gradient of
the output are read again and the gradient of the input written; weights are read and their gradients written. A
gradient takes twice the operations of the forward pass. Many layers need more: a gate must have seen the whole map
before it can multiply it, so that a map larger than the cache is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import median

import torch
from torch import Tensor, nn

from yolo_attn.analysis.flops import count_flops

from .timing import Clock, Run

__all__ = ["Floor", "Machine"]

REPETITIONS = 7
BACKWARD_MAPS = 3
BACKWARD_OPERATIONS = 2
BACKWARD_WEIGHTS = 2


@dataclass(frozen=True)
class Floor:
    """What one call of a layer must move and compute.

    Attributes:
        bytes: Bytes read and written.
        flops: Operations of convolutions and matrix products.
    """

    bytes: int
    flops: int

    @classmethod
    def of(cls, layer: nn.Module, x: Tensor, *, train: bool) -> Floor:
        """Count bytes and operations of a layer.

        Args:
            layer: A layer whose output has the size of its input.
            x: Its input.
            train: Whether the backward pass is included.
        """
        was = layer.training
        flops = count_flops(layer.eval(), x)
        layer.train(was)
        maps, weights = 2 * x.nbytes, sum(weight.nbytes for weight in layer.parameters())
        if not train:
            return cls(maps + weights, flops)
        return cls(
            maps + BACKWARD_MAPS * x.nbytes + (1 + BACKWARD_WEIGHTS) * weights, (1 + BACKWARD_OPERATIONS) * flops
        )

    def milliseconds(self, machine: Machine, map_bytes: int) -> float:
        """Return the least time on a machine, for maps of some size."""
        return 1000 * max(self.bytes / machine.bandwidth(map_bytes), self.flops / machine.matrix_rate)


class Machine:
    """The measured speed of a device.

    Args:
        device: The device.
        dtype: Of the layers' arithmetic.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.clock = Clock(device)
        self.bandwidth = lru_cache(self._bandwidth)

    def _bandwidth(self, map_bytes: int) -> float:
        """Return the bytes per second of a copy, read and written.

        A GPU's is that of a large tensor. On a CPU a copy of the map itself is measured, because small maps stay in
        its caches.
        """
        source = torch.ones(2**29 if self.device.type == "cuda" else map_bytes, dtype=torch.int8, device=self.device)
        target = torch.empty_like(source)
        return 2 * source.nbytes / self._seconds(lambda: target.copy_(source))

    @cached_property
    def matrix_rate(self) -> float:
        """Operations per second of a product of large matrices."""
        size = 8192 if self.device.type == "cuda" else 1024
        a, b = (torch.rand(size, size, dtype=self.dtype, device=self.device) for _ in range(2))
        return 2 * size**3 / self._seconds(lambda: a @ b)

    def _seconds(self, run: Run) -> float:
        run()
        return median(self.clock(run) for _ in range(REPETITIONS)) / 1000
