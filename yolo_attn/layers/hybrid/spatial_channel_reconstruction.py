"""SpatialChannelReconstruction: two units that first exchange weak positions, then weak channels.

    n = GN(x), w = gamma / sum of gamma         gamma (C): the scales of the group norm
    v = sigmoid(n w)
    p = 1 where v > 1/2, else v                 the informative part
    q = 0 where v > 1/2, else v                 the rest
    s = [(p x)_1 + (q x)_2; (p x)_2 + (q x)_1]  indices: the two halves of the channels

    [u; l] = s, u' = Wu u, l' = Wl l            alpha C and (1 - alpha) C channels, reduced to C / (2 r) each by default
    z1 = conv3 u' + W1 u'                       C channels; conv3 in two groups
    z2 = [W2 l'; l']                            C channels
    y = b1 z1 + b2 z2                           [b1; b2] = softmax over all 2 C channels of mean over H, W of [z1; z2]

Paper: Li et al., "SCConv: Spatial and Channel Reconstruction Convolution for Feature Redundancy", CVPR 2023.
Code: none by the authors; https://github.com/cheng-haha/ScConv, a third-party implementation.
Shapes: x (B, C, H, W), y the same; gates(x) (B, C, H, W) each.
Deviations: v > 1/2 is decided by the sign of n w in float32, which is equivalent: w is about 1 / C, so in half
precision many v are rounded to 1/2. The numbers of groups are reduced to their greatest common divisors with the
channels. An older form in circulation replaces v by 0 in p and by 1 in q, so no gradient reaches the group norm. y is
about 1 / (4 C) of x before training; a norm must follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, WEIGHT, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check, check_at_least_one, check_integer
from yolo_attn.layers.norms import GroupNorm
from yolo_attn.layers.numerics import no_autocast, wide, widen
from yolo_attn.layers.sizes import fitting_groups, hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["SpatialChannelReconstruction"]

CONV_GROUPS = 2


@register_layer(
    family="hybrid",
    summary="exchanges weak positions between halves of the channels, then weights two branches by channel",
    aliases=("ScConv",),
    paper="SCConv: Spatial and Channel Reconstruction Convolution for Feature Redundancy, CVPR 2023",
    year=2023,
    url="https://openaccess.thecvf.com/content/CVPR2023/html/Li_SCConv_Spatial_and_Channel_Reconstruction_Convolution_for_Feature_Redundancy_CVPR_2023_paper.html",
    repository="https://github.com/cheng-haha/ScConv",
    cost="O(1.8 C^2 HW)",
    renamed={"group_num": "groups", "squeeze_radio": "reduction"},
)
class SpatialChannelReconstruction(Mixer):
    """Spatial and channel reconstruction convolution.

    Args:
        channels: Channels of the input, an even number.
        groups: Groups of the group norm, reduced to the greatest common divisor with the channels.
        alpha: Share of the channels in the rich branch, between 0 and 1.
        reduction: r, channels of a branch per channel that it is reduced to, at least 1.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self, channels: int, *, groups: int = 4, alpha: float = 0.5, reduction: float = 2, init: str = "paper"
    ) -> None:
        super().__init__(channels, init=init)
        check(self, channels % 2 == 0, "channels", channels, "an even number")
        check_integer(self, groups=groups)
        valid = isinstance(alpha, float) and 1 <= alpha * channels < channels
        check(self, valid, "alpha", alpha, "a share that leaves channels to both branches, such as 0.5")
        check_at_least_one(self, reduction=reduction)  # the cheap branch keeps its reduced channels
        self.spatial = SpatialReconstruction(channels, fitting_groups(channels, groups))
        self.channel = ChannelReconstruction(channels, int(alpha * channels), reduction)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return p, and the weights of the channels of both branches."""
        informative, _ = self.spatial.gates(inputs[0])
        weights = self.channel.weights(*self.channel.branches(self.spatial(inputs[0])))[0, :, 0, 0].float()
        rich, cheap = (weights * len(weights)).chunk(2)
        return [
            AttentionValues("informative part", GATE, informative[0].float()),
            AttentionValues("rich branch", WEIGHT, rich),
            AttentionValues("cheap branch", WEIGHT, cheap),
        ]

    def mix(self, x: Tensor) -> Tensor:
        """Return the output of both units."""
        y: Tensor = self.channel(self.spatial(x))
        return y


class SpatialReconstruction(nn.Module):
    """The unit that exchanges weak positions.

    Args:
        channels: Channels of the input.
        groups: Groups of the norm, which divide the channels.

    Shape:
        x (B, C, H, W); output the same.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return s."""
        informative, rest = (x * gate for gate in self.gates(x))
        first, second = rest.chunk(2, 1)
        return informative + torch.cat([second, first], 1)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return p and q, of the dtype of x."""
        with no_autocast(x):
            norm, scale = self.norm, widen(self.norm.weight)
            normed = torch.group_norm(widen(x), norm.num_groups, scale, widen(norm.bias), norm.eps)
            logits = normed * (scale / scale.sum())[:, None, None]
            gate, strong = torch.sigmoid(logits), logits > 0
            return gate.masked_fill(strong, 1).to(x.dtype), gate.masked_fill(strong, 0).to(x.dtype)


class ChannelReconstruction(nn.Module):
    """The unit that transforms channels in a rich and a cheap branch, and weights their channels.

    Args:
        channels: C, channels of the input.
        rich: Channels of the rich branch.
        reduction: Channels of a branch per channel that it is reduced to.

    Shape:
        x (B, C, H, W); output the same.
    """

    def __init__(self, channels: int, rich: int, reduction: float) -> None:
        super().__init__()
        self.widths = [rich, channels - rich]
        first, second = (hidden_width(width, reduction) for width in self.widths)
        groups = fitting_groups(first, CONV_GROUPS)
        self.reduce_rich = nn.Conv2d(rich, first, 1, bias=False)
        self.reduce_cheap = nn.Conv2d(channels - rich, second, 1, bias=False)
        self.conv = nn.Conv2d(first, channels, 3, padding=1, groups=groups)
        self.expand_rich = nn.Conv2d(first, channels, 1, bias=False)
        self.expand_cheap = nn.Conv2d(second, channels - second, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum of the branches."""
        rich, cheap = self.branches(x)
        first, second = self.weights(rich, cheap).to(rich.dtype).chunk(2, 1)
        return rich * first + cheap * second

    def branches(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return z1 and z2, (B, C, H, W) each."""
        rich, cheap = torch.split(x, self.widths, 1)
        rich, cheap = self.reduce_rich(rich), self.reduce_cheap(cheap)
        return self.conv(rich) + self.expand_rich(rich), torch.cat([self.expand_cheap(cheap), cheap], 1)

    def weights(self, rich: Tensor, cheap: Tensor) -> Tensor:
        """Return the weights of the channels of both branches, (B, 2 C, 1, 1), in at least float32."""
        means = [mean(branch, 2, 3, keepdim=True, dtype=wide(branch.dtype)) for branch in (rich, cheap)]
        return torch.cat(means, 1).softmax(1)
