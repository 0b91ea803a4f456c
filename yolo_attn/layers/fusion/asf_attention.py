"""ASFAttention: the attention model of ASF-YOLO, a sum of two maps with gates for channels and for positions.

    z = x0 * sigmoid(conv1d_k(mean over H, W of x0)) + x1               see ECA for the gate of x0
    p = [mean over W of z; mean over H of z]                            (B, C, H + W, 1)
    t = relu(BN(W1 p))                                                  (B, C / r, H + W, 1)
    y = z * sigmoid(Wh t_rows) * sigmoid(Ww t_columns)

Paper: Kang et al., "ASF-YOLO: A Novel YOLO Model with Attentional Scale Sequence Fusion for Cell Instance
Segmentation", Image and Vision Computing 2024, arXiv 2312.06458.
Code: https://github.com/mkang315/ASF-YOLO
Shapes: x0, x1 (B, C, H, W), y the same; gates(z) (B, C, H, 1) and (B, C, 1, W).
Deviations: with C < r the authors' code has no hidden channel; here there is at least one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolo_attn.layers.attention_values import GATE, AttentionValues, gate_values
from yolo_attn.layers.base import Fusion, product
from yolo_attn.layers.channel.eca import ECA
from yolo_attn.layers.checks import check, check_odd, check_positive
from yolo_attn.layers.norms import BatchNorm
from yolo_attn.layers.numerics import no_autocast
from yolo_attn.layers.sizes import hidden_width
from yolo_attn.layers.statistics import mean
from yolo_attn.registry import register_layer

__all__ = ["ASFAttention"]


@register_layer(
    family="fusion",
    summary="adds a map to another one reweighted by channel, then reweights rows and columns of the sum",
    aliases=("asf_attention_model",),
    inputs=2,
    paper="ASF-YOLO: A Novel YOLO Model with Attentional Scale Sequence Fusion, Image and Vision Computing 2024",
    year=2024,
    url="https://arxiv.org/abs/2312.06458",
    repository="https://github.com/mkang315/ASF-YOLO",
    cost="O(C HW)",
)
class ASFAttention(Fusion):
    """Attention model of ASF-YOLO.

    Args:
        channels: Channels of the two inputs, equal; the channels of the first one are reweighted.
        kernel_size: k, channels that each gate of the first input depends on, odd; None selects k(C) of ECA.
        reduction: r, channels per hidden channel of the gates of rows and columns.
        init: "paper" or "identity".

    Raises:
        ValueError: The channels differ, or an argument is out of range.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        kernel_size: int | None = None,
        reduction: float = 16,
        init: str = "paper",
    ) -> None:
        super().__init__(channels, init=init)
        check(self, channels[0] == channels[1], "channels", channels, "two equal numbers, with a Conv before it")
        if kernel_size is not None:
            check_odd(self, kernel_size=kernel_size)
        check_positive(self, reduction=reduction)
        width, hidden = channels[0], hidden_width(channels[0], reduction)
        self.eca = ECA(width, kernel_size=kernel_size)
        self.reduce = nn.Conv2d(width, hidden, 1, bias=False)
        self.norm = BatchNorm(hidden)
        self.conv_h = nn.Conv2d(hidden, width, 1, bias=False)
        self.conv_w = nn.Conv2d(hidden, width, 1, bias=False)

    def attention_maps(self, inputs: Sequence[Tensor]) -> list[AttentionValues]:
        """Return the gate of the channels of the first input, and that of the sum."""
        channels = self.eca.gate(inputs[0])[0, :, 0, 0].float()
        rows, columns = self.gates(self.add(list(inputs)))
        return [
            AttentionValues("first input", GATE, channels),
            AttentionValues("sum", GATE, gate_values(rows * columns, inputs[0]).values),
        ]

    def add(self, xs: list[Tensor]) -> Tensor:
        """Return z, the sum of both inputs after the gate of the first."""
        y: Tensor = self.eca(xs[0]) + xs[1]
        return y

    def gates(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gates of the rows (B, C, H, 1) and of the columns (B, C, 1, W) of the sum."""
        height = z.shape[2]
        with no_autocast(z):  # torch.cat rejects float16 under a bfloat16 autocast
            means = torch.cat([mean(z, 3), mean(z, 2)], 2)[..., None]  # (B, C, H + W, 1)
        hidden = torch.relu(self.norm(self.reduce(means)))
        rows = torch.sigmoid(self.conv_h(hidden[:, :, :height]))
        columns = torch.sigmoid(self.conv_w(hidden[:, :, height:]))
        return rows.to(z.dtype), columns.transpose(2, 3).to(z.dtype)

    def fuse(self, xs: list[Tensor]) -> Tensor:
        """Return the sum after its gates."""
        z = self.add(xs)
        return product(z, *self.gates(z))
