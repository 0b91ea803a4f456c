"""GLSA: global-to-local spatial aggregation, half of the channels gated by local details, half by a global context.

    [a; b] = x                                  halves of the channels; u = Wa a, v = Wb b
    R(t) = t' + relu(BN(DW t')), t' = f(BN(W t))        DW: depthwise 3 x 3 convolution; each R with its own weights
    m = sigmoid(relu(W R(R(R(u)))))             f: relu, relu, silu
    k = sum over H, W of v softmax over H, W of (w . v)                     (B, C)
    g = sigmoid(W2 relu(LN(W1 k)))              W1 from C to e C numbers; W2 initially 0
    y = relu(BN(W [u + u m; v + v g]))

Paper: Tang et al., "DuAT: Dual-Aggregation Transformer Network for Medical Image Segmentation", PRCV 2023,
arXiv 2212.11677.
Code: https://github.com/Barrett-python/DuAT
Shapes: x (B, C, H, W), y (B, out_channels, H, W). Because of the relu, m is at least 1/2.
Deviations: modules of the authors' code without effect are omitted, as are a bias in the logits, which the softmax
cancels. C may be odd: b is the larger part. Logits and softmax are in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, WEIGHT, AttentionValues
from yolo_attn.layers.base import Block
from yolo_attn.layers.channel._context import pooled_context, position_weights
from yolo_attn.layers.checks import check, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.registry import register_layer

__all__ = ["GLSA"]

SMALLEST = 2  # channels: one for each part


@register_layer(
    family="hybrid",
    summary="gates half of the channels by local details and half by a global context, and mixes them",
    aliases=("GlobalToLocalSpatialAggregation",),
    paper="DuAT: Dual-Aggregation Transformer Network for Medical Image Segmentation, PRCV 2023",
    year=2022,
    url="https://arxiv.org/abs/2212.11677",
    repository="https://github.com/Barrett-python/DuAT",
    cost="O(7 C^2 HW)",
    renamed={"embed_dim": "out_channels"},
)
class GLSA(Block):
    """Global-to-local spatial aggregation.

    Args:
        channels: Channels of the input, at least 2.
        out_channels: Channels of the output; None keeps those of the input.
        expansion: e, hidden units of the global gate per channel.
        init: "paper", or "identity" if the number of channels does not change.

    Raises:
        ValueError: An argument is out of range, or `init` is "identity" and the number of channels changes.
    """

    def __init__(
        self, channels: int, *, out_channels: int | None = None, expansion: float = 2, init: str = "paper"
    ) -> None:
        super().__init__(channels, out_channels=out_channels, init=init)
        check(self, channels >= SMALLEST, "channels", channels, f"{SMALLEST} or more")
        check_positive(self, expansion=expansion)
        out = self.out_channels
        self.widths = [channels // 2, channels - channels // 2]
        self.local = nn.Conv2d(self.widths[0], out, 1)
        self.details = nn.Sequential(
            *(_Details(out, activation) for activation in (nn.ReLU(), nn.ReLU(), nn.SiLU())),
            nn.Conv2d(out, out, 1, bias=False),
            nn.ReLU(),
        )
        self.whole = nn.Conv2d(self.widths[1], out, 1)
        self.context = _ContextGate(out, max(2, int(expansion * out)))  # a layer norm of one number is constant
        self.proj = nn.Conv2d(2 * out, out, 1, bias=False)
        self.norm = BatchNorm(out)

    def mix(self, x: Tensor) -> Tensor:
        """Return both gated halves, mixed."""
        local, whole = self._halves(x)
        gated = torch.cat([local + local * self._mask(local), whole + whole * self.context(whole)], 1)
        return torch.relu(self.norm(self.proj(gated)))

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gates of both halves as factors of them, and the weights of the positions in the context."""
        local, whole = self._halves(inputs[0])
        weights = self.context.weights(whole)[0]
        return [
            AttentionValues("local", GATE, 1 + self._mask(local)[0].float()),
            AttentionValues("global", GATE, 1 + self.context(whole)[0, :, 0, 0].float()),
            AttentionValues("context", WEIGHT, weights.reshape(whole.shape[2:]) * weights.numel()),
        ]

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return u and v, (B, out_channels, H, W) each."""
        first, second = torch.split(x, self.widths, 1)
        return self.local(first), self.whole(second)

    def _mask(self, local: Tensor) -> Tensor:
        """Return m, (B, out_channels, H, W)."""
        return torch.sigmoid(self.details(local))


class _Details(nn.Module):
    """R: a pointwise convolution, and a depthwise one with a shortcut.

    Args:
        channels: Channels of the map.
        activation: f, after the pointwise convolution.
    """

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.pointwise = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels), activation)
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), BatchNorm(channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return R(x)."""
        x = self.pointwise(x)
        y: Tensor = x + self.depthwise(x)
        return y


class _ContextGate(nn.Module):
    """The global gate.

    Args:
        channels: Channels of the map.
        hidden: Hidden units.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.attn = nn.Conv2d(channels, 1, 1, bias=False)
        self.fc1 = nn.Linear(channels, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, channels)
        nn.init.kaiming_normal_(self.attn.weight)
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return g, (B, C, 1, 1)."""
        hidden = torch.relu(self.norm(self.fc1(pooled_context(x, self.weights(x)))))
        return torch.sigmoid(self.fc2(hidden))[:, :, None, None]

    def weights(self, x: Tensor) -> Tensor:
        """Return the attention over the positions, (B, H W)."""
        return position_weights(self.attn(x))
