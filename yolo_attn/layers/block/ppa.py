"""PPA: parallelized patch-aware attention, a stack of convolutions beside attention of patches, of HCF-Net.

    q = BN(W x); c_n = relu(BN(conv3 c_n-1))    c_0 = x, n = 1, 2, 3
    z = q + c_1 + c_2 + c_3 + L_2(q) + L_4(q)
    z <- z sigmoid(conv1d_k(mean over H, W of z))                           see ECA
    z <- z sigmoid(conv7([mean over C of z; max over C of z]))
    y = relu(BN(z))

L_P: attention of the patches of P x P positions:

    r = mean over C of q at the positions of the patch                      P^2 numbers
    t = W2 LN(W1 r), o = t softmax(t)           C/2 and C numbers; softmax over the channels
    o <- T (o clamp(cos(o, p), 0, 1))           p: a learned prompt, a vector of C numbers; T initially 1
    L = W3 o, resized to H x W                  bilinear

Paper: Xu et al., "HCF-Net: Hierarchical Context Fusion Network for Infrared Small Object Detection", ICME 2024,
arXiv 2403.10778.
Code: https://github.com/zhengshuchen/HCFNet
Shapes: x (B, C, H, W), y (B, out_channels, H, W).
Rows and columns beyond the last whole patch are in no patch; those of the patches are stretched over the map.
Deviations: the code, and all copies, mix up the axes of the patches: r contains means of neighboring channels over the
whole patch. Here it is the mean over the channels at each position, as the paper and a comment in the code state. Maps
smaller than a patch are padded with zeros at the bottom and right, where the code raises an error. Softmax and cosine
are in float32. No dropout (the code zeroes a tenth of the channels of z), and no biases that a batch norm cancels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Block
from yolo_attn.layers.channel.eca import ECA
from yolo_attn.layers.norms import BatchNorm, normalize_channels
from yolo_attn.layers.numerics import total, unit, widen
from yolo_attn.layers.pooling import padded_to
from yolo_attn.layers.statistics import mean, mean_and_max
from yolo_attn.registry import register_layer

__all__ = ["PPA"]

PATCHES = (2, 4)


@register_layer(
    family="block",
    summary="adds three 3 x 3 convolutions and attention of patches of two sizes, then gates channels and positions",
    aliases=("ParallelizedPatchAwareAttention",),
    paper="HCF-Net: Hierarchical Context Fusion Network for Infrared Small Object Detection, ICME 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.10778",
    repository="https://github.com/zhengshuchen/HCFNet",
    cost="O(30 C^2 HW)",
    renamed={"filters": "out_channels"},
)
class PPA(Block):
    """Parallelized patch-aware attention.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; None keeps those of the input.
        init: "paper", or "identity" if the number of channels does not change.

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the number of channels changes.
    """

    def __init__(self, channels: int, *, out_channels: int | None = None, init: str = "paper") -> None:
        super().__init__(channels, out_channels=out_channels, init=init)
        out = self.out_channels
        self.skip = nn.Sequential(nn.Conv2d(channels, out, 1, bias=False), BatchNorm(out))
        self.convs = nn.ModuleList(_convolution(width, out) for width in (channels, out, out))
        self.patches = nn.ModuleList(PatchAttention(out, patch) for patch in PATCHES)
        self.channel_gate = ECA(out, kernel_size=None)
        self.spatial_gate = nn.Conv2d(2, 1, 7, padding=3)
        self.norm = BatchNorm(out)

    def mix(self, x: Tensor) -> Tensor:
        """Return the sum of the branches, gated."""
        z = self.channel_gate(self._sum(x))
        return torch.relu(self.norm(z * self._positions(z)))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gates of the channels and positions of z."""
        z = self._sum(inputs[0])
        channels = self.channel_gate.scale(z)
        return [
            AttentionValues("channels", GATE, channels[0, :, 0, 0].float()),
            AttentionValues("positions", GATE, self._positions(z * channels)[0, 0].float()),
        ]

    def _sum(self, x: Tensor) -> Tensor:
        """Return z before its gates, (B, out_channels, H, W)."""
        q = self.skip(x)
        branches = [q, *(patches(q) for patches in self.patches)]
        for convolution in self.convs:
            x = convolution(x)
            branches.append(x)
        return total(branches)

    def _positions(self, z: Tensor) -> Tensor:
        """Return the gate of the positions, (B, 1, H, W)."""
        return torch.sigmoid(self.spatial_gate(torch.cat(mean_and_max(z, 1), 1)))


class PatchAttention(nn.Module):
    """L: attention of patches.

    Args:
        channels: Channels of the map.
        patch: P, height and width of the patches.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        hidden = max(2, channels // 2)  # a layer norm of one number is constant
        self.patch = patch
        self.fc1 = nn.Conv2d(1, hidden, patch, stride=patch)  # W1, for all patches at once
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.prompt = nn.Parameter(torch.randn(channels))
        self.transform = nn.Conv2d(channels, channels, 1, bias=False)
        self.proj = nn.Conv2d(channels, channels, 1)
        nn.init.dirac_(self.transform.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return L(x), of the shape of x."""
        patches = self.fc1(mean(padded_to(x, self.patch), 1, keepdim=True))
        features = widen(self.fc2(normalize_channels(self.norm, patches).to(x.dtype)))
        features = features * features.softmax(1)
        direction = unit(widen(self.prompt), 0)[:, None, None]
        likeness = (unit(features, 1) * direction).sum(1, keepdim=True).clamp(0, 1)
        selected = self.proj(self.transform((features * likeness).to(x.dtype)))
        return F.interpolate(selected, size=x.shape[2:], mode="bilinear", align_corners=False)


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(convolution, BatchNorm(out_channels), nn.ReLU())
