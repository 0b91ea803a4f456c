"""CoT: contextual transformer, local mixing by weights that see a position and its static context.

    s = relu(BN conv_k x)                       the static context, in 4 groups
    a = GN W2 relu(BN W1 [x; s])                (C / 8, k^2) for each position
    t = silu(BN sum over j of a_j (BN Wv x)_(p + j))        j: the k x k neighbourhood; channel c takes row c mod C / 8
    z = softmax over the two of U2 relu(BN U1 mean over H, W of (t + s))            (C, 2)
    y = z1 t + z2 s

Paper: Li et al., "Contextual Transformer Networks for Visual Recognition", TPAMI 2022, arXiv 2107.12292.
Code: https://github.com/JDAI-CV/CoTNet
Shapes: x (B, C, H, W), y the same.
Deviations: no bias in front of the batch norm of z. A pooled vector of one image is normalised with the running
statistics in training (see `BatchNorm`), where the published form raises. Where C is not a multiple of 8 or 4, the
greatest common divisor. The module that circulates as CoTAttention multiplies values by a softmax over the whole map
and mixes nothing locally; it is not this mechanism.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.norms import BatchNorm, GroupNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.self_attention.neighbours import neighbours
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.registry import register_layer

__all__ = ["CoT"]

GROUPS = 4  # of the convolution for the static context
FACTOR = 2  # channels per hidden channel of the weights
LEAST_HIDDEN = 32  # of the vector that chooses between the two contexts


@register_layer(
    family="self_attention",
    summary="mixes each 3 x 3 neighbourhood by weights that see its context",
    aliases=("CoTAttention", "CotLayer", "CoTNet"),
    paper="Contextual Transformer Networks for Visual Recognition, TPAMI 2022",
    year=2022,
    url="https://arxiv.org/abs/2107.12292",
    repository="https://github.com/JDAI-CV/CoTNet",
    cost="O(C^2 HW)",
)
class CoT(Mixer):
    """Contextual transformer.

    Args:
        channels: Channels of the input.
        kernel_size: k, odd.
        share_planes: How many channels share their weights, brought down to what divides the channels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3, share_planes: int = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_integer(self, share_planes=share_planes)
        share = fitting_groups(channels, share_planes)
        hidden = hidden_width(channels, FACTOR)
        planes = kernel_size**2 * channels // share
        chosen = hidden_width(channels, 2, LEAST_HIDDEN)
        groups = fitting_groups(channels, GROUPS)
        self.share = share
        self.kernel_size = kernel_size
        self.context = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False),
            BatchNorm(channels),
            nn.ReLU(),
        )
        self.weigh = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1, bias=False),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, planes, 1),
            GroupNorm(channels // share, planes),
        )
        self.value = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels))
        self.activate = nn.Sequential(BatchNorm(channels), nn.SiLU())
        self.choose = nn.Sequential(
            nn.Linear(channels, chosen, bias=False), BatchNorm(chosen), nn.ReLU(), nn.Linear(chosen, 2 * channels)
        )

    def mix(self, x: Tensor) -> Tensor:
        """Return the static and the dynamic context, each channel with its own weights."""
        static = self.context(x)
        dynamic = self.activate(self._aggregate(x, static))
        logits = self.choose((dynamic + static).mean((2, 3)))
        weights = logits.reshape(-1, self.channels, 2).softmax(2).to(static.dtype)[..., None, None]
        y: Tensor = dynamic * weights[:, :, 0] + static * weights[:, :, 1]
        return y

    def _aggregate(self, x: Tensor, static: Tensor) -> Tensor:
        """Return the values, mixed over each neighbourhood, (B, C, H, W)."""
        b, c, h, w = x.shape
        weights = self.weigh(torch.cat([x, static], 1)).reshape(b, 1, c // self.share, -1, h, w)
        values = self.value(x).reshape(b, self.share, c // self.share, h, w)
        mixed = total(
            weights[:, :, :, n] * neighbour for n, neighbour in enumerate(neighbours(values, self.kernel_size))
        )
        return mixed.reshape(b, c, h, w)
