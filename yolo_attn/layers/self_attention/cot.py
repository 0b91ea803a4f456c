"""CoT: contextual transformer, local mixing with weights computed from each position and its static context.

    s = relu(BN conv_k x)                       the static context, in 4 groups
    a = GN W2 relu(BN W1 [x; s])                (C / 8, k^2) for each position
    t = silu(BN sum over j of a_j (BN Wv x)_(p + j))        j: the k x k neighborhood; channel c takes row c mod C / 8
    z = softmax over the two of U2 relu(BN U1 mean over H, W of (t + s))            (C, 2)
    y = z1 t + z2 s

Paper: Li et al., "Contextual Transformer Networks for Visual Recognition", TPAMI 2022, arXiv 2107.12292.
Code: https://github.com/JDAI-CV/CoTNet
Shapes: x (B, C, H, W), y the same.
Deviations: U1 has no bias, because a batch norm follows it. In training the pooled vector of a single image is
normalized with the running statistics (see `BatchNorm`), where the published form raises an error. If C is not a
multiple of 8 or 4, their greatest common divisors with C are used. The third-party module known as CoTAttention
multiplies values by a softmax over the whole map and mixes nothing locally; it is not this mechanism.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_integer, check_odd
from yolo_attn.layers.norms import BatchNorm, GroupNorm
from yolo_attn.layers.numerics import total
from yolo_attn.layers.self_attention._neighborhood import neighbors
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["CoT"]

GROUPS = 4  # of the convolution for the static context
FACTOR = 2  # channels per hidden channel of the weights
MIN_HIDDEN = 32  # of the weights of the two contexts


@register_layer(
    family="self_attention",
    summary="mixes each 3 x 3 neighborhood with weights computed from its context",
    aliases=("CoTAttention", "CotLayer", "CoTNet"),
    paper="Contextual Transformer Networks for Visual Recognition, TPAMI 2022",
    year=2022,
    url="https://arxiv.org/abs/2107.12292",
    repository="https://github.com/JDAI-CV/CoTNet",
    cost="O(C^2 HW)",
    renamed={"share_planes": "shared_channels"},
)
class CoT(Mixer):
    """Contextual transformer.

    Args:
        channels: Channels of the input.
        kernel_size: k, odd.
        shared_channels: Channels that share weights, reduced to the greatest common divisor with the channels.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3, shared_channels: int = 8, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_odd(self, kernel_size=kernel_size)
        check_integer(self, shared_channels=shared_channels)
        share = fitting_groups(channels, shared_channels)
        hidden = hidden_width(channels, FACTOR)
        planes = kernel_size**2 * channels // share
        mlp_hidden = hidden_width(channels, 2, MIN_HIDDEN)
        groups = fitting_groups(channels, GROUPS)
        self.share = share
        self.kernel_size = kernel_size
        self.context = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=groups, bias=False),
            BatchNorm(channels),
            nn.ReLU(),
        )
        self.attn = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1, bias=False),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, planes, 1),
            GroupNorm(channels // share, planes),
        )
        self.value = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels))
        self.norm_act = nn.Sequential(BatchNorm(channels), nn.SiLU())
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_hidden, bias=False),
            BatchNorm(mlp_hidden),
            nn.ReLU(),
            nn.Linear(mlp_hidden, 2 * channels),
        )

    def mix(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the static and the dynamic context."""
        static = self.context(x)
        dynamic = self.norm_act(self._aggregate(x, static))
        logits = self.mlp(mean(dynamic, 2, 3) + mean(static, 2, 3))
        weights = logits.reshape(-1, self.channels, 2).softmax(2).to(static.dtype)[..., None, None]
        y: Tensor = dynamic * weights[:, :, 0] + static * weights[:, :, 1]
        return y

    def _aggregate(self, x: Tensor, static: Tensor) -> Tensor:
        """Return the values mixed over each neighborhood, (B, C, H, W)."""
        b, c, h, w = x.shape
        weights = self.attn(torch.cat([x, static], 1)).reshape(b, 1, c // self.share, -1, h, w)
        values = self.value(x).reshape(b, self.share, c // self.share, h, w)
        mixed = total(weights[:, :, :, n] * neighbor for n, neighbor in enumerate(neighbors(values, self.kernel_size)))
        return mixed.reshape(b, c, h, w)
