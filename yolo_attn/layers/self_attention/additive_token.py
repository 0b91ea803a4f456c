"""AdditiveToken: a sum of gated queries and keys that multiplies the values, of CAS-ViT.

    q, k, v = W x                               at each position
    S(t) = t * sigmoid(w relu(BN DW t))         DW: depthwise 3 x 3 convolution, w: C to 1 channel
    G(t) = t * sigmoid(W' mean of t)            mean over H, W
    y = DW' (DW (G(S(q)) + G(S(k))) * v)        S and G of q and of k have their own weights

Paper: Zhang et al., "CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile
Applications", 2024, arXiv 2408.03703.
Code: https://github.com/Tianfang-Zhang/CAS-ViT
Shapes: x (B, C, H, W), y the same.
Deviations: none from the code, whose output projection is depthwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues
from yolo_attn.layers.base import Mixer
from yolo_attn.layers.checks import check_flag
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import saturate
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["AdditiveToken"]


@register_layer(
    family="self_attention",
    summary="multiplies values by the sum of queries and keys, each gated in space and channels; linear in the map",
    aliases=("AdditiveTokenMixer",),
    paper="CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile Applications, 2024",
    year=2024,
    url="https://arxiv.org/abs/2408.03703",
    repository="https://github.com/Tianfang-Zhang/CAS-ViT",
    cost="O(C^2 HW)",
    renamed={"attn_bias": "qkv_bias"},
)
class AdditiveToken(Mixer):
    """Convolutional additive token mixer.

    Args:
        channels: Channels of the input.
        qkv_bias: Whether queries, keys and values have a bias.
        init: "paper" or "identity".

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, channels: int, *, qkv_bias: bool = False, init: str = "paper") -> None:
        super().__init__(channels, init=init)
        check_flag(self, qkv_bias=qkv_bias)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=qkv_bias)
        self.query_gate = _Gated(channels)
        self.key_gate = _Gated(channels)
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.proj = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def mix(self, x: Tensor) -> Tensor:
        """Return the values, multiplied by the sum of gated queries and keys."""
        query, key, value = self.qkv(x).chunk(3, 1)
        mixed = saturate(self.dwconv(self.query_gate(query) + self.key_gate(key)) * value)
        return saturate(self.proj(mixed))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the spatial gates of queries and of keys."""
        query, key, _ = self.qkv(inputs[0]).chunk(3, 1)
        gates = (("queries", self.query_gate.spatial(query)), ("keys", self.key_gate.spatial(key)))
        return [AttentionValues(part, GATE, gate[0, 0].float()) for part, gate in gates]


class _Gated(nn.Module):
    """G(S(t)): (B, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            BatchNorm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 1, 1, bias=False),
            nn.Sigmoid(),
        )
        self.channel = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.spatial(x)
        y: Tensor = x * self.channel(mean(x, 2, 3, keepdim=True))
        return y
