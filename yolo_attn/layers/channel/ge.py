"""GE: gather-excite, a gate for each channel from its own context of a given extent.

    z = gather(x)                               (B, C, H / e, W / e), or (B, C, 1, 1) for the whole map
    y = x * sigmoid(excite(z))                  upsampled by nearest neighbor

The paper's three variants:

- theta-: gather is a mean over windows of 2e - 1 with stride e; no excite and no parameters.
- theta:  gather is log2(e) depthwise 3 x 3 convolutions of stride 2, each with batch norm, and ReLU in between; for the
  whole map it is one depthwise convolution of the size of the map, with batch norm.
- theta+: theta with excite(z) = W2 relu(W1 z), W1 (C/r, C), W2 (C, C/r), with bias.

Paper: Hu et al., "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", NeurIPS 2018,
arXiv 1810.12348.
Code: https://github.com/hujie-frank/GENet (Caffe).
Shapes: x (B, C, H, W), y the same; gate (B, C, H, W), or (B, C, 1, 1) for the whole map.
Deviations: a kernel of the size of the map ties the published form to one map size. Here the map is averaged on a grid
of `grid_size` x `grid_size` cells first, which changes nothing for a map of that size. In training a single gathered
value of one image is normalized with the running statistics (see `BatchNorm`), where the published form raises an
error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Gate
from yolo_attn.layers.checks import check_choice, check_integer, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.pooling import adaptive_mean, nearest, window_mean
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["GE"]

VARIANTS = ("theta-", "theta", "theta+")
EXTENTS = (0, 2, 4, 8)


@register_layer(
    family="channel",
    summary="reweights channels by their own context, gathered over windows or the whole map",
    aliases=("GatherExcite", "GELayer"),
    paper="Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks, NeurIPS 2018",
    year=2018,
    url="https://arxiv.org/abs/1810.12348",
    repository="https://github.com/hujie-frank/GENet",
    cost="O(C HW)",
    renamed={"size": "grid_size"},
)
class GE(Gate):
    """Gather-excite.

    Args:
        channels: Channels of the input.
        variant: "theta-", "theta" or "theta+", see above; "theta+" is the paper's best.
        extent: e, stride between gathered values: 2, 4 or 8; 0 gathers the whole map.
        grid_size: Height and width of the grid for the whole-map kernel, in cells; unused with "theta-" or an extent
            above 0.
        reduction: r, channels per hidden unit of "theta+".
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        channels: int,
        *,
        variant: str = "theta+",
        extent: int = 0,
        grid_size: int = 7,
        reduction: float = 16,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check_choice(self, "variant", variant, VARIANTS)
        check_choice(self, "extent", extent, EXTENTS)
        check_integer(self, grid_size=grid_size)
        check_positive(self, reduction=reduction)
        self.extent = extent
        self.grid_size = grid_size
        self.gather = None if variant == "theta-" else _gather(channels, extent, grid_size)
        self.excite = _excite(channels, hidden_width(channels, reduction)) if variant == "theta+" else None

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate (B, C, H, W), or (B, C, 1, 1) for the whole map."""
        context = self._context(x)
        gate = torch.sigmoid(context if self.excite is None else self.excite(context))
        return nearest(gate, x.shape[2], x.shape[3], self.extent) if self.extent else gate

    def _context(self, x: Tensor) -> Tensor:
        """Return the gathered context z."""
        if self.gather is not None:
            cells = x if self.extent else adaptive_mean(x, self.grid_size, self.grid_size)
            context: Tensor = self.gather(cells)
            return context
        if self.extent:
            return window_mean(x, self.extent)
        return mean(x, 2, 3, keepdim=True)


def _gather(channels: int, extent: int, grid_size: int) -> nn.Sequential:
    """Return the depthwise convolutions of theta, ending in a batch norm."""
    if not extent:
        whole = nn.Conv2d(channels, channels, grid_size, groups=channels, bias=False)
        return nn.Sequential(whole, BatchNorm(channels))
    steps: list[nn.Module] = []
    while extent > 1:
        conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
        steps += [conv, BatchNorm(channels), nn.ReLU()]
        extent //= 2
    return nn.Sequential(*steps[:-1])


def _excite(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
